"""Files and units of a composition, put in place by code that has the system's root as its root."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nxc_core.errors import BuildError
from nxc_debian.inside import accounts

UNITS = Path("/etc/systemd/system")
SHIPPED = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"), UNITS)


def place_text(name: str, text: str, mode: str) -> None:
    """Write a file that belongs to root."""
    target = make_way(name)
    target.write_text(text)
    target.chmod(int(mode, 8))


def place_files(files: Mapping[str, Mapping[str, Any]]) -> None:
    """Write, copy or link each file, in place of whatever a package brought."""
    for name, spec in sorted(files.items()):
        target = make_way(name)
        if "text" in spec:
            target.write_text(spec["text"])
        elif spec["mode"] == "symlink":
            target.symlink_to(spec["source"])
            continue
        elif Path(spec["source"]).is_dir():
            shutil.copytree(spec["source"], target, symlinks=True)
        else:
            shutil.copyfile(spec["source"], target)
        os.chown(target, _number(spec["user"], name, "passwd"), _number(spec["group"], name, "group"))
        target.chmod(int(spec["mode"], 8))  # after chown, which clears setuid


def make_way(name: str) -> Path:
    """Make a file's folders and remove what is in its place."""
    target = Path("/") / name
    if ".." in target.parts:
        raise BuildError(f"/{name}: a file's path must not contain `..'")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError) as error:
        raise BuildError(f"/{name} cannot be there: {error.filename} is not a folder") from error
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    return target


def _number(name: str, path: str, table: str) -> int:
    """Look a name up in the root's own tables: the C library would ask modules of the wrong system."""
    if name.isdigit():
        return int(name)
    rows = accounts.read(table)
    if name not in rows:
        kind = "user" if table == "passwd" else "group"
        raise BuildError(f"/{path}: there is no {kind} {name}", hint=f"declare it in users.{kind}s")
    return int(rows[name][2])


def link_path(paths: Sequence[str]) -> None:
    """Link the commands of these store paths into /usr/local/bin; the first of a name wins."""
    place = Path("/usr/local/bin")
    for path in paths:
        folder = Path(path) / "bin"
        for command in sorted(folder.iterdir()) if folder.is_dir() else ():
            link = place / command.name
            if not link.is_symlink():
                link.symlink_to(command)


def place_units(units: Mapping[str, Any]) -> None:
    """Write units and drop-ins, link what starts them, mask what must not start."""
    for name, text in sorted(units.get("files", {}).items()):
        place_text(str(UNITS / name).lstrip("/"), text, "0644")
    for name, text in sorted(units.get("dropins", {}).items()):
        if not _exists(name):
            raise BuildError(
                f"{name} has no command, and no package of the role ships a unit of that name",
                hint="give it a script or serviceConfig.ExecStart, or name its package in systemPackages",
            )
        place_text(f"{UNITS}/{name}.d/nxc.conf".lstrip("/"), text, "0644")
    for kind in ("wants", "requires"):
        for target, names in sorted(units.get(kind, {}).items()):
            for name in sorted(names):
                link = make_way(f"{UNITS}/{target}.{kind}/{name}".lstrip("/"))
                link.symlink_to(_unit_path(name))
    for name in sorted(units.get("mask", [])):
        make_way(str(UNITS / name).lstrip("/")).symlink_to("/dev/null")


def _exists(name: str) -> bool:
    return any((folder / known).exists() for folder in SHIPPED for known in (name, _template(name)))


def _unit_path(name: str) -> Path:
    for folder in (UNITS, *SHIPPED):
        for known in (name, _template(name)):
            if (folder / known).exists():
                return Path("/lib/systemd/system") / known if folder != UNITS else UNITS / known
    return UNITS / name


def _template(name: str) -> str:
    stem, at, rest = name.partition("@")
    return f"{stem}@.{rest.rpartition('.')[2]}" if at else name
