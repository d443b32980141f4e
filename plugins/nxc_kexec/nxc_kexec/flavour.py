"""The flavour ``kexec``: any machines that ssh reaches become nodes, and get their former system back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from nxc_core import ConfigError, Flavour, Operation, paths
from nxc_core.model import (
    RAMDISK,
    Build,
    Finding,
    Guest,
    Interface,
    Machine,
    Network,
    Node,
    NodeSpec,
    Observation,
    Plan,
    Resource,
    Role,
)
from nxc_core.state import load, structure
from nxc_kexec import addresses, booking, check, claims, deploying, giving, settling
from nxc_kexec.claims import MACHINE, SHARED, Station
from nxc_kexec.machines import read_machines
from nxc_kexec.options import KexecOptions
from nxc_kexec.watch import Watch

MODULES = (
    *("virtio_pci", "virtio_net"),
    *("e1000e", "igb", "ixgbe", "i40e", "ice", "bnxt_en", "bnx2x", "mlx5_core", "qede", "tg3", "r8169"),
)
"""Drivers of network cards of real machines, which must be there before any system is."""


class KexecFlavour(Flavour[KexecOptions]):
    """Stateless between processes: the journal knows the machines. What was seen of them is kept a while."""

    name = "kexec"
    accepts = (RAMDISK,)
    options_type = KexecOptions
    addressing: ClassVar[Literal["nxc", "platform"]] = "platform"
    gives = frozenset(
        {
            *("kernel", "kernel-modules", "mount", "net-admin", "sysctl", "namespaced-sysctl"),
            *("time", "console", "reboot"),
        }
    )

    def __init__(self, options: KexecOptions) -> None:
        super().__init__(options)
        self._watch = Watch(options)
        self._seen: booking.Seen = {}

    @property
    def guest(self) -> Guest:
        """A whole system in memory for real machines, told who it is by what follows its initrd."""
        return Guest(
            ssh=True,
            console=self.options.console.partition(",")[0] or None,
            kernel_modules=MODULES,
            firmware=self.options.firmware,
            root="tmpfs",
            seed="cpio",
        )

    def check(self, op: Operation) -> Sequence[Finding]:
        """The ssh client, and the machines that are named."""
        return list(check.check_here(self.options))

    def require(self, op: Operation) -> None:
        """Ask for machines, too."""
        read_machines(self.options.machines, Path())
        super().require(op)

    def vet(self, roles: Sequence[Role], op: Operation) -> None:
        """Refuse more nodes than there are machines."""
        if self.options.machines:
            booking.count(
                self.options, sum(len(role.names()) for role in roles if role.count or role.hosts), 0
            )

    def afford(self, nodes: int, spares: int, op: Operation) -> None:
        """Refuse spare machines that are not there."""
        booking.count(self.options, nodes, spares)

    def deadline(self, op: Operation) -> float:
        """As the user allows: how long firmware and drivers take differs by machine."""
        return self.options.boot

    # Machines: named by the user, looked at and held by us

    def acquire(self, plan: Plan, op: Operation) -> None:
        """Claim as many machines as nodes and spares need."""
        booking.acquire(self.options, plan, op)

    def wait(self, plan: Plan, op: Operation) -> None:
        """Look at every machine, and put our name on those that will do."""
        self._seen |= booking.look_and_hold(self.options, plan, self.stations(op), op)

    def machines(self, plan: Plan, op: Operation) -> Sequence[Machine]:
        """List the machines that are claimed; the core knows which of them were left out."""
        return booking.all_machines(self.stations(op))

    def networks(self, plan: Plan, op: Operation) -> tuple[Network, ...]:
        """One network, with the machines' own addresses."""
        return addresses.make_network(plan.all_nodes or plan.nodes, {one.name: one for one in plan.machines})

    def interfaces(self, spec: NodeSpec, plan: Plan) -> tuple[Interface, ...]:
        """Carry over the cards of the node's machine."""
        for machine in plan.machines:
            told = machine.facts.get("interfaces")
            if machine.name == spec.machine and isinstance(told, Sequence):
                return tuple(structure(one, Interface, f"the facts of {machine.name}") for one in told)
        return ()

    # Deploying

    def deploy(self, plan: Plan, op: Operation) -> None:
        """Bring the image to the nodes' machines, load it, start it; report each node as it starts."""
        deploying.deploy(self.options, plan, self.stations(op), self._seen, self._watch, op)
        self._seen = {}

    def settle(self, plan: Plan, op: Operation) -> None:
        """Push the node documents of those whose neighbours have moved to other machines since."""
        settling.push_changed(plan, self.stations(op), op)

    def observe(self, node: Node, op: Operation) -> Observation:
        """Whether its machine went back to its former system, never left it, or does not answer any more."""
        return self._watch.observe(node.name, lambda: self._by_node(op), op)

    def reboot(self, node: Node, op: Operation) -> None:
        """Reboot through the firmware: the machine's former system comes up, and starts the node again."""
        build = load(op.dir / "build.json", Build)
        station = self._by_node(op).get(node.name)
        if station is None:
            raise ConfigError(f"no machine is known to run {node.name}", hint="`nxc status` shows the nodes")
        deploying.again(self.options, build.artifact, node, station, self._watch, op)

    # Giving back

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        """Give machines back, all at once; a folder that they read from goes after them."""
        paths.private(op.runtime)  # where connections to hosts on the way have their sockets
        gone = [one for one in resources if one.kind == SHARED and giving.remove_shared(one)]
        held = {
            one.id: claims.station(one, op, known_hosts=self.options.known_hosts, patience=10)
            for one in resources
            if one.kind == MACHINE
        }
        return [*gone, *(held[name].claim for name in giving.give_all_back(held, self.options, op))]

    def stations(self, op: Operation) -> dict[str, Station]:
        """Return the claimed machines by name."""
        return claims.stations(op, known_hosts=self.options.known_hosts, patience=self.options.contact)

    def _by_node(self, op: Operation) -> dict[str, Station]:
        return claims.by_node(self.stations(op).values(), op.journal.bindings())
