"""Where a composition belongs: a flake, or a folder with a nixpkgs that the user names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from nxc_core.choosing import project_folders
from nxc_core.config import PROJECT_FILE, UPSTREAM_FILE
from nxc_core.errors import ConfigError
from nxc_core.operation import Operation
from nxc_nixos.options import NixosOptions

_TOPS = (PROJECT_FILE, UPSTREAM_FILE, "flake.nix", ".git")
_PINNED = re.compile(r"[0-9a-f]{40}|narHash=")
_NO_NIXPKGS = (
    'write one beside it in a flake.nix: { inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-24.05"; '
    "outputs = _: { }; }, or say it by -o nixos.nixpkgs=, a folder or a flake reference"
)


@frozen(kw_only=True)
class Project:
    """A composition and what goes with it.

    ``root`` holds every file it may read; ``flake`` is the folder of its flake.nix, if it belongs to one.
    Without a flake, ``nixpkgs`` is a folder, or a pinned flake reference.
    """

    root: Path
    source: Path
    flake: Path | None = None
    git: Path | None = None
    nixpkgs: str = ""
    setup: Path | None = None

    @property
    def nixpkgs_folder(self) -> Path | None:
        """The folder of nixpkgs, where it is one."""
        return Path(self.nixpkgs) if self.nixpkgs.startswith("/") else None


def find(source: Path, options: NixosOptions) -> Project:
    """Say where a composition belongs; raises ConfigError where nothing says which nixpkgs it is for."""
    source = source.resolve()
    if not source.is_file():
        raise ConfigError(f"{source}: there is no such file", hint="`nxc init` makes a first composition")
    root = _nearest(source.parent, _TOPS) or source.parent
    setup = source.parent / "setup.toml"
    given = options.nixpkgs or _upstream(root).get("nixpkgs")
    common: dict[str, Any] = {"source": source, "setup": setup if setup.is_file() else None}
    if not given:
        flake = _find_flake(source)
        if flake is None:
            raise ConfigError(f"{source}: nothing says which nixpkgs it is for", hint=_NO_NIXPKGS)
        return Project(root=flake, flake=flake, git=_nearest(flake, (".git",)), **common)
    return Project(root=root, nixpkgs=_settle_nixpkgs(str(given), root, options), **common)


def _find_flake(source: Path) -> Path | None:
    """Return the folder of the flake that is a composition's: beside it, or beside its project file."""
    return next((folder for folder in project_folders(source) if (folder / "flake.nix").is_file()), None)


def _nearest(start: Path, names: tuple[str, ...]) -> Path | None:
    for folder in (start, *start.parents):
        if any((folder / name).exists() for name in names):
            return folder
    return None


def _upstream(root: Path) -> Mapping[str, Any]:
    try:
        content = json.loads((root / UPSTREAM_FILE).read_text(encoding="utf-8"))
    except OSError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{root / UPSTREAM_FILE}: {error}", hint="write it as JSON") from error
    return content if isinstance(content, dict) else {}


def _settle_nixpkgs(given: str, root: Path, options: NixosOptions) -> str:
    if "?" not in given:
        given = given.removeprefix("path:")  # any folder is looked through, whatever its name says
    if given.startswith(("/", ".", "~")):
        folder = (root / Path(given).expanduser()).resolve()
        if not (folder / "nixos" / "lib" / "eval-config.nix").is_file():
            raise ConfigError(
                f"nixos.nixpkgs: {folder} is not a tree of nixpkgs",
                hint="it holds nixos/lib/eval-config.nix",
            )
        return str(folder)
    if not (_PINNED.search(given) or options.impure):
        raise ConfigError(
            f"nixos.nixpkgs: {given} is not pinned: it would be another one tomorrow",
            hint=f"write the commit: `nix flake metadata {given}` shows it; or --impure",
        )
    return given


def tracked_files(project: Project, op: Operation) -> tuple[str, ...] | None:
    """List what git shows Nix of a flake, relative to its folder; None where Nix sees every file."""
    if project.flake is None or project.git is None:
        return None
    return _list_tracked(project.flake, op)


def files_around(project: Project, op: Operation) -> tuple[str, ...]:
    """List all files of the repository that a flake is a folder of: it may read them, too; else nothing."""
    if project.flake is None or project.git in (None, project.flake):
        return ()
    assert project.git is not None
    return _list_tracked(project.git, op)


def _list_tracked(folder: Path, op: Operation) -> tuple[str, ...]:
    listed = op.run(("git", "-C", str(folder), "ls-files", "-z"), timeout=60).stdout
    return tuple(sorted(name for name in listed.decode(errors="surrogateescape").split("\0") if name))


def flake_reference(project: Project) -> str:
    """Spell the flake as Nix wants it: by git where git keeps it."""
    assert project.flake is not None
    if project.git is None:
        return f"path:{project.flake}"
    below = project.flake.relative_to(project.git)
    return f"git+file://{project.git}" + (f"?dir={below}" if str(below) != "." else "")
