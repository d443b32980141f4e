"""Which base a composition is built by when nobody says: what its project's files tell."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from nxc_core.config import PROJECT_FILE, UPSTREAM_FILE

FLAKE, LOCK = "flake.nix", "flake.lock"
_NIXPKGS = "nixpkgs"


@frozen(kw_only=True)
class Choice:
    """Which base was taken, and why."""

    name: str
    reason: str


def choose_base(source: Path, wanted: str | None = None, given: Collection[str] = ()) -> Choice:
    """Choose the base: what was asked, nixos where nixpkgs is pinned, else debian.

    ``given`` are bases whose options are set: a single one is meant where nothing else says.
    """
    natural = Choice(name="debian", reason="nothing pins nixpkgs here")
    for folder in project_folders(source):
        reason = _find_pin(folder)
        if reason:
            natural = Choice(name="nixos", reason=reason)
            break
    else:
        if len(given) == 1 and natural.name not in given:
            natural = Choice(name=next(iter(given)), reason="its options are set")
    if wanted in (None, natural.name):
        return natural
    return Choice(name=wanted or natural.name, reason="asked for")


def project_folders(source: Path) -> Iterator[Path]:
    """Give the folders whose files speak for a composition: its own, and that of the nearest project file.

    A flake further above is not the composition's: it may be that of a repository with many things in it.
    """
    yield source.parent
    for folder in (source.parent, *source.parent.parents):
        if any((folder / name).is_file() for name in (PROJECT_FILE, UPSTREAM_FILE)):
            if folder != source.parent:
                yield folder
            return


def _find_pin(folder: Path) -> str:
    """Say what pins nixpkgs in a folder; empty when nothing does."""
    if _pins(folder / LOCK):
        return f"{folder / LOCK} pins nixpkgs"
    upstream = folder / UPSTREAM_FILE
    if _read(upstream).get(_NIXPKGS):
        return f"{upstream} pins nixpkgs"
    if upstream.is_file() and (folder / FLAKE).is_file():
        return f"{upstream} and {FLAKE} are of a NixOS composition"
    if (folder / FLAKE).is_file() and not (folder / LOCK).exists() and _mentions(folder / FLAKE):
        return f"{folder / FLAKE} asks for nixpkgs"
    return ""


def _pins(lock: Path) -> bool:
    """Whether a lock file has nixpkgs among the flake's own inputs, by whatever name."""
    content = _read(lock)
    nodes = content.get("nodes")
    if not isinstance(nodes, dict):
        return False
    root = nodes.get(content.get("root", "root"))
    inputs = root.get("inputs") if isinstance(root, dict) else None
    if not isinstance(inputs, dict):
        return False
    return any(_NIXPKGS in name.lower() or _is_nixpkgs(nodes, node) for name, node in inputs.items())


def _is_nixpkgs(nodes: Mapping[str, Any], name: Any) -> bool:
    node = nodes.get(name) if isinstance(name, str) else None
    locked = node.get("locked") if isinstance(node, dict) else None
    return isinstance(locked, dict) and str(locked.get("repo", "")).lower() == _NIXPKGS


def _mentions(flake: Path) -> bool:
    try:
        return _NIXPKGS in flake.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _read(path: Path) -> Mapping[str, Any]:
    """Read a JSON object; what cannot be read says nothing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
