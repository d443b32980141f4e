"""What nxc keeps on disk: how large it is, what still uses it, and removing the rest."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen

from nxc_core import building, paths, state, sweeping
from nxc_core.errors import NxcError, StateError
from nxc_core.model import Build, Leftover, Status
from nxc_core.projects import projects
from nxc_core.session import Session

_OURS = ("crash",)
"""Folders of the cache that are the core's own."""


@frozen(kw_only=True)
class Item:
    """Some files that belong together, and which of them may go."""

    what: str
    size: int
    spare: int = 0
    removable: tuple[Path, ...] = field(default=(), repr=False)
    leftovers: tuple[Leftover, ...] = ()
    """What is not a file of ours but something on the platform of ``flavour``."""
    flavour: str = ""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """What a program reads."""
        return {"what": self.what, "size": self.size, "removable": self.spare, "note": self.note}


@frozen(kw_only=True)
class Survey:
    """All that is kept."""

    items: tuple[Item, ...]
    trouble: tuple[str, ...] = ()

    @property
    def spare(self) -> int:
        """Bytes that would be freed."""
        return sum(item.spare for item in self.items)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to remove."""
        return not any(item.removable or item.leftovers for item in self.items)


# Looking


def survey(session: Session, *, every: bool = False, options: sweeping.Options | None = None) -> Survey:
    """Measure what is kept. With ``every`` this project's builds may go too, unless something runs there."""
    trouble: list[str] = []
    here = session.workspace
    kept: set[Path] = set()
    live_builds: set[str] = set()
    for project in {*projects(), here.project}:
        workspace = state.Workspace(project)
        for id in workspace.deployments():
            build = _live_build(workspace, id, trouble)
            if build is not None:
                kept |= _used_by(session, build)
                if project == here.project:
                    live_builds.add(build.id)
        for name in workspace.builds() if not (every and project == here.project) else []:
            loaded = _load_build(workspace.build_file(name), trouble)
            kept |= _used_by(session, loaded) if loaded is not None else set()
    items = [
        *_survey_project(session, live_builds, every=every),
        *_survey_cache(session, kept, every=every),
        *_survey_platforms(session, options),
    ]
    return Survey(items=tuple(items), trouble=tuple(trouble))


def _survey_platforms(session: Session, options: sweeping.Options | None) -> Iterator[Item]:
    for flavour, found in sweeping.find_leftovers(session, options):
        for one in found:
            what = f"{flavour} {one.what} {one.id}"
            note = "nothing uses it any more"
            yield Item(what=what, size=one.size, spare=one.size, leftovers=(one,), flavour=flavour, note=note)


def _live_build(workspace: state.Workspace, id: str, trouble: list[str]) -> Build | None:
    """Return the build of a deployment that is not stopped."""
    try:
        if workspace.load(id).status is Status.STOPPED:
            return None
    except (StateError, OSError) as error:
        trouble.append(f"{workspace.deployment_dir(id)}: {error}; it is kept")
    return _load_build(workspace.deployment_dir(id) / "build.json", trouble)


def _load_build(path: Path, trouble: list[str]) -> Build | None:
    if not path.exists():
        return None
    try:
        return state.load(path, Build)
    except (StateError, OSError) as error:
        trouble.append(str(error))
        return None


def _used_by(session: Session, build: Build) -> set[Path]:
    """List the files behind a build, as its base says; without its plugin, as the build itself says."""
    found: Iterable[Path] = build.artifact.paths()
    with contextlib.suppress(NxcError, OSError):
        found = {*found, *session.plugins.base(build.base, build.options).in_use(build.artifact)}
    return {path.resolve() for path in found}


def _survey_project(session: Session, live_builds: set[str], *, every: bool) -> Iterator[Item]:
    workspace = session.workspace
    for folder in sorted(workspace.root.glob("builds/*")):
        build = _load_build(workspace.build_file(folder.name), [])
        note = ""
        if build is not None and build.id in live_builds:
            note = "kept: a deployment runs on it"
        elif build is not None and not every and build.composition.source.exists():
            note = "kept: it is the last build of its composition (--all removes it)"
        yield _item(f"build {folder.name}", folder, note)
    for id in workspace.deployments():
        yield _item(f"deployment {id}", workspace.deployment_dir(id), _deployment_note(workspace, id))


def _deployment_note(workspace: state.Workspace, id: str) -> str:
    try:
        held = workspace.journal(id).outstanding()
        status = workspace.load(id).status
    except FileNotFoundError:
        return f"kept: it holds {len(held)} things; `nxc down {id}`" if held else ""
    except (StateError, OSError):
        return "kept: it cannot be read"
    if status is not Status.STOPPED:
        return f"kept: {status.value}"
    return f"kept: it still holds {len(held)} things; `nxc down {id}`" if held else ""


