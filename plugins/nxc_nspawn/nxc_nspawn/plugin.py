"""What nxc imports at start: the offer alone."""

from __future__ import annotations

from collections.abc import Iterator

from nxc_core import FlavourEntry, hookimpl

NXC_API = 1


@hookimpl
def nxc_flavours() -> Iterator[FlavourEntry]:
    """Offer the flavour."""
    yield FlavourEntry(
        name="nspawn",
        summary="systemd-nspawn containers, the fastest nodes, for root",
        target="nxc_nspawn.flavour:NspawnFlavour",
    )
