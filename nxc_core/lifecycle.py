"""What the verbs do when no plugin answers first: they call the driver, and wait for the nodes it booted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

from nxc_core.base import Base
from nxc_core.connect import Connection, answers, open_connection
from nxc_core.errors import CommandError, Interrupted, NxcError
from nxc_core.flavour import Console, Flavour, Reserving
from nxc_core.hookspecs import API_VERSION, hookimpl
from nxc_core.model import (
    Artifact,
    BuildRequest,
    Node,
    NodeState,
    Outcome,
    Plan,
    Resource,
    SshEndpoint,
)
from nxc_core.operation import Operation
from nxc_core.output import printable

NXC_API = API_VERSION
READY_TIMEOUT = 30.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
OBSERVE_EVERY = 1.0
ASK_ANYWAY = 10.0
"""Seconds after which a node is asked though its flavour takes it to be booting: that may be wrong."""


@hookimpl(trylast=True)
def nxc_build(base: Base[Any], request: BuildRequest, op: Operation) -> Artifact:
    """Let the base build."""
    return base.build(request, op)


@hookimpl(trylast=True)
def nxc_deploy(flavour: Flavour[Any], plan: Plan, op: Operation) -> bool:
    """Reserve where the flavour must, boot, and wait until every node is ready or given up."""
    if isinstance(flavour, Reserving):
        flavour.acquire(plan, op)
        flavour.wait(plan, op)
        plan = bind(plan, flavour, op)
    flavour.deploy(plan, op)
    reach(flavour, plan, op)
    return True


@hookimpl(trylast=True)
def nxc_connect(flavour: Flavour[Any], node: Node, op: Operation) -> Connection:
    """Let the flavour connect, or do it by the node's endpoint."""
    return flavour.connect(node, op) or open_connection(node.endpoint, op.cancel)


