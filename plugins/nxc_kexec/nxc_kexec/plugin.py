"""What nxc imports at start: the offer alone."""

from __future__ import annotations

from collections.abc import Iterator

from nxc_core import FlavourEntry, hookimpl

NXC_API = 1


@hookimpl
def nxc_flavours() -> Iterator[FlavourEntry]:
    """Offer the flavour."""
    yield FlavourEntry(
        name="kexec",
        summary="any ssh-reachable machines, booted into their nodes by kexec, without their firmware",
        target="nxc_kexec.flavour:KexecFlavour",
    )
