"""A composition under study: where it belongs, what it depends on, and how Nix is asked about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import asdict, fields, frozen

from nxc_core.operation import Operation
from nxc_core.paths import nix_dir
from nxc_nixos import flakes, nix as asking, project as projects, stores, tree
from nxc_nixos.cache import Cache
from nxc_nixos.keys import Keys, find_keys, project_marks
from nxc_nixos.nix import Nix
from nxc_nixos.options import NixosOptions
from nxc_nixos.project import Project
from nxc_nixos.tree import digest

SYSTEM = "x86_64-linux"


@frozen(kw_only=True)
class Study:
    """What has to be known to ask Nix. ``mark`` digests by sizes and times what ``keys`` digest by content.

    ``files`` digests those that may be edited meanwhile. ``impure`` says why nothing of it may be kept;
    mostly it is empty.
    """

    project: Project
    nix: Nix
    reference: str
    mark: str
    keys: Keys
    files: str
    impure: str = ""

    def is_outdated(self, op: Operation) -> bool:
        """Whether the project was edited since: what was evaluated meanwhile is of no one state of it."""
        return _mark_files(self.project, op) != self.files


def mark(project: Project, options: NixosOptions, op: Operation) -> str:
    """Digest by sizes and times all that an evaluation depends on: no file of the project is read."""
    return _mark(project, _common(project, options, stores.choose(options.store)), op)


def _mark(project: Project, common: list[Any], op: Operation) -> str:
    programs = tree.stat_mark(asking.find_programs() / "nix-instantiate")
    return digest([_mark_files(project, op), project_marks(project), programs, *common])


def _mark_files(project: Project, op: Operation) -> str:
    """Digest the files that a user may edit while they are evaluated."""
    around = projects.files_around(project, op)
    marks = {name: tree.stat_mark(project.git / name) for name in around if project.git}
    return digest([tree.stat_digest(project.root), marks, tree.stat_digest(nix_dir())])


def _common(project: Project, options: NixosOptions, store: stores.Store) -> list[Any]:
    """What depends on no file of the project."""
    nixpkgs = project.nixpkgs_folder
    once = {one.name for one in fields(NixosOptions) if one.metadata.get("once")}
    return [
        SYSTEM,
        [str(path) for path in (project.source, project.flake, project.setup)],
        project.nixpkgs,
        "" if nixpkgs is None else _nixpkgs_mark(nixpkgs, store.physical),
        tree.stat_digest(Path(__file__).parent),
        [store.uri, str(store.physical)],
        {name: value for name, value in asdict(options).items() if name not in once},
    ]


def _nixpkgs_mark(folder: Path, store: Path) -> str:
    """Mark a tree of nixpkgs: one in the store cannot change, any other is looked through."""
    if folder.is_relative_to(store):
        return str(folder)
    heads = [tree.stat_mark(folder / ".git" / name) for name in ("HEAD", "logs/HEAD")]
    return digest([tree.stat_digest(folder), heads])  # systems name the commit of their nixpkgs


def begin(source: Path, options: NixosOptions, cache: Cache, op: Operation) -> Study:
    """Find out where a composition belongs; raises ConfigError or PreflightError where that is nowhere."""
    project = projects.find(source, options)
    nix = asking.find(options, op)
    files = projects.tracked_files(project, op)
    if files is None:
        files = tuple(sorted(tree.stat_marks(project.root)))
    reference = project.nixpkgs
    if project.flake is not None:
        flake = flakes.settle(project, files, nix, cache, op, pure=options.pure, write=not op.dry)
        reference, files = flake.reference, flake.files
    common = _common(project, options, nix.store)
    seen, seen_files = _mark(project, common, op), _mark_files(project, op)
    flags = [list(nix.flags), list(nix.flake_flags), reference if nix.flake_flags else ""]
    static = digest([nix.version, flags, tree.content_marks(nix_dir()), *common])
    keys = find_keys(project, files, static, options.setup_params, nix, op)
    return Study(
        project=project,
        nix=nix,
        reference=reference,
        mark=seen,
        keys=keys,
        files=seen_files,
        impure=_find_impure(options, nix, keys, cache.get("impure", seen)),
    )


def _find_impure(options: NixosOptions, nix: Nix, keys: Keys, known: Any) -> str:
    """Say why a result cannot be kept: asked for, found out before, or a word in the project's files."""
    if options.impure or "--impure" in nix.flake_flags:
        return "--impure"
    ways_out = [word for word in nix.flags if word.startswith(("-I", "--include")) or word == "nix-path"]
    if ways_out:
        return f"{ways_out[0]} in the flags for nix"
    if options.pure:
        return ""
    return known if isinstance(known, str) else keys.impure
