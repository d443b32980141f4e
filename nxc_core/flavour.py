"""The contract of a flavour: how one platform boots nodes and gives them back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable

from nxc_core.errors import PreflightError
from nxc_core.model import (
    Finding,
    Guest,
    Interface,
    Kind,
    Leftover,
    Machine,
    Network,
    Node,
    NodeDocument,
    NodeSpec,
    Observation,
    Plan,
    Resource,
    Role,
)

if TYPE_CHECKING:
    from nxc_core.connect import Connection
    from nxc_core.operation import Operation

Options = TypeVar("Options")


class Flavour(ABC, Generic[Options]):
    """A platform. Stateless between calls: what exists outside is in the journal.

    ``options_type`` is an attrs class; every field has a default and ``metadata["help"]``.
    """

    name: ClassVar[str]
    accepts: tuple[Kind, ...]
    """Kinds it can start, in order of preference; an instance's options may narrow them."""
    exports: tuple[Kind, ...] = ()
    """Kinds it can export (``Exporting``), where they are not those that it can start."""
    options_type: ClassVar[type[Any]]
    gives: ClassVar[frozenset[str]] = frozenset()
    """Needs it satisfies: ``kernel``, ``mount``, ``net-admin``, ``sysctl``, ..."""
    lacks: ClassVar[dict[str, str]] = {}
    """For a need it cannot satisfy, what to say beside the refusal."""
    report: ClassVar[tuple[str, ...]] = (
        "sh",
        "-c",
        "exec 2>/dev/null; cat /run/nxc/ready || echo; cat /proc/sys/kernel/random/boot_id /run/nxc/failed",
    )
    """Command on a node that prints its instance id, an empty line while it has none.

    Two more lines may follow: the boot id, where a kernel was booted, and why its role cannot be applied,
    which is final.
    """
    patience: ClassVar[float] = 300.0
    """Seconds a node may take from boot to ready before it is given up."""
    addressing: ClassVar[Literal["nxc", "platform"]] = "nxc"
    """Who addresses nodes: nxc, from a subnet of its own, or the platform (``networks``, ``interfaces``)."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def guest(self) -> Guest:
        """What the system inside must provide; may depend on the options."""
        return Guest()

    def check(self, op: Operation) -> Sequence[Finding]:
        """Say whether this machine can run the flavour. Never raises, never changes anything."""
        return ()

    def require(self, op: Operation) -> None:
        """Raise PreflightError where nothing can be started here; asked before anything is built.

        By default, where ``check`` finds so. For a flavour whose ``check`` takes long, or looks at more.
        """
        require(self.check(op))

    def vet(self, roles: Sequence[Role], op: Operation) -> None:
        """Raise ConfigError, naming role and option, for what of a composition cannot be started here.

        Asked before anything is built, once needs are known to be given.
        """
        return

    def afford(self, nodes: int, spares: int, op: Operation) -> None:
        """Raise ConfigError where the user has named too few machines for a start.

        Asked before anything is built, once ``vet`` has let the composition pass.
        """
        return

    def taken(self, op: Operation) -> Collection[str]:
        """List the subnets, as ``10.0.0.0/24``, that a new deployment's networks must not touch."""
        return ()

    def deadline(self, op: Operation) -> float:
        """Return the seconds a node may take to become ready, scaled to the platform's speed."""
        return self.patience

    def seed(self, document: NodeDocument) -> NodeDocument:
        """Add what only the platform knows to a node's identity, as a card of its own. Pure."""
        return document

    def networks(self, plan: Plan, op: Operation) -> tuple[Network, ...] | None:
        """Return the networks, with each node's addresses, where the platform gives them.

        Asked each time that nodes have been bound to machines, before they are booted: for all of
        ``plan.all_nodes``, but for those that are bound to no machine.
        """
        return None

    def interfaces(self, spec: NodeSpec, plan: Plan) -> tuple[Interface, ...]:
        """Return a node's cards, for its node.json, where the platform addresses the nodes. Pure."""
        return ()

    @abstractmethod
    def deploy(self, plan: Plan, op: Operation) -> None:
        """Boot the plan's nodes; report each by ``op.node`` as soon as it can be tried.

        Claims before it creates. May be called again on what an interrupted call left: it goes on from there.
        The core then waits for readiness. A node that cannot boot is an ``op.outcome``, not an exception; a
        reserving flavour may be called again with the node bound to another machine, or to the same.
        """

    @abstractmethod
    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        """Release the outstanding claims of one rank. Returns those that are gone for sure.

        Each may be gone already or never have existed.
        """

    def settle(self, plan: Plan, op: Operation) -> None:
        """Tell the nodes what has changed since they booted, as others' addresses.

        Called once every node is ready or given up; ``plan.nodes`` are those that are ready. A node that is
        found to have failed since is reported by ``op.outcome``.
        """
        return

    def awake(self, node: Node, op: Operation) -> bool:
        """Whether a booting node may be ready by now, where that is cheaper to see than to ask it."""
        return True

    def told(self, node: Node, op: Operation) -> str | None:
        """Return what ``report`` would print, where the node has been seen to say it in this very boot.

        Asked once ``awake``; None has the node asked. What is not the node's own word must not count.
        """
        return None

    def observe(self, node: Node, op: Operation) -> Observation:
        """Look at a node from outside, cheaply: is it still there at all?"""
        return Observation(alive=True)

    def connect(self, node: Node, op: Operation) -> Connection | None:
        """Return a connection of the flavour's own kind; None lets the core talk to the endpoint."""
        return None


