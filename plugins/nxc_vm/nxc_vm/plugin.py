"""What nxc imports at start: the offer alone."""

from __future__ import annotations

from collections.abc import Iterator

from nxc_core import FlavourEntry, hookimpl

NXC_API = 1


@hookimpl
def nxc_flavours() -> Iterator[FlavourEntry]:
    """Offer the flavours."""
    yield FlavourEntry(
        name="vm",
        summary="QEMU virtual machines whose system stays on this machine, as an ordinary user",
        target="nxc_vm.flavour:Vm",
    )
    yield FlavourEntry(
        name="vm-ramdisk",
        summary="QEMU virtual machines wholly in memory, as an ordinary user",
        target="nxc_vm.flavour:VmRamdisk",
    )
