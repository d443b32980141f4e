"""What nxc imports at start: the offer alone."""

from __future__ import annotations

from collections.abc import Iterator

from nxc_core import BaseEntry, hookimpl

NXC_API = 1


@hookimpl
def nxc_bases() -> Iterator[BaseEntry]:
    """Offer the Debian base."""
    yield BaseEntry(
        name="debian",
        summary="Debian systems, from a Debian mirror alone",
        target="nxc_debian.base:DebianBase",
    )
