"""Which machine runs which node: bound late, in the journal, and bound again where a machine proves bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, evolve, field

from nxc_core import identity
from nxc_core.connect import open_connection
from nxc_core.errors import DeployError, PreflightError
from nxc_core.flavour import Flavour, Power, Reserving
from nxc_core.model import Machine, NodeSpec, NodeState, Outcome, Plan, Policy
from nxc_core.operation import Operation

NO_MACHINE = "no machine is left for it"


def reserve(flavour: Flavour[Any], plan: Plan, op: Operation) -> Plan:
    """Have the flavour hold machines, where it must ask for them, and return the plan with all bound.

    Nodes keep the machine that they were bound to before. Raises PreflightError where there are fewer
    machines than nodes, DeployError where too many of them proved unfit.
    """
    plan = evolve(plan, all_nodes=plan.nodes)
    if isinstance(flavour, Reserving):
        _hold_machines(flavour, plan, op)
        plan = bind(plan, flavour, op)
    return give_addresses(flavour, plan, op)


def _hold_machines(flavour: Reserving, plan: Plan, op: Operation) -> None:
    """Ask for machines, and for others in place of those that prove unfit, while the flavour has any."""
    claimed: set[tuple[str, str]] | None = None
    while True:
        flavour.acquire(plan, op)
        now = {resource.key for resource in op.claimed()}
        if now == claimed:
            return  # there is nothing more to be had
        claimed = now
        flavour.wait(plan, op)
        held = {machine.name for machine in flavour.machines(plan, op)}
        fit = held - op.journal.quarantined().keys()
        if fit == held or len(fit) >= len(plan.nodes) + plan.policy.spares:
            return


def bind(plan: Plan, flavour: Reserving, op: Operation) -> Plan:
    """Bind the plan's nodes to the machines that are held and fit; those that get none are given up."""
    held = tuple(flavour.machines(plan, op))
    bad = op.journal.quarantined()
    fit = tuple(machine for machine in held if machine.name not in bad)
    _check_number(plan, held, fit, op)
    before = op.journal.bindings()
    bound = _choose(plan, [machine.name for machine in fit], before)
    if fresh := {node: machine for node, machine in bound.items() if before.get(node) != machine}:
        op.journal.bind(fresh)
    nodes = tuple(evolve(spec, machine=bound.get(spec.name, "")) for spec in plan.nodes)
    for spec in nodes:
        if not spec.machine:
            op.outcome(Outcome(node=spec.name, state=NodeState.FAILED, cause=NO_MACHINE, step="bind"))
    spare = len(fit) - len(nodes)
    if spare < plan.policy.spares:
        told = f"there are {max(0, spare)} spare machines of the {plan.policy.spares} that were asked for"
        op.step(told, topic="warning")
    return evolve(plan, machines=fit, nodes=nodes, all_nodes=nodes)


def count_needed(nodes: Sequence[NodeSpec], policy: Policy) -> int:
    """Return how many nodes must be ready for the policy to be met."""
    if not policy.minimum:
        return len(nodes)
    roles = [spec.role for spec in nodes]
    return sum(min(roles.count(role), policy.minimum.get(role, len(roles))) for role in set(roles))


def _check_number(plan: Plan, held: Sequence[Machine], fit: Sequence[Machine], op: Operation) -> None:
    needed = count_needed(plan.nodes, plan.policy)
    if len(fit) >= needed:
        return
    least = "" if needed == len(plan.nodes) else " at least"
    wanted = f"{needed} machine{' is' if needed == 1 else 's are'} needed{least}"
    if len(held) < needed:
        raise PreflightError(
            f"{wanted}, and there {'is' if len(held) == 1 else 'are'} {len(held)}",
            hint="give more machines, or ask for fewer nodes (-r ROLE=N, or --min ROLE=N)",
        )
    bad = op.journal.quarantined()
    lines = [f"  {name}: {bad[name].cause}" for name in (one.name for one in held) if name in bad]
    raise DeployError(
        f"{wanted}, and {len(fit)} of {len(held)} can be used:\n" + "\n".join(lines),
        hint="repair these machines or give others; fewer nodes do with --min ROLE=N; "
        f"that machines failed is forgotten by `nxc down {op.name}`",
    )


