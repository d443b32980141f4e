"""What nxc imports at start: the offer alone."""

from __future__ import annotations

from collections.abc import Iterator

from nxc_core import BaseEntry, hookimpl

NXC_API = 1


@hookimpl
def nxc_bases() -> Iterator[BaseEntry]:
    """Offer the NixOS base."""
    yield BaseEntry(
        name="nixos",
        summary="NixOS systems, from a pinned nixpkgs",
        target="nxc_nixos.base:NixosBase",
    )
