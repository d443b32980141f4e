"""The same composition on both bases: what a role declares under each, and why it differs where it does.

What NixOS declares is recorded from nixpkgs 20.09 (tests/nix/bases/record). With NXC_TEST_NIXPKGS the tree
given there is asked, too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests/nix/bases"
RECORDED = json.loads((CASES / "nixos-20.09.json").read_text())
DIFFERENCES = tomllib.loads((CASES / "differences.toml").read_text())["difference"]
NIXPKGS = os.environ.get("NXC_TEST_NIXPKGS")
WRITTEN_OTHERWISE = {"nginx/nginx.conf"}
"""What the example's author did not write; NixOS has it elsewhere."""
ROLES = [f"{example}/{role}" for example, roles in RECORDED.items() for role in roles]

Declared = dict[str, set[str]]


def run_nix(home: Path, *arguments: str) -> Any:
    configuration = home / "conf"
    configuration.mkdir(exist_ok=True)
    variables = {key: value for key, value in os.environ.items() if not key.startswith("NIX_")}
    done = subprocess.run(
        ("nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode")
        + ("--store", str(home / "store"), *arguments),
        env=variables | {"NIX_CONF_DIR": str(configuration), "NIX_CONFIG": "build-users-group ="},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def debian_roles(home: Path, composition: Path) -> Mapping[str, Any]:
    arguments = (str(ROOT / "nix/debian/eval.nix"), "--argstr", "composition", str(composition))
    roles: Mapping[str, Any] = run_nix(home, *arguments)["roles"]
    return roles


def file_line(path: str, file: Mapping[str, str]) -> str:
    text = None if path in WRITTEN_OTHERWISE else file.get("text")
    return path if text is None or "/nix/store/" in text else f"{path}: {text}"


def ports(rules: str) -> Iterator[str]:
    """Give the ports that a role opens; nxc's own is written otherwise."""
    for protocol, listed in re.findall(r"^\s*(tcp|udp) dport \{ (.+) \} accept", rules, re.MULTILINE):
        yield from (f"{protocol} {port}" for port in listed.split(", "))


def starters(units: Mapping[str, str]) -> Iterator[str]:
    """Give what the sockets, timers and path units of a role say."""
    for name, text in units.items():
        if name.endswith((".socket", ".timer", ".path")):
            yield from (f"{name} {line}" for line in text.splitlines() if "=" in line)


def declared_by(role: Mapping[str, Any]) -> Declared:
    """Bring a role's document into the words of tests/nix/bases/nixos.nix."""
    files = {path: file.get("text", "") for path, file in role["files"].items()}
    apart = {"etc/exports", "etc/fstab", "etc/nxc/firewall.nft", "etc/tmpfiles.d/nxc.conf"}
    units = role["units"]
    started = [name for names in (*units["wants"].values(), *units["requires"].values()) for name in names]
    return {
        "commands": {*role["packages"], *(path.split("-", 1)[1] for path in role["path"])},
        "exports": set(files.get("etc/exports", "").splitlines()),
        "files": {
            file_line(path.removeprefix("etc/"), file)
            for path, file in role["files"].items()
            if path not in apart
        },
        "mounts": {" ".join(line.split()[:3]) for line in files.get("etc/fstab", "").splitlines()},
        "ports": set(ports(files.get("etc/nxc/firewall.nft", ""))),
        "refusals": set(role["failedAssertions"]),
        "starters": set(starters(units["files"])),
        "tmpfiles": set(files.get("etc/tmpfiles.d/nxc.conf", "").splitlines()),
        "units": {*units["enable"], *started},
        "users": {
            " ".join(
                (
                    user["name"],
                    str(user["uid"] or ""),
                    user["group"],
                    user["home"],
                    "made" if user["createHome"] else "not made",
                )
            )
            for user in role["users"]
        },
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nix")


@pytest.fixture(scope="module")
def debian(home: Path) -> dict[str, Declared]:
    """What each role declares on Debian, beyond a role that says nothing."""
    empty = home / "composition.nix"
    empty.write_text("{ roles.empty = { }; }")
    plain = declared_by(debian_roles(home, empty)["empty"])
    return {
        f"{example}/{name}": {kind: found - plain[kind] for kind, found in declared_by(role).items()}
        for example in RECORDED
        for name, role in debian_roles(home, ROOT / f"examples/{example}/composition.nix").items()
    }


def explained(role: str, base: str, kind: str) -> set[str]:
    entries = [entry for entry in DIFFERENCES if any(fnmatch(role, pattern) for pattern in entry["roles"])]
    return {item for entry in entries for item in entry.get(base, {}).get(kind, [])}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_declares_the_same_on_both_bases(debian: dict[str, Declared], role: str) -> None:
    example, name = role.split("/")
    nixos = {kind: set(items) for kind, items in RECORDED[example][name].items()}
    assert set(nixos) == set(debian[role])
    only_nixos = {kind: nixos[kind] - debian[role][kind] for kind in nixos}
    only_debian = {kind: debian[role][kind] - nixos[kind] for kind in nixos}
    assert only_nixos == {kind: explained(role, "nixos", kind) for kind in nixos}
    assert only_debian == {kind: explained(role, "debian", kind) for kind in nixos}


def test_every_role_is_compared(debian: dict[str, Declared]) -> None:
    assert set(debian) == set(ROLES)
    assert set(RECORDED) >= {"basic", "nfs", "scripts", "webserver"}
    assert all(entry["reason"] for entry in DIFFERENCES)
    # The comparison sees something: the examples declare of nearly every kind.
    seen = {kind for roles in RECORDED.values() for role in roles.values() for kind in role if role[kind]}
    assert seen == set(RECORDED["basic"]["foo"]) - {"refusals"}


if NIXPKGS:  # asks a real nixpkgs where one is given

    def test_what_is_recorded_is_what_nixos_declares(home: Path) -> None:
        arguments = (
            "--arg",
            "nixpkgs",
            str(NIXPKGS),
            "--arg",
            "compositions",
            f"import {CASES}/compositions.nix",
        )
        declared = run_nix(home, str(CASES / "nixos.nix"), *arguments)
        if (Path(str(NIXPKGS)) / ".version").read_text().strip() == "20.09":
            assert declared == RECORDED
        for example, roles in declared.items():
            for name, role in roles.items():
                for kind in ("exports", "mounts", "ports", "refusals", "starters", "tmpfiles"):
                    assert role[kind] == RECORDED[example][name][kind], (example, name)
