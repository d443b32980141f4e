"""``nxc init``: a composition to start from."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from nxc_core.cli_complete import complete_templates
from nxc_core.cli_context import Invocation
from nxc_core.config import PROJECT_FILE
from nxc_core.errors import ConfigError, StateError

_HERE = Path(__file__).parent
_FLAKE_FILE = "flake.nix"
_FLAKE = """\
{
  # Pins nixpkgs: `nix flake lock` writes which one (nxc does, at the first build), `nix flake update` takes
  # today's. A flake that makes packages of its own for every flavour calls nxc.lib.compose.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-24.05";
  outputs = { self, nixpkgs }: { };
}
"""
_PROJECT = """\
# Settings of this project. `nxc config` shows all of them and where each comes from.
composition = "composition.nix"
@base@
# flavour = "vm-ramdisk"

# [options.vm-ramdisk]
# memory = "1g"

# [roles]
# client = 3
"""


def templates_dir() -> Path:
    """Return the folder of templates: the examples, which travel inside an installed package."""
    inside = _HERE / "templates"
    return inside if inside.is_dir() else _HERE.parent / "examples"


def list_templates() -> list[str]:
    """Name the templates."""
    return sorted(path.parent.name for path in templates_dir().glob("*/composition.nix"))


def init(
    nxc: Invocation,
    template: Annotated[
        str,
        typer.Argument(
            metavar="TEMPLATE",
            help="`nxc init --list` lists them.",
            autocompletion=complete_templates,
            show_default=False,
        ),
    ] = "basic",
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", show_default=False, help="A folder; it may exist.")
    ] = Path(),
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="NAME", help="How it is to be built; nixos adds a flake.nix that pins nixpkgs."
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the templates.")] = False,
) -> None:
    """Write a composition to start from.

    TEMPLATE is basic by default, DIR is here. Nothing is overwritten.
    """
    known = list_templates()
    if show:
        for name in known:
            nxc.tell(name)
        return
    if template not in known:
        raise ConfigError(f"there is no template {template}", hint=f"there are: {', '.join(known)}")
    if base is not None and base not in nxc.plugins.bases:
        raise ConfigError(f"there is no base {base}", hint=f"there are: {', '.join(nxc.plugins.bases)}")
    source, goal = templates_dir() / template, nxc.path(folder)
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    files = [path for path in files if path.name != "nxc.lock" and ".nxc" not in path.parts]
    written = {PROJECT_FILE: _PROJECT.replace("@base@", f'base = "{base}"' if base else '# base = "debian"')}
    if base == "nixos":
        written[_FLAKE_FILE] = _FLAKE
    files = [path for path in files if str(path) not in written]
    taken = [str(path) for path in (*files, *map(Path, written)) if (goal / path).exists()]
    if taken:
        raise ConfigError(
            f"{goal} has {', '.join(taken)} already", hint="choose an empty folder; nothing was written"
        )
    try:
        for path in files:
            (goal / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, goal / path)
        readme = goal / "README.md"
        if Path("README.md") in files:  # what it says is typed at the top of this repository
            text = readme.read_text().replace(f" examples/{template}\n", "\n")
            readme.write_text(text.replace(f" examples/{template}/", " "))
        for name, text in written.items():
            (goal / name).write_text(text)
    except OSError as error:
        raise StateError(
            f"{goal} cannot be written: {error.strerror}", hint="choose a folder of yours"
        ) from error
    nxc.tell(str(goal))
    here = Path.cwd()
    shown = goal.relative_to(here) if goal.is_relative_to(here) else goal
    where = "" if goal == here else f"cd {shlex.quote(str(shown))}; "
    nxc.note(f"next: `{where}nxc up` builds and starts it, `{where}nxc up --test` tests it and takes it down")
