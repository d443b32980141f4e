"""The flavours: a system wholly in memory (``vm-ramdisk``), or one that stays on this machine (``vm``)."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from nxc_core import Operation
from nxc_core.model import CLOSURE, LAYERS, RAMDISK, Finding, Guest, NodeSpec, Plan
from nxc_vm import media, share
from nxc_vm.check import check_host
from nxc_vm.machines import VirtualMachines, share_socket
from nxc_vm.media import Media
from nxc_vm.memory import Appetite
from nxc_vm.options import RamdiskOptions, VmOptions


class VmRamdisk(VirtualMachines[RamdiskOptions]):
    """Machines that need nothing of this one once they have booted."""

    name = "vm-ramdisk"
    accepts = (RAMDISK,)
    options_type = RamdiskOptions
    appetite = Appetite(flavour=name, usual=1024, spare=512)

    def media(self, plan: Plan, spec: NodeSpec, op: Operation) -> Media:
        """One ramdisk for all."""
        return media.loaded(plan, spec.role)


class Vm(VirtualMachines[VmOptions]):
    """Machines that read their system from this one: layers as disks, or the Nix store as a shared folder."""

    name = "vm"
    accepts = (CLOSURE, LAYERS)
    options_type = VmOptions
    appetite = Appetite(flavour=name, usual=512, spare=256)

    @property
    def guest(self) -> Guest:
        """As of every machine here, with a way to the store."""
        found = super().guest
        modules = (*found.kernel_modules, "virtio_blk")
        return evolve(found, kernel_modules=modules, share=share.choose(self.options.share))

    def check(self, op: Operation) -> Sequence[Finding]:
        """What every machine here needs, and how a NixOS guest would get the store."""
        return [*check_host(self.options, op), *share.check_share(self.options.share)]

    def require(self, op: Operation) -> None:
        """Ask for virtiofsd, too, where it is wanted by name."""
        super().require(op)
        if self.options.share == "virtiofs":
            share.require_daemon()

    def media(self, plan: Plan, spec: NodeSpec, op: Operation) -> Media:
        """A small initrd, and the layers or the store."""
        found = media.loaded(plan, spec.role)
        if plan.artifact.kind == LAYERS:
            return evolve(found, disks=media.disks(plan, spec.role))
        how = self.guest.share
        assert how is not None
        given = media.Share(how=how, folder=media.store(plan), socket=share_socket(spec.name, op))
        words = [found.cmdline, media.registration(plan)]
        return evolve(found, share=given, cmdline=" ".join(filter(None, words)))
