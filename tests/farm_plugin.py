"""A base for the machines of a farm: images of a second's making, no system in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from nxc_core import BaseEntry, Operation, hookimpl
from nxc_core.model import RAMDISK, Artifact, BuildRequest, Kind, RoleBoot
from tests.fake_plugin import PaperBase
from tests.farm_image import make_initrd, make_kernel

NXC_API = 1
KERNEL, INITRD = 256 << 10, 2 << 20


@hookimpl
def nxc_bases() -> Iterator[BaseEntry]:
    yield BaseEntry(name="noise", summary="ramdisks of noise", target=f"{__name__}:NoiseBase")


class NoiseBase(PaperBase):
    """A composition as for ``paper``; every system is noise, the same for all compositions."""

    name = "noise"
    produces: ClassVar[frozenset[Kind]] = frozenset({RAMDISK})

    def build(self, request: BuildRequest, op: Operation) -> Artifact:
        folder = op.cache / "noise"
        folder.mkdir(parents=True, exist_ok=True)
        kernel, initrd = folder / "kernel", folder / "initrd"
        if not initrd.exists():
            make_kernel(kernel, KERNEL)
            make_initrd(initrd, INITRD)
        return Artifact(
            kind=request.kind,
            files={"kernel": kernel, "initrd": initrd},
            roles={
                role.name: RoleBoot(cmdline=f"nxc.role={role.name}", kernel=kernel, initrd=initrd)
                for role in request.composition.roles
            },
        )
