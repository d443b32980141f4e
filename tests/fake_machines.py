"""A flavour for tests of binding: machines are given, nodes are told what to do on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from nxc_core.connect import Connection
from nxc_core.errors import CommandError
from nxc_core.flavour import Flavour
from nxc_core.model import (
    Artifact,
    ExecEndpoint,
    Interface,
    Kind,
    Machine,
    Network,
    Node,
    NodeSpec,
    NodeState,
    Observation,
    Outcome,
    Plan,
    Policy,
    Resource,
)
from nxc_core.operation import Operation
from nxc_core.process import Completed


def plan_of(*names: str, minimum: dict[str, int] | None = None, spares: int = 0, retries: int = 0) -> Plan:
    specs = (NodeSpec(name=n, role=n.rstrip("0123456789"), index=i, machine=n) for i, n in enumerate(names))
    return Plan(
        deployment="d",
        artifact=Artifact(kind=Kind("k")),
        nodes=tuple(specs),
        networks=(),
        documents={},
        instances={name: f"instance-of-{name}" for name in names},
        key=Path("/k"),
        known_hosts=Path("/h"),
        policy=Policy(minimum=minimum or {}, spares=spares, retries=retries),
    )


class Speaker:
    """A connection to a node that knows its instance, unless it hangs."""

    def __init__(self, instance: str, hangs: bool) -> None:
        self.instance, self.hangs = instance, hangs

    def run(self, argv: Sequence[str], **_: Any) -> Completed:
        if self.hangs:
            raise CommandError("it says nothing", argv=tuple(argv), code=None)
        return Completed(argv=tuple(argv), code=0, stdout=f"{self.instance}\nboot\n".encode())


class Machines(Flavour[None]):
    """``behaviour`` says per machine what nodes do there.

    ``fails``: the driver gives up; ``dies``: its end is seen; ``hangs``: it never answers; ``heals``: it
    fails the first time alone; ``unfit``: it is found to be so before anything is bound.
    """

    name = "machines"
    accepts = ()
    patience = 60.0
    options_type: ClassVar[type[Any]] = type(None)

    def __init__(self, count: int, **behaviour: str) -> None:
        super().__init__(None)
        self.names = [f"m{number}" for number in range(1, count + 1)]
        self.behaviour = behaviour
        self.waited = 0
        self.more: list[str] = []
        """Machines that it has beyond those that it begins with."""
        self.deployed: list[dict[str, str]] = []
        """Of each call of ``deploy``, which node on which machine."""
        self.known: list[tuple[str, ...]] = []
        self.settled: list[tuple[str, ...]] = []
        self.asked: list[tuple[int, int]] = []

    def acquire(self, plan: Plan, op: Operation) -> None:
        self.asked.append((len(plan.nodes), plan.policy.spares))
        op.claim("job", plan.deployment)
        bad = op.journal.quarantined()
        while (
            self.more and len([n for n in self.names if n not in bad]) < len(plan.nodes) + plan.policy.spares
        ):
            self.names.append(self.more.pop(0))
            op.claim("machine", self.names[-1])

    def wait(self, plan: Plan, op: Operation) -> None:
        self.waited += 1
        for name in self.names:
            if self.behaviour.get(name) == "unfit":
                op.quarantine(name, "no route to it", step="contact")

    def machines(self, plan: Plan, op: Operation) -> Sequence[Machine]:
        return [Machine(name=name, facts={"names": [f"{name}.example.org"]}) for name in self.names]

    def deploy(self, plan: Plan, op: Operation) -> None:
        self.deployed.append({spec.name: spec.machine for spec in plan.nodes})
        self.known.append(tuple(spec.name for spec in plan.all_nodes))
        for spec in plan.nodes:
            match self.behaviour.get(spec.machine):
                case "fails":
                    op.outcome(failed(spec, "no kexec"))
                case "heals":
                    self.behaviour.pop(spec.machine)
                    op.outcome(failed(spec, "not this time"))
                case _:
                    op.node(
                        Node(
                            name=spec.name,
                            role=spec.role,
                            machine=spec.machine,
                            endpoint=ExecEndpoint(prefix=(plan.instances[spec.name],)),
                        )
                    )

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        return resources

    def settle(self, plan: Plan, op: Operation) -> None:
        self.settled.append(tuple(spec.name for spec in plan.nodes))

    def observe(self, node: Node, op: Operation) -> Observation:
        if self.behaviour.get(node.machine) == "dies":
            return Observation(alive=False, detail="it returned to its former system", step="return")
        return Observation(alive=True)

    def connect(self, node: Node, op: Operation) -> Connection:
        assert isinstance(node.endpoint, ExecEndpoint)
        hangs = self.behaviour.get(node.machine) in ("hangs", "dies")
        return Speaker(node.endpoint.prefix[0], hangs)  # type: ignore[return-value]

    def console(self, node: str, op: Operation) -> Path:
        return op.dir / f"{node}.log"


def failed(spec: NodeSpec, cause: str) -> Outcome:
    return Outcome(node=spec.name, state=NodeState.FAILED, cause=cause, machine=spec.machine, step="load")


class Addressed(Machines):
    """Machines that have addresses of their own."""

    name = "addressed"
    addressing = "platform"

    def networks(self, plan: Plan, op: Operation) -> tuple[Network, ...]:
        members: Mapping[str, tuple[str, ...]] = {
            spec.name: (self.address(spec.machine),) for spec in plan.all_nodes if spec.machine
        }
        return (Network(name="site", members=members),)

    def interfaces(self, spec: NodeSpec, plan: Plan) -> tuple[Interface, ...]:
        if not spec.machine:
            return ()
        assert spec.machine in {machine.name for machine in plan.machines}
        return (
            Interface(mac="", network="site", addresses=(f"{self.address(spec.machine)}/16",), dhcp=True),
        )

    def address(self, machine: str) -> str:
        return f"10.9.0.{machine.removeprefix('m')}"


class Own(Flavour[None]):
    """Makes its machines itself; nodes named ``bad`` fail the first time."""

    name = "own"
    accepts = ()
    patience = 60.0
    options_type: ClassVar[type[Any]] = type(None)

    def __init__(self) -> None:
        super().__init__(None)
        self.deployed: list[list[str]] = []
        self.crashed: list[str] = []

    def deploy(self, plan: Plan, op: Operation) -> None:
        self.deployed.append([spec.name for spec in plan.nodes])
        for spec in plan.nodes:
            instance = "another" if spec.name == "bad" and not self.crashed else plan.instances[spec.name]
            op.node(Node(name=spec.name, role=spec.role, endpoint=ExecEndpoint(prefix=(instance,))))

    def observe(self, node: Node, op: Operation) -> Observation:
        alive = node.name != "bad" or bool(self.crashed)
        return Observation(alive=alive, detail="its process ended")

    def crash(self, node: Node, op: Operation) -> None:
        self.crashed.append(node.name)

    def restart(self, node: Node, plan: Plan, op: Operation) -> None:
        raise AssertionError("a node is deployed again, not restarted")

    def connect(self, node: Node, op: Operation) -> Connection:
        assert isinstance(node.endpoint, ExecEndpoint)
        return Speaker(node.endpoint.prefix[0], False)  # type: ignore[return-value]

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        return resources
