"""Flavours whose machines must be asked for, with a fault each. All but the fault is that of ``Reserved``."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from faulty_flavours import Reporter, Sound

from nxc_core import Operation
from nxc_core.model import Machine, Network, Node, Plan, Resource

MACHINE = "local.machine"


class Reserved(Sound):
    """No fault: it holds a machine for each node and spare; the machines have addresses."""

    addressing = "platform"

    def acquire(self, plan: Plan, op: Operation) -> None:
        for number in range(len(plan.nodes) + plan.policy.spares):
            op.claim(MACHINE, f"{plan.deployment}-m{number}")

    def wait(self, plan: Plan, op: Operation) -> None:
        op.check_cancelled()

    def machines(self, plan: Plan, op: Operation) -> Sequence[Machine]:
        return [Machine(name=found.id) for found in op.claimed(MACHINE)]

    def networks(self, plan: Plan, op: Operation) -> tuple[Network, ...]:
        return (Network(name="site", members={s.name: (address(s.machine),) for s in plan.all_nodes}),)

    def deploy(self, plan: Plan, op: Operation) -> None:
        bound = {spec.name: spec.machine for spec in plan.nodes}

        def on_machine(node: Node) -> Node:
            return evolve(node, machine=bound[node.name])

        super().deploy(plan, Reporter(op, on_machine))  # type: ignore[arg-type]

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        machines = [found for found in resources if found.kind == MACHINE]
        return [*machines, *super().release([found for found in resources if found.kind != MACHINE], op)]


def address(machine: str) -> str:
    return f"10.9.0.{int(machine.rpartition('-m')[2]) + 1}"


class Crammed(Reserved):
    """Names a machine twice."""

    def machines(self, plan: Plan, op: Operation) -> Sequence[Machine]:
        return [*super().machines(plan, op), *super().machines(plan, op)]


class Secretive(Reserved):
    """Does not say on which machine a node runs."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        super(Reserved, self).deploy(plan, op)


class Stubborn(Reserved):
    """Goes on with the machines of the first binding."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        first = [found.id for found in op.claimed(MACHINE)]
        stuck = [evolve(spec, machine=first[spec.index]) for spec in plan.nodes]
        super().deploy(evolve(plan, nodes=tuple(stuck)), op)


class Homeless(Reserved):
    """Gives the last node no address."""

    def networks(self, plan: Plan, op: Operation) -> tuple[Network, ...]:
        (network,) = super().networks(evolve(plan, all_nodes=plan.all_nodes[:-1]), op)
        return (network,)


class Twinned(Reserved):
    """Gives all nodes one address."""

    def networks(self, plan: Plan, op: Operation) -> tuple[Network, ...]:
        return (Network(name="site", members={s.name: ("10.9.0.1",) for s in plan.all_nodes}),)


class Inert(Reserved):
    """Asks for no spare machine, however many are wanted."""

    def acquire(self, plan: Plan, op: Operation) -> None:
        super().acquire(evolve(plan, policy=evolve(plan.policy, spares=0)), op)


for _kind in (Reserved, Crammed, Secretive, Stubborn, Homeless, Twinned, Inert):
    _kind.name = _kind.__name__.lower()
