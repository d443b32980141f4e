"""A flake before it is evaluated: its lock is complete, and Nix sees the project alone."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from nxc_core.errors import ConfigError, StateError
from nxc_core.operation import Operation
from nxc_core.paths import nix_dir
from nxc_nixos import nix as asking
from nxc_nixos.cache import Cache
from nxc_nixos.expression import quote
from nxc_nixos.nix import Nix
from nxc_nixos.project import Project, flake_reference
from nxc_nixos.tree import content_marks, digest

LOCK = "flake.lock"
TIMEOUT = 600.0
KEPT = 7 * 86400.0
"""Seconds that a copy of a flake is kept."""


@frozen(kw_only=True)
class Flake:
    """A flake as Nix is asked for it. ``files`` are the ones that Nix sees."""

    reference: str
    files: tuple[str, ...]


def settle(
    project: Project,
    files: tuple[str, ...],
    nix: Nix,
    cache: Cache,
    op: Operation,
    *,
    pure: bool,
    write: bool,
) -> Flake:
    """Complete the lock (unless nothing may be written), and say how Nix is to be asked for the flake.

    What git does not keep is copied aside first, without what nxc and git put there; so is a flake whose
    inputs are overridden, or that may not be locked, with a lock of its own.
    """
    assert project.flake is not None
    _check_seen(project, files, op)
    overrides = tuple(word for word in nix.flake_flags if word != "--impure")
    is_locked = _is_locked(project, cache)
    is_virtual = bool(overrides) or not (is_locked or write)
    if write and not overrides and not is_locked:
        _lock(project, files, nix, cache, op)
        files = tuple(sorted({*files, *([LOCK] if (project.flake / LOCK).exists() else [])}))
        cache.put("locked", _lock_marks(project), True)
    if project.git is not None and not (is_virtual or pure):
        return Flake(reference=flake_reference(project), files=files)
    folder = put_aside(project.flake, files, cache.folder / "trees")
    if is_virtual:
        folder = _override(project, folder, files, overrides, nix, cache, op)
    reference = f"path:{folder}"
    if pure:
        reference = str(_metadata(nix, reference, (), project, op)["url"])
    return Flake(reference=reference, files=files)


def _is_locked(project: Project, cache: Cache) -> bool:
    return cache.get("locked", _lock_marks(project)) is True


def _lock_marks(project: Project) -> Mapping[str, str]:
    assert project.flake is not None
    return content_marks(project.flake, ("flake.nix", LOCK))


def _lock(project: Project, files: tuple[str, ...], nix: Nix, cache: Cache, op: Operation) -> None:
    """Have Nix write the lock as it would itself; a complete one is left as it is."""
    assert project.flake is not None
    if not (project.flake / LOCK).exists():
        op.step("locking the flake's inputs", topic="build")
    if project.git is not None:
        _ask(nix, ("flake", "lock", flake_reference(project)), project, op, "locking the flake")
        return
    folder = put_aside(project.flake, files, cache.folder / "trees")
    before = (folder / LOCK).read_bytes() if (folder / LOCK).exists() else b""
    _ask(nix, ("flake", "lock", f"path:{folder}"), project, op, "locking the flake")
    after = (folder / LOCK).read_bytes() if (folder / LOCK).exists() else b""
    if after != before:
        shutil.rmtree(folder, ignore_errors=True)  # its name is another from now on
        (project.flake / LOCK).write_bytes(after)


def _override(
    project: Project,
    folder: Path,
    files: tuple[str, ...],
    overrides: tuple[str, ...],
    nix: Nix,
    cache: Cache,
    op: Operation,
) -> Path:
    locks = _metadata(nix, f"path:{folder}", (*overrides, "--no-write-lock-file"), project, op)["locks"]
    assert project.flake is not None
    return put_aside(project.flake, files, cache.folder / "trees", lock=json.dumps(locks, indent=2))


def _metadata(
    nix: Nix, reference: str, words: tuple[str, ...], project: Project, op: Operation
) -> Mapping[str, Any]:
    printed = _ask(nix, ("flake", "metadata", "--json", *words, reference), project, op, "reading the flake")
    found: Mapping[str, Any] = json.loads(printed)
    return found


def pin_library(nix: Nix, project: Project, op: Operation) -> str:
    """Spell the library for Nix' pure mode, which reads no path but of a known content."""
    folder = nix_dir().resolve()
    text = _ask(nix, ("hash", "path", str(folder)), project, op, "reading nxc's library").strip()
    return f'(builtins.fetchTree {{ type = "path"; path = {quote(str(folder))}; narHash = {quote(text)}; }})'


def _ask(nix: Nix, words: tuple[str, ...], project: Project, op: Operation, what: str) -> str:
    argv = (nix.program("nix"), *words, "--log-format", "internal-json", *nix.flags)
    return asking.ask(nix, argv, op, project=project.root, what=what, timeout=TIMEOUT)


def put_aside(source: Path, files: tuple[str, ...], trees: Path, *, lock: str | None = None) -> Path:
    """Copy a project's files to a folder that is named by what is in them; one that is there is taken.

    Raises StateError where there is no room. Copies that nobody asked for in a week are removed.
    """
    marks = content_marks(source, files)
    goal = trees / digest({**marks, "lock": lock or ""})[:32]
    aside = goal.with_name(f"{goal.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        if goal.is_dir():
            if _is_whole(goal, {name: mark for name, mark in marks.items() if lock is None or name != LOCK}):
                os.utime(goal)
                return goal
            goal.rename(aside)  # someone cleaned up in there
            shutil.rmtree(aside)
        _copy(source, files, aside)
        if lock is not None:
            (aside / LOCK).write_text(lock)
        os.utime(aside)
        aside.replace(goal)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if not goal.is_dir():  # else another nxc was faster
            raise StateError(
                f"the flake cannot be copied to {goal}: {error.strerror}", hint="free some space"
            ) from error
    _remove_old(trees)
    return goal


def _copy(source: Path, files: tuple[str, ...], goal: Path) -> None:
    goal.mkdir(parents=True)
    for name in files:
        (goal / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir() and not (source / name).is_symlink():  # a submodule is an empty one
            (goal / name).mkdir(exist_ok=True)
        elif os.path.lexists(source / name):  # git lists what was removed, too
            shutil.copy2(source / name, goal / name, follow_symlinks=False)


def _is_whole(copy: Path, marks: Mapping[str, str]) -> bool:
    """Whether a copy still holds what was copied; of large files, whether they are there."""
    seen = content_marks(copy, marks)
    return all(seen[name] == mark or (mark[:1].isdigit() and seen[name]) for name, mark in marks.items())


def _remove_old(trees: Path) -> None:
    for tree in trees.iterdir():
        with contextlib.suppress(OSError):
            if tree.stat().st_mtime < time.time() - KEPT:
                shutil.rmtree(tree)


def _check_seen(project: Project, files: tuple[str, ...], op: Operation) -> None:
    """Raise ConfigError where git hides what the project cannot do without."""
    assert project.flake is not None
    needed = [project.flake / "flake.nix", project.source]
    hidden = [str(path.relative_to(project.flake)) for path in needed if not _is_seen(path, project, files)]
    if hidden:
        told = f"git does not know {' and '.join(hidden)} of the flake {project.flake}, so Nix does not see"
        raise ConfigError(f"{told} {'them' if len(hidden) > 1 else 'it'}", hint=f"git add {' '.join(hidden)}")


def _is_seen(path: Path, project: Project, files: tuple[str, ...]) -> bool:
    assert project.flake is not None
    return not path.is_relative_to(project.flake) or str(path.relative_to(project.flake)) in files
