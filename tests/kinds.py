"""The kinds of image, evaluated for a guest with our own module system, or a real nixpkgs lib."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NIX = ROOT / "nix"
LIB = os.environ.get("NXC_TEST_NIXPKGS_LIB") or NIX / "lib"
KINDS = tuple(sorted(path.stem for path in (NIX / "kinds").glob("*.nix")))
SYSTEMD = "{ boot.initrd.systemd.enable = true; }"
VIRTUAL = (
    """{ console = "ttyS0"; kernelModules = [ "virtio_net" ]; seed = "fw_cfg"; share = "9p"; lean = true; }"""
)
CONTAINER = """{ kernel = false; root = "container"; }"""
REAL = """{ firmware = true; kernelModules = [ "igb" ]; seed = "cpio"; share = "virtiofs"; }"""


@functools.cache
def packages(later: bool) -> str:
    """The packages that README.md says are used, as a Nix list; some have other names in earlier releases."""
    text = (NIX / "kinds/README.md").read_text().split("## What is used of pkgs")[1]
    listed = re.sub(r"the\s+standard\s+environment's.*?\n\n", "\n\n", text, flags=re.DOTALL)
    names = set(re.findall(r"`([\w-]+)`", listed))
    earlier, named_anew = (
        {"iproute", "utillinux", "firmwareLinuxNonfree"},
        {"iproute2", "util-linux", "linux-firmware"},
    )
    names -= earlier if later else named_anew
    return "[ " + " ".join(json.dumps(name) for name in sorted(names)) + " ]"


def nix(expression: str) -> subprocess.CompletedProcess[str]:
    """Evaluate as any user can: without a daemon, and without a store to write to."""
    argv = ["nix-instantiate", "--eval", "--json", "--strict", "--store", "dummy://", "-E", expression]
    environment = {
        k: v for k, v in os.environ.items() if k not in ("NIX_REMOTE", "NIX_PATH", "NIX_STORE_DIR")
    }
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environment)


def evaluate(kind: str, wanted: str, *, guest: str = VIRTUAL, role: str = "{ }", later: bool = True) -> Any:
    """Return what is ``wanted`` of a role's evaluation: ``config``, ``checked``, ``failed``, ``image``."""
    flag = "true" if later else "false"
    done = nix(
        f"""with import {ROOT}/tests/nix/kinds/evaluate.nix {{
          lib = import {LIB}; packages = {packages(later)}; later = {flag}; kind = "{kind}";
          guest = {guest}; role = {role}; }};
        {wanted}"""
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)