def _item(what: str, folder: Path, note: str) -> Item:
    size = measure(folder)
    if note:
        return Item(what=what, size=size, note=note)
    return Item(what=what, size=size, spare=size, removable=(folder,))


def _survey_cache(session: Session, kept: set[Path], *, every: bool) -> Iterator[Item]:
    cache = paths.cache_dir().resolve()
    if not cache.is_dir():
        return
    named = {path.resolve(): f"{base} {name}" for base, name, path in _named_caches(session)}
    owned = {path.relative_to(cache).parts[0] for path in named if cache in path.parents}
    for top in _split(cache, set(named)):
        place = top.relative_to(cache)
        what = f"cache {named.get(top, place)}"
        size = measure(top)
        if place.parts[0] not in (*owned, *_OURS) and not every:
            yield Item(what=what, size=size, note="kept: no base here calls it its own (--all removes it)")
            continue
        spare = () if top.name == "locks" else tuple(_spare_files(top, kept))
        used = any(top in path.parents for path in kept)
        if not (spare or used):
            continue  # nothing but locks
        free = measure(*spare)
        note = ("partly in use" if spare else "in use") if used else ""
        yield Item(what=what, size=size, spare=free, removable=spare, note=note)


def _split(folder: Path, named: set[Path]) -> Iterator[Path]:
    """Yield the folders that are looked at as one: those with a name, and the largest without any in them."""
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir() or entry.is_symlink():
            continue
        if entry not in named and any(entry in path.parents for path in named):
            yield from _split(entry, named)
        else:
            yield entry


def _named_caches(session: Session) -> Iterator[tuple[str, str, Path]]:
    op = session.operation(session.workspace.root, "clean")
    for name in session.plugins.bases:
        with contextlib.suppress(NxcError, OSError):
            for what, path in session.plugins.base(name).caches(op).items():
                yield name, what, path


def _spare_files(folder: Path, kept: set[Path]) -> Iterator[Path]:
    """Yield what may go below ``folder``, whole folders where nothing in them is kept. Locks stay."""
    for entry in sorted(folder.iterdir()):
        if entry in kept or entry.name in ("lock", "locks") or entry.suffix == ".lock":
            continue
        if entry.is_dir() and not entry.is_symlink() and any(entry in path.parents for path in kept):
            yield from _spare_files(entry, kept)
        else:
            yield entry


def measure(*places: Path) -> int:
    """Return the bytes on disk of files and folders; what cannot be read counts nothing, links count once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    pending = list(places)
    while pending:
        one = pending.pop()
        with contextlib.suppress(OSError):
            found = one.lstat()
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
            if one.is_dir() and not one.is_symlink():
                pending += one.iterdir()
    return total


# Removing


def remove(
    session: Session, found: Survey, *, every: bool = False, options: sweeping.Options | None = None
) -> int:
    """Remove what a survey calls removable and return the bytes freed.

    Raises StateError when a build is under way in any known project: its files are not yet anyone's.
    """
    freed = 0
    trouble: list[str] = []
    builds: set[Path] = set()
    with contextlib.ExitStack() as stack:
        stack.enter_context(state.locked(building.cleaning_lock(), what="the cache"))
        if session.workspace.root.is_dir():  # nor is a deployment made meanwhile
            stack.enter_context(state.locked(session.workspace.root / "lock", what="this project"))
        for project in {*projects(), session.workspace.project}:
            for folder in sorted((project / ".nxc" / "builds").glob("*")):
                if folder.is_dir() and os.access(folder, os.W_OK):
                    stack.enter_context(state.locked(folder / "lock", what=folder.name))
                    builds.add(folder)
        found = survey(session, every=every, options=options)  # again: only now nothing else builds
        for item in found.items:
            for path in item.removable:
                if path.parent == session.workspace.root / "builds" and path not in builds:
                    continue  # one that waits to begin
                size = measure(path)
                try:
                    _remove(path)
                    freed += size
                except OSError as error:
                    trouble.append(f"{path}: {error.strerror}")
        for flavour in dict.fromkeys(item.flavour for item in found.items if item.leftovers):
            ours = [one for item in found.items if item.flavour == flavour for one in item.leftovers]
            swept, left = sweeping.sweep(session, flavour, ours, options)
            freed += swept
            trouble += left
    if trouble:
        raise StateError(f"could not remove {'; '.join(trouble)}", hint="remove it as the user who made it")
    return freed


def _remove(path: Path) -> None:
    """Remove a file or a whole folder, folders without write permission included (a Nix store has them)."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(path):
        with contextlib.suppress(OSError):
            Path(folder).chmod(0o700)
    shutil.rmtree(path)