@hookimpl(trylast=True)
def nxc_teardown(flavour: Flavour[Any], resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
    """Let the flavour release."""
    return list(flavour.release(resources, op))


def bind(plan: Plan, flavour: Reserving, op: Operation) -> Plan:
    """Bind nodes to the machines that are held, in order."""
    machines = tuple(flavour.machines(plan, op))
    nodes = tuple(
        evolve(spec, machine=machine.name) for spec, machine in zip(plan.nodes, machines, strict=False)
    )
    return evolve(plan, machines=machines, nodes=nodes)


@define
class _Pending:
    """A node that is being waited for."""

    name: str
    instance: str
    deadline: float
    observed: float = 0.0
    asked: float = field(factory=time.monotonic)
    tries: int = 0
    last_seen: str = "no sign of life yet"


def reach(
    flavour: Flavour[Any], plan: Plan, op: Operation, *, former: Mapping[str, str] | None = None
) -> None:
    """Wait until each node reports its instance id; the outcomes are journalled.

    ``former`` gives the boot ids that a node must not show again, after a reboot.
    """
    allowed = flavour.deadline(op)
    start = time.monotonic()
    settled = op.journal.outcomes()
    pending = {
        spec.name: _Pending(spec.name, plan.instances[spec.name], start + allowed)
        for spec in plan.nodes
        if spec.name not in settled or settled[spec.name].state not in (NodeState.READY, NodeState.FAILED)
    }
    while pending:
        op.check_cancelled()
        nodes = op.journal.nodes()
        settled = op.journal.outcomes()
        for name in [n for n in pending if n in settled and settled[n].state is NodeState.FAILED]:
            del pending[name]
        work = [(nodes.get(name), wait) for name, wait in pending.items()]
        reached = op.map(lambda one: _try(flavour, one[0], one[1], former or {}, allowed, op), work)
        for outcome in reached:
            if outcome is not None:
                op.outcome(outcome)
                del pending[outcome.node]
        if pending:
            # Looking costs, and so does looking late: at most a twentieth of the time that it took.
            op.cancel.wait(min(0.02 + (time.monotonic() - start) / 20, 0.5))


def _try(
    flavour: Flavour[Any],
    node: Node | None,
    wait: _Pending,
    former: Mapping[str, str],
    allowed: float,
    op: Operation,
) -> Outcome | None:
    """Try one node once; None while it is worth waiting."""
    if node is not None:
        outcome = _ask(flavour, node, wait, former, op) or _observe(flavour, node, wait, op)
        if outcome is not None:
            return outcome
    if time.monotonic() < wait.deadline:
        return None
    return Outcome(
        node=wait.name,
        state=NodeState.FAILED,
        cause=f"not ready after {allowed:.0f} s: {wait.last_seen}",
        last_line=last_line(flavour, wait.name, op),
    )


def _ask(
    flavour: Flavour[Any], node: Node, wait: _Pending, former: Mapping[str, str], op: Operation
) -> Outcome | None:
    if not _may_answer(flavour, node, wait, op):
        wait.last_seen = "it is still booting"
        return None
    told = flavour.told(node, op)
    if told is None:
        told = _query(flavour, node, wait, op)
    if told is None:
        return None
    instance, _, boot_id = told.strip().partition("\n")
    if instance.strip() != wait.instance:
        wait.last_seen = (
            f"it answers as another instance ({instance.strip()[:8]})"
            if instance
            else "its role is not applied yet"
        )
        return None
    if boot_id and boot_id.strip() in _of_no_new_boot(former.get(node.name)):
        wait.last_seen = "it has not rebooted yet"
        return None
    return Outcome(node=node.name, state=NodeState.READY, boot_id=boot_id.strip())


def _query(flavour: Flavour[Any], node: Node, wait: _Pending, op: Operation) -> str | None:
    """Ask the node for its report; None while it does not answer."""
    if isinstance(node.endpoint, SshEndpoint) and not answers(node.endpoint):
        wait.last_seen = f"no ssh server answers at {node.endpoint.host}:{node.endpoint.port}"
        return None
    connection = flavour.connect(node, op) or open_connection(node.endpoint, op.cancel)
    try:
        return connection.run(flavour.report, check=False, timeout=READY_TIMEOUT).text
    except CommandError as error:
        wait.last_seen = error.message
        return None


def _of_no_new_boot(former: str | None) -> tuple[str, ...]:
    """List the boot ids that prove nothing after a reboot.

    A container that goes down unmounts its own, and then shows this machine's.
    """
    return (former, BOOT_ID.read_text().strip()) if former else ()


def _may_answer(flavour: Flavour[Any], node: Node, wait: _Pending, op: Operation) -> bool:
    """Whether to ask a node now. What the flavour sees may delay that for a while, and no more."""
    if time.monotonic() - wait.asked < ASK_ANYWAY:
        try:
            if not flavour.awake(node, op):
                return False
        except Interrupted:
            raise
        except NxcError:
            pass  # then asking tells more
    wait.asked = time.monotonic()
    return True


def _observe(flavour: Flavour[Any], node: Node, wait: _Pending, op: Operation) -> Outcome | None:
    now = time.monotonic()
    if now - wait.observed < OBSERVE_EVERY:
        return None
    wait.observed = now
    seen = flavour.observe(node, op)
    if seen.alive:
        return None
    return Outcome(
        node=node.name, state=NodeState.FAILED, cause=seen.detail, last_line=last_line(flavour, node.name, op)
    )


def last_line(flavour: Flavour[Any], node: str, op: Operation) -> str:
    """Return the last line of a node's console, where the flavour keeps one."""
    lines = tail(flavour, node, op, 1)
    return lines[-1] if lines else ""


def tail(flavour: Flavour[Any], node: str, op: Operation, count: int) -> list[str]:
    """Return the last lines of a node's console, without what a terminal would hide."""
    if not isinstance(flavour, Console):
        return []
    path = flavour.console(node, op)
    if not path.exists():
        return []
    with path.open("rb") as source:
        source.seek(max(0, path.stat().st_size - 64 * 1024))
        text = source.read().decode("utf-8", "replace")
    lines = [clean for line in text.splitlines() if (clean := printable(line))]
    return lines[-count:]
