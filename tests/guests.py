"""What this repository's plugins state of their guests, for flakes. ``./task guests`` writes the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nxc_core.plugins import Plugins
from nxc_nixos.expression import to_camel_case

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "nix/guests.json"
KINDS = {"closure", "docker-archive", "nfs-store", "ramdisk", "rootfs-tar"}
"""What the NixOS base makes; a plugin that takes none of them is not for NixOS."""
OPTIONS: dict[str, dict[str, Any]] = {"vm": {"share": "9p"}}
"""Given where the default looks at the machine."""


def stated() -> dict[str, dict[str, Any]]:
    """Return kind and guest of every flavour of this repository that starts NixOS systems."""
    ours = {path.name for path in (ROOT / "plugins").iterdir()}
    plugins = Plugins.discover()
    found: dict[str, dict[str, Any]] = {}
    for name, entry in plugins.flavours.items():
        if entry.target.split(".")[0].split(":")[0] not in ours:
            continue
        flavour = plugins.flavour(name, OPTIONS.get(name, {}))
        kinds = [kind for kind in flavour.accepts if kind in KINDS]
        if kinds:
            found[name] = {"kind": kinds[0], "guest": to_camel_case(flavour.guest)}
    return found


def text() -> str:
    """Return the file as it should be."""
    return json.dumps(stated(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
