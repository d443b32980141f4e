"""From a composition file to a build, through a base."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, fields

from nxc_core import paths, state
from nxc_core.base import Base
from nxc_core.errors import BuildError, ConfigError, StateError
from nxc_core.flavour import Flavour
from nxc_core.model import Build, BuildRequest, Composition, Json, Kind
from nxc_core.operation import Operation
from nxc_core.plugins import Plugins


def existing(source: Path | str) -> Path:
    """Return the file that is meant; of a folder its ``composition.nix``, else ``compositions.nix``."""
    path = Path(source)
    if path.is_dir():
        several = path / "compositions.nix"
        path = path / "composition.nix"
        path = several if several.exists() and not path.exists() else path
    if not path.exists():
        raise ConfigError(f"there is no composition {path}", hint="name a file, or make one with `nxc init`")
    return path.resolve()


def composition_name(source: Path) -> str:
    """Name a composition after its file, or after its folder when the file is ``composition.nix``."""
    stem = (
        source.stem
        if source.name not in ("composition.nix", "compositions.nix", "default.nix")
        else source.parent.name
    )
    clean = "".join(c if c.isalnum() or c == "-" else "-" for c in stem.lower()).strip("-")
    return clean[:32] or "composition"


def name_build(
    source: Path, base: str, kind: Kind, flavour: Flavour[Any], options: Mapping[str, Json]
) -> str:
    """Name the folder of a build: readable, and another one for another guest or other options."""
    seen = json.dumps([str(source), state.unstructure(flavour.guest), dict(options)], sort_keys=True)
    return f"{composition_name(source)}-{base}-{kind}-{hashlib.sha256(seen.encode()).hexdigest()[:8]}"


def lasting(options_type: type[Any], options: Mapping[str, Json]) -> dict[str, Json]:
    """Leave out options that say what to do this once (metadata ``once``), such as ``relock``."""
    once = {field.name for field in fields(options_type) if field.metadata.get("once")}
    return {name: value for name, value in options.items() if name.replace("-", "_") not in once}


def cleaning_lock() -> Path:
    """Return the lock of who cleans: it keeps builds from beginning, whose own locks are not known yet."""
    return paths.cache_dir() / "clean.lock"


def wait_for_cleaning(op: Operation) -> None:
    """Wait for an ``nxc clean`` that is under way; the next one meets the lock of this build."""
    with contextlib.suppress(OSError), op.alone(cleaning_lock(), "the cache"):  # a full disk: the build tells
        pass


def find_unchanged(path: Path, fingerprint: str) -> Build | None:
    """Return the build that is recorded at ``path`` if its sources are the same and its files are there."""
    if not path.exists():
        return None
    with contextlib.suppress(StateError):  # a damaged record only costs a build
        build = state.load(path, Build)
        if build.fingerprint == fingerprint and all(file.exists() for file in build.artifact.paths()):
            return build
    return None


def carry_out(
    plugins: Plugins,
    base: Base[Any],
    driver: Flavour[Any],
    source: Path,
    kind: Kind,
    name: str,
    options: Mapping[str, Json],
    jobs: int,
    op: Operation,
    check: Callable[[Composition], None],
    reason: str,
) -> Build:
    """Evaluate and build what ``check`` lets pass. Raises ConfigError or BuildError."""
    composition = base.read(source, op)
    for warning in composition.warnings:
        op.step(warning, topic="warning")
    check(composition)
    request = BuildRequest(composition=composition, kind=kind, guest=driver.guest, jobs=jobs)
    composition = base.examine(request, op)
    check(composition)
    request = evolve(request, composition=composition)
    try:
        artifact = plugins.build(base, request, op)
    except OSError as error:
        raise BuildError(
            f"the build could not go on: {error}", hint="free some disk, or check the folder's rights"
        ) from error
    made = json.dumps([state.unstructure(artifact), state.unstructure(driver.guest)], sort_keys=True)
    return Build(
        id=f"{name}-{hashlib.sha256(made.encode()).hexdigest()[:8]}",
        composition=composition,
        base=base.name,
        guest=driver.guest,
        artifact=artifact,
        fingerprint=base.fingerprint(source, kind, driver.guest, op),
        options=options,
        reason=reason,
    )