def list_abilities(flavour: Flavour[Any]) -> list[str]:
    """Name what else the flavour can do, beside booting and releasing nodes."""
    offered = {"console": Console, "export": Exporting, "links": Links, "power": Power, "sweep": Sweeping}
    found = {name for name, protocol in offered.items() if isinstance(flavour, protocol)}
    if flavour.guest.init or isinstance(flavour, Rebooting):
        found.add("reboot")  # an init system does it by itself
    return sorted(found)


def require(findings: Iterable[Finding]) -> None:
    """Raise PreflightError for the first finding that stands in the way."""
    for found in findings:
        if not found.ok and not found.advice:
            told = found.detail if found.subject in found.detail else f"{found.subject} is {found.detail}"
            raise PreflightError(told, hint=found.hint)


@runtime_checkable
class Reserving(Protocol):
    """A flavour whose machines must be asked for first. Giving back is ``release``."""

    def acquire(self, plan: Plan, op: Operation) -> None:
        """Claim and submit the request, unless the journal says that it is there.

        ``plan.policy`` says how many spare machines are wanted beside one for each node.
        """
        ...

    def wait(self, plan: Plan, op: Operation) -> None:
        """Return when the machines are ours. One that proves unfit meanwhile is an ``op.quarantine``."""
        ...

    def machines(self, plan: Plan, op: Operation) -> Sequence[Machine]:
        """List all machines that we hold, spares included, in the order in which nodes are to get them."""
        ...


@runtime_checkable
class Extending(Protocol):
    """A flavour that holds its machines for a time, which may be made longer."""

    def extend(self, plan: Plan, seconds: float, op: Operation) -> None:
        """Keep the machines longer."""
        ...


@runtime_checkable
class Power(Protocol):
    """A flavour that can cut and restore a node's power."""

    def crash(self, node: Node, op: Operation) -> None:
        """Stop the node at once, without telling it."""
        ...

    def restart(self, node: Node, plan: Plan, op: Operation) -> None:
        """Boot a node again that was shut down or crashed; reports by ``op.node``."""
        ...


@runtime_checkable
class Rebooting(Protocol):
    """A flavour whose nodes cannot come back by themselves once they have gone down to reboot."""

    def reboot(self, node: Node, op: Operation) -> None:
        """Shut the node down in good order and boot it again; returns when the former boot is gone."""
        ...


@runtime_checkable
class Console(Protocol):
    """A flavour that keeps each node's console."""

    def console(self, node: str, op: Operation) -> Path:
        """Return the file with the node's console output; it may not exist yet."""
        ...


@runtime_checkable
class Links(Protocol):
    """A flavour that can cut a node off its networks, and join it again."""

    def block(self, node: Node, op: Operation) -> None:
        """Drop every frame between the node and the others."""
        ...

    def unblock(self, node: Node, op: Operation) -> None:
        """Let frames pass again."""
        ...


@runtime_checkable
class Exporting(Protocol):
    """A flavour whose deployments can be carried to where there is no nxc."""

    def export(self, plan: Plan, folder: Path, op: Operation) -> None:
        """Write all that a deployment needs into a folder, which holds its node documents already."""
        ...


@runtime_checkable
class Sweeping(Protocol):
    """A flavour that finds on its platform what a lost deployment or an old build has left there."""

    def leftovers(self, op: Operation) -> Sequence[Leftover]:
        """List what nothing uses any more and is certainly ours. Empty where the platform cannot be asked."""
        ...

    def sweep(self, leftovers: Sequence[Leftover], op: Operation) -> Sequence[Leftover]:
        """Remove them; returns those that are gone."""
        ...