def _choose(plan: Plan, fit: Sequence[str], before: Mapping[str, str]) -> dict[str, str]:
    """Give nodes the machine they had, or the one that is called as they are, or the next that is free.

    Where there are too few, the roles' minimum comes first.
    """
    bound = {spec.name: before[spec.name] for spec in plan.nodes if before.get(spec.name) in fit}
    for spec in plan.nodes:
        if spec.name not in bound and spec.name in fit and spec.name not in bound.values():
            bound[spec.name] = spec.name
    taken = set(bound.values())
    free = [name for name in fit if name not in taken]
    for spec in _most_needed_first(plan):
        if spec.name not in bound and free:
            bound[spec.name] = free.pop(0)
    return bound


def _most_needed_first(plan: Plan) -> list[NodeSpec]:
    wanted = dict(plan.policy.minimum)
    urgent: list[NodeSpec] = []
    others: list[NodeSpec] = []
    for spec in plan.nodes:
        left = wanted.get(spec.role, len(plan.nodes))
        wanted[spec.role] = left - 1
        (urgent if left > 0 else others).append(spec)
    return [*urgent, *others]


def give_addresses(flavour: Flavour[Any], plan: Plan, op: Operation) -> Plan:
    """Ask the platform for the nodes' addresses, where they are its own, and tell the documents."""
    if flavour.addressing != "platform":
        return plan
    networks = flavour.networks(plan, op) or ()
    if networks != op.journal.networks():
        op.journal.addressed(networks)
    plan = evolve(plan, networks=networks)
    identity.rewrite_documents(plan, flavour)
    return plan


@define
class Chances:
    """What may still be tried for nodes that failed: spare machines first, then the same one again."""

    flavour: Flavour[Any]
    op: Operation
    retried: dict[str, int] = field(factory=dict)

    def are_left(self, plan: Plan, failed: Outcome) -> bool:
        """Whether a node that failed may be tried once more."""
        return bool(self.another(plan, failed))

    def another(self, plan: Plan, failed: Outcome) -> str:
        """Return the machine on which a failed node may be tried next; none left is ''."""
        spec = next(one for one in plan.all_nodes if one.name == failed.node)
        if isinstance(self.flavour, Reserving):
            bad = self.op.journal.quarantined()
            taken = {one.machine for one in plan.all_nodes}
            for machine in plan.machines:
                if machine.name not in taken and machine.name not in bad:
                    return machine.name
        return spec.machine if self.retried.get(spec.name, 0) < plan.policy.retries else ""

    def take(self, plan: Plan, failed: Outcome) -> Plan:
        """Bind a failed node anew; the plan is as it was where nothing is left to try."""
        name, machine = failed.node, self.another(plan, failed)
        spec = next(one for one in plan.all_nodes if one.name == name)
        if not machine:
            return plan
        node = self.op.journal.nodes().get(name)
        if node is not None:
            open_connection(node.endpoint).close()  # it leads to where the node was
        if machine == spec.machine:
            self.retried[name] = self.retried.get(name, 0) + 1
            if node is not None and isinstance(self.flavour, Power):
                self.flavour.crash(node, self.op)
            count = f"{self.retried[name]} of {plan.policy.retries}"
            self.op.step(f"tried again ({count}): {failed.cause}", node=name, topic="bind")
        else:
            self.op.quarantine(spec.machine, failed.cause, step=failed.step, last_line=failed.last_line)
            self.op.step(f"goes to {machine}", node=name, topic="bind", machine=machine)
        if isinstance(self.flavour, Reserving):
            self.op.journal.bind({name: machine})
        else:
            self.op.journal.outcome(Outcome(node=name, state=NodeState.WAITING))
        return _move(plan, name, machine)


def _move(plan: Plan, name: str, machine: str) -> Plan:
    def moved(specs: Sequence[NodeSpec]) -> tuple[NodeSpec, ...]:
        return tuple(evolve(one, machine=machine) if one.name == name else one for one in specs)

    return evolve(plan, nodes=moved(plan.nodes), all_nodes=moved(plan.all_nodes))
