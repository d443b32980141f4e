"""What nxc imports at start: the offer alone. Drivers are imported on first use."""

from __future__ import annotations

from collections.abc import Iterator

from nxc_core import BaseEntry, FlavourEntry, hookimpl

NXC_API = 1


@hookimpl
def nxc_flavours() -> Iterator[FlavourEntry]:
    """Offer the flavour."""
    yield FlavourEntry(
        name="local",
        summary="processes of this machine, to try nxc out",
        target="nxc_example.flavour:LocalFlavour",
    )


@hookimpl
def nxc_bases() -> Iterator[BaseEntry]:
    """Offer the base."""
    yield BaseEntry(
        name="plain", summary="folders of files, from a TOML file", target="nxc_example.base:PlainBase"
    )
