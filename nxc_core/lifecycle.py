"""What the verbs do when no plugin answers first: they call the driver, and wait for the nodes it booted."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from nxc_core.base import Base
from nxc_core.binding import Chances, give_addresses, reserve
from nxc_core.connect import Connection, open_connection
from nxc_core.flavour import Flavour, Reserving
from nxc_core.hookspecs import API_VERSION, hookimpl
from nxc_core.model import (
    Artifact,
    BuildRequest,
    Node,
    NodeSpec,
    NodeState,
    Plan,
    Resource,
)
from nxc_core.operation import Operation
from nxc_core.reaching import last_line as last_line, reach as reach, tail as tail

NXC_API = API_VERSION


@hookimpl(trylast=True)
def nxc_build(base: Base[Any], request: BuildRequest, op: Operation) -> Artifact:
    """Let the base build."""
    return base.build(request, op)


@hookimpl(trylast=True)
def nxc_deploy(flavour: Flavour[Any], plan: Plan, op: Operation) -> bool:
    """Reserve where the flavour must, boot, and wait until every node is ready or given up."""
    bring_up(flavour, reserve(flavour, plan, op), op)
    return True


@hookimpl(trylast=True)
def nxc_connect(flavour: Flavour[Any], node: Node, op: Operation) -> Connection:
    """Let the flavour connect, or do it by the node's endpoint."""
    return flavour.connect(node, op) or open_connection(node.endpoint, op.cancel)


@hookimpl(trylast=True)
def nxc_teardown(flavour: Flavour[Any], resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
    """Let the flavour release."""
    return list(flavour.release(resources, op))


def bring_up(
    flavour: Flavour[Any],
    plan: Plan,
    op: Operation,
    *,
    deployed: Callable[[Plan], None] | None = None,
    wait: bool = True,
) -> None:
    """Boot a plan whose nodes are bound. What fails is tried elsewhere, or again, as the policy allows.

    ``deployed`` hears what has been booted; without ``wait`` that is all.
    """
    chances = Chances(flavour, op)
    since: dict[str, float] = {}
    todo = _to_boot(flavour, plan, op)
    while True:
        if todo:
            # A flavour that makes its machines goes on with what there is, as after an interruption.
            flavour.deploy(evolve(plan, nodes=todo) if isinstance(flavour, Reserving) else plan, op)
            since |= dict.fromkeys((spec.name for spec in todo), time.monotonic())
            if deployed is not None:
                deployed(evolve(plan, nodes=todo))
        if not wait:
            return
        plan, todo = _bind_again(flavour, plan, chances, op)
        if not todo:
            reach(flavour, plan, op, since=since, hasty=functools.partial(chances.are_left, plan))
            plan, todo = _bind_again(flavour, plan, chances, op)
        if not todo:
            break
    ready = {name for name, found in op.journal.outcomes().items() if found.state is NodeState.READY}
    flavour.settle(evolve(plan, nodes=tuple(spec for spec in plan.nodes if spec.name in ready)), op)


def _to_boot(flavour: Flavour[Any], plan: Plan, op: Operation) -> tuple[NodeSpec, ...]:
    """List the nodes to begin with; a reserving flavour is not asked for those that are ready."""
    if not isinstance(flavour, Reserving):
        return plan.nodes
    settled = op.journal.outcomes()
    done = {name for name, o in settled.items() if o.state in (NodeState.READY, NodeState.FAILED)}
    return tuple(spec for spec in plan.nodes if spec.name not in done)


def _bind_again(
    flavour: Flavour[Any], plan: Plan, chances: Chances, op: Operation
) -> tuple[Plan, tuple[NodeSpec, ...]]:
    """Bind anew what has failed; returns the nodes that are to be booted once more."""
    settled = op.journal.outcomes()
    failed = [
        settled[s.name] for s in plan.nodes if s.name in settled and settled[s.name].state is NodeState.FAILED
    ]
    again = []
    for outcome in failed:
        fresh = chances.take(plan, outcome)
        if fresh is not plan:
            plan = fresh
            again.append(outcome.node)
    if again:
        plan = give_addresses(flavour, plan, op)
    return plan, tuple(spec for spec in plan.nodes if spec.name in again)
