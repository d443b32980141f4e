"""Asking every driver what stands in the way on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nxc_core.base import Base
from nxc_core.errors import NxcError
from nxc_core.flavour import Flavour
from nxc_core.model import Finding, Json
from nxc_core.session import Session


def check_drivers(
    session: Session,
    *,
    flavours: Sequence[str] | None = None,
    bases: Sequence[str] | None = None,
    options: Mapping[str, Mapping[str, Json]] | None = None,
) -> list[tuple[str, Finding]]:
    """Ask the named drivers, by default all, and list broken plugins. Each finding has its driver's name."""
    plugins = session.plugins
    op = session.operation(session.workspace.root, "doctor")
    found = [
        (
            broken.name,
            Finding(ok=False, subject=f"plugin {broken.name}", detail=broken.reason, hint="reinstall it"),
        )
        for broken in plugins.broken
    ]
    drivers: list[tuple[str, Callable[..., Flavour[Any] | Base[Any]]]] = []
    drivers += [(name, plugins.base) for name in (plugins.bases if bases is None else bases)]
    drivers += [(name, plugins.flavour) for name in (plugins.flavours if flavours is None else flavours)]
    for name, make in drivers:
        try:
            found += [(name, finding) for finding in make(name, (options or {}).get(name)).check(op)]
        except NxcError as error:
            found.append((name, Finding(ok=False, subject=name, detail=error.message, hint=error.hint)))
    return found
