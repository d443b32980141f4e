"""nxc.lock: every Debian package of a project's systems, by version and sha256. Pure values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from nxc_core.errors import ConfigError

SCHEMA = "nxc.debian.lock/1"
FILE_NAME = "nxc.lock"


@frozen(kw_only=True, order=True)
class Package:
    """One Debian package, exactly. ``filename`` is its path on a mirror."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    filename: str

    @property
    def deb(self) -> str:
        """The file name that Debian's tools expect."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


@frozen(kw_only=True)
class PackageSet:
    """What was asked of apt, and what it came to beyond the base set."""

    asked: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


@frozen(kw_only=True)
class Lock:
    """``sets`` are the project's own (base, kernel...); ``compositions`` holds each file's roles."""

    suite: str
    architecture: str
    epoch: int
    packages: Mapping[str, Package] = field(factory=dict)
    sets: Mapping[str, PackageSet] = field(factory=dict)
    compositions: Mapping[str, Mapping[str, PackageSet]] = field(factory=dict)

    def members(self, found: PackageSet) -> tuple[Package, ...]:
        """Return the packages of a set, by name."""
        return tuple(self.packages[name] for name in sorted(found.packages))

    def with_set(self, name: str, found: PackageSet, packages: Iterable[Package]) -> Lock:
        """Add or replace one of the project's own sets."""
        return self._with(packages, sets={**self.sets, name: found})

    def with_role(self, composition: str, role: str, found: PackageSet, packages: Iterable[Package]) -> Lock:
        """Add or replace the set of one role."""
        roles = {**self.compositions.get(composition, {}), role: found}
        return self._with(packages, compositions={**self.compositions, composition: roles})

    def only_roles(self, composition: str, roles: Iterable[str]) -> Lock:
        """Forget the roles that a composition no longer has, and packages that nothing asks for any more."""
        kept = {name: self.compositions[composition][name] for name in roles} if roles else {}
        lock = evolve(self, compositions={**self.compositions, composition: kept})
        every = [
            *lock.sets.values(),
            *(found for each in lock.compositions.values() for found in each.values()),
        ]
        used = {name for found in every for name in found.packages}
        return evolve(lock, packages={name: found for name, found in lock.packages.items() if name in used})

    def _with(self, packages: Iterable[Package], **changes: Any) -> Lock:
        return evolve(
            self, packages={**self.packages, **{found.name: found for found in packages}}, **changes
        )


def render(lock: Lock) -> str:
    """Spell a lock: sorted, one package a line, so that a difference is read easily."""
    lines = [
        "{",
        f' "schema": "{SCHEMA}",',
        f' "suite": {json.dumps(lock.suite)},',
        f' "architecture": {json.dumps(lock.architecture)},',
        f' "epoch": {lock.epoch},',
        f' "sets": {_render_sets(lock.sets, 1)},',
        ' "compositions": {' + ("" if lock.compositions else "},"),
    ]
    names = sorted(lock.compositions)
    for name in names:
        comma = "" if name == names[-1] else ","
        lines.append(f"  {json.dumps(name)}: {_render_sets(lock.compositions[name], 2)}{comma}")
    lines += [" },"] if names else []
    lines.append(' "packages": {')
    rows = []
    for name in sorted(lock.packages):
        found = lock.packages[name]
        row = {
            "version": found.version,
            "architecture": found.architecture,
            "size": found.size,
            "filename": found.filename,
            "sha256": found.sha256,
        }
        rows.append(f"  {json.dumps(name)}: {json.dumps(row)}")
    return "\n".join(lines) + "\n" + ",\n".join(rows) + "\n }\n}\n"


def _render_sets(sets: Mapping[str, PackageSet], depth: int) -> str:
    if not sets:
        return "{}"
    pad = " " * (depth + 1)
    rows = [
        f"{pad}{json.dumps(name)}: "
        + json.dumps({"asked": sorted(sets[name].asked), "packages": sorted(sets[name].packages)})
        for name in sorted(sets)
    ]
    return "{\n" + ",\n".join(rows) + "\n" + " " * depth + "}"


def parse(text: str, path: Path) -> Lock:
    """Read a lock; raises ConfigError saying what is wrong with the file."""
    way_out = f"restore {path.name} from version control, or delete it and build again"
    try:
        value = json.loads(text)
        schema = value["schema"]
        if schema != SCHEMA:
            raise ConfigError(f"{path}: written as {schema}, this nxc reads {SCHEMA}", hint="update nxc")
        lock = Lock(
            suite=str(value["suite"]),
            architecture=str(value["architecture"]),
            epoch=int(value["epoch"]),
            packages={name: Package(name=name, **row) for name, row in value["packages"].items()},
            sets=_parse_sets(value["sets"]),
            compositions={name: _parse_sets(roles) for name, roles in value["compositions"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: not a lock file ({type(error).__name__}: {error})", hint=way_out
        ) from error
    every = [
        *lock.sets.values(),
        *(found for roles in lock.compositions.values() for found in roles.values()),
    ]
    missing = sorted({name for found in every for name in found.packages} - lock.packages.keys())
    if missing:
        raise ConfigError(f"{path}: names {missing[0]} but does not say which version", hint=way_out)
    return lock


def _parse_sets(value: Mapping[str, Any]) -> dict[str, PackageSet]:
    return {
        name: PackageSet(asked=tuple(row["asked"]), packages=tuple(row["packages"]))
        for name, row in value.items()
    }
