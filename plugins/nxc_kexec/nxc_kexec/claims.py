"""What the journal knows of a machine: how it is reached, what was seen of it, how far it got."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from nxc_core import Operation
from nxc_core.commands import Command
from nxc_core.connect import ssh_options
from nxc_core.flows import Flow, run_flows
from nxc_core.gateways import CONNECT_TIMEOUT
from nxc_core.identity import alias
from nxc_core.model import Json, Machine, Node, NodeSpec, Resource, SshEndpoint
from nxc_core.paths import shorten
from nxc_core.state import structure, unstructure
from nxc_kexec.former import NODE_PORT, Way, close
from nxc_kexec.machines import Contact

MACHINE = "kexec.machine"
LONGEST = 60
"""Seconds for one try to connect: a machine that comes up meanwhile may not hear of the first."""
SHARED = "kexec.shared"
"""A folder that machines read the image from; released after the machines."""


@frozen(kw_only=True, eq=False)
class Station:
    """One machine of a deployment, as claimed."""

    claim: Resource
    contact: Contact
    way: Way

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.contact.name

    @property
    def node(self) -> str:
        """The node that was started on it last; empty while none was."""
        return str(self.claim.data.get("node", ""))

    @property
    def instance(self) -> str:
        """The instance id of that node."""
        return str(self.claim.data.get("instance", ""))

    @property
    def boot(self) -> str:
        """The boot id of its former system when that was looked at last."""
        return str(self.claim.data.get("boot", ""))

    @property
    def is_held(self) -> bool:
        """Whether something of ours may be on it."""
        return bool(self.claim.data.get("held"))

    @property
    def folder(self) -> str:
        """Where what is ours is kept there."""
        return str(self.claim.data.get("folder", ""))

    def machine(self) -> Machine:
        """Return it as the core knows machines."""
        facts = self.claim.data.get("facts")
        return Machine(name=self.name, facts=facts if isinstance(facts, Mapping) else {})


def claim(contact: Contact, op: Operation) -> Resource:
    """Claim a machine; nothing is on it yet."""
    return op.claim(MACHINE, contact.name, rank=1, contact=unstructure(contact))


def stations(op: Operation, *, known_hosts: str, patience: float) -> dict[str, Station]:
    """Return the claimed machines by name, oldest first."""
    found = {}
    for resource in op.claimed(MACHINE):
        found[resource.id] = station(resource, op, known_hosts=known_hosts, patience=patience)
    return found


def station(resource: Resource, op: Operation, *, known_hosts: str, patience: float) -> Station:
    """Read one claim."""
    contact = structure(resource.data.get("contact"), Contact, f"the claim of {resource.id}")
    way = Way(
        contact=contact,
        runtime=op.runtime,
        # A path may be meant from another folder than where we are now.
        known_hosts=known_hosts if Path(known_hosts).is_file() else contact.known_hosts,
        patience=max(1, min(LONGEST, round(patience))),
    )
    return Station(claim=resource, contact=contact, way=way)


def by_node(stations: Iterable[Station], bindings: Mapping[str, str]) -> dict[str, Station]:
    """Map nodes to the machines that run them; what a node was taken from may still know its name."""
    return {one.node: one for one in stations if one.node and bindings.get(one.node, one.name) == one.name}


# The node that a machine becomes


def endpoint(way: Way, node: str, op: Operation) -> SshEndpoint:
    """Return how the node on a machine is reached: at the same host, by nxc's own sshd."""
    contact = way.contact
    return SshEndpoint(
        host=contact.real or contact.host,
        port=NODE_PORT,
        user="root",
        identity=op.dir / "key",
        known_hosts=op.dir / "known_hosts",
        alias=alias(op.name, node),
        control=op.runtime / f"{shorten(node)}.n",
        gateway=way.gateway,
    )


def make_node(spec: NodeSpec, station: Station, op: Operation) -> Node:
    """Return a node as it is reported."""
    facts: dict[str, Json] = {
        key: value for key, value in station.machine().facts.items() if key in ("address", "kernel", "memory")
    }
    return Node(
        name=spec.name,
        role=spec.role,
        endpoint=endpoint(station.way, spec.name, op),
        machine=station.name,
        facts=facts,
    )


def on_node(end: SshEndpoint, argv: Sequence[str], *, timeout: float) -> Command:
    """Run a command on a node, by a connection of its own."""
    options = ssh_options(evolve(end, control=None), patience=min(CONNECT_TIMEOUT, max(1, round(timeout))))
    return Command(argv=("ssh", *options, end.host, "--", *argv), timeout=timeout)


def hang_up(stations: Iterable[Station], *, gateways: bool = False) -> None:
    """Close shared connections, also when interrupted.

    Those to hosts on the way serve the nodes, too, and end by themselves when unused; with ``gateways`` they
    come last.
    """
    ways = [one.way for one in stations]
    gates = {way.gateway.control for way in ways if way.gateway and gateways}
    for sockets in ({way.control for way in ways}, gates):
        run_flows([_close(one) for one in sockets if one and one.exists()])


def _close(control: Path) -> Flow[None]:
    yield close(control)
