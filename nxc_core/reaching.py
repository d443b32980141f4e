"""Waiting for nodes that were booted: none delays what is told of another, and each has its deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

from nxc_core.connect import answers, open_connection
from nxc_core.errors import CommandError, Interrupted, NxcError
from nxc_core.flavour import Console, Flavour, Reserving
from nxc_core.model import Node, NodeState, Outcome, Plan, SshEndpoint
from nxc_core.operation import Operation
from nxc_core.output import printable
from nxc_core.probing import Prober, can_probe

READY_TIMEOUT = 30.0
ASKERS = 32
"""Nodes that are asked at once."""
LAST_TRY = 4.0
"""Seconds past its deadline that a node's last try may take."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
OBSERVE_EVERY = 1.0
AWAY = 3.0
"""Seconds between two looks after which nxc itself was stopped; nobody is late for that."""
ASK_ANYWAY = 10.0
"""Seconds after which a node is asked though its flavour takes it to be booting, which may be wrong.

More where the flavour grants a node more than usual.
"""


@define
class _Pending:
    """A node that is being waited for."""

    name: str
    machine: str
    instance: str
    deadline: float
    anyway: float
    observed: float = 0.0
    asked: float = field(factory=time.monotonic)
    next: float = 0.0
    tries: int = 0
    last_seen: str = "no sign of life yet"


class _Stop(threading.Event):
    """Set when the operation is cancelled, or when nobody waits for an answer any more."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self.other = other

    def is_set(self) -> bool:
        return super().is_set() or self.other.is_set()


def reach(
    flavour: Flavour[Any],
    plan: Plan,
    op: Operation,
    *,
    former: Mapping[str, str] | None = None,
    since: Mapping[str, float] | None = None,
    hasty: Callable[[Outcome], bool] | None = None,
) -> None:
    """Wait until each node reports its instance id; the outcomes are journalled.

    ``former`` gives the boot ids that a node must not show again, after a reboot; ``since`` when nodes were
    booted, by the monotonic clock. It returns at once when a node fails for which ``hasty`` is true.
    """
    allowed, now = flavour.deadline(op), time.monotonic()
    settled = op.journal.outcomes()
    pending = {
        spec.name: _Pending(
            spec.name,
            spec.machine if isinstance(flavour, Reserving) else "",
            plan.instances[spec.name],
            (since or {}).get(spec.name, now) + allowed,
            ASK_ANYWAY * max(allowed / flavour.patience, 1.0),
        )
        for spec in plan.nodes
        if spec.name not in settled or settled[spec.name].state not in (NodeState.READY, NodeState.FAILED)
    }
    stop = _Stop(op.cancel)
    pool = ThreadPoolExecutor(max_workers=ASKERS, thread_name_prefix="nxc-ask")
    try:
        with Prober() as prober:
            reaching = _Reaching(flavour, evolve(op, cancel=stop), former or {}, pending, prober, pool)
            reaching.run(op, allowed, hasty)
    finally:
        stop.set()  # a try of a node that was given up may take long yet
        pool.shutdown(wait=op.cancelled, cancel_futures=True)


@define
class _Reaching:
    """One wait for several nodes: none of them delays what is told of another."""

    flavour: Flavour[Any]
    asking: Operation
    former: Mapping[str, str]
    pending: dict[str, _Pending]
    prober: Prober
    pool: ThreadPoolExecutor
    begun: float = field(factory=time.monotonic)
    looked: float = field(factory=time.monotonic)
    mark: int = -1
    nodes: Mapping[str, Node] = field(factory=dict)
    knocking: set[str] = field(factory=set)
    tries: dict[str, Future[Outcome | None]] = field(factory=dict)

    def run(self, op: Operation, allowed: float, hasty: Callable[[Outcome], bool] | None) -> None:
        while self.pending:
            op.check_cancelled()
            failed = self._read_journal(op)
            self._begin()
            told = [*self._collect(), *self._find_late(allowed)]
            for outcome in {one.node: one for one in told}.values():
                op.outcome(outcome)
                del self.pending[outcome.node]
                failed += [outcome] if outcome.state is NodeState.FAILED else []
            if hasty is not None and any(map(hasty, failed)):
                return

    def _read_journal(self, op: Operation) -> list[Outcome]:
        """See which nodes there are, and drop those that the driver has given up."""
        mark = op.journal.mark()
        if mark == self.mark:
            return []
        self.mark, self.nodes = mark, op.journal.nodes()
        failed = [o for o in op.journal.outcomes().values() if o.state is NodeState.FAILED]
        return [outcome for outcome in failed if self.pending.pop(outcome.node, None) is not None]

    def _begin(self) -> None:
        """Begin to ask each node whose time has come."""
        now = time.monotonic()
        for name, wait in self.pending.items():
            node = self.nodes.get(name)
            if node is None or now < wait.next or name in self.tries or name in self.knocking:
                continue
            # Where the flavour has a look of its own, that comes before any knocking.
            if type(self.flavour).awake is Flavour.awake and can_probe(node.endpoint):
                self.knocking.add(name)
                self.prober.knock(name, node.endpoint)
            else:
                self._try(name, None)

    def _try(self, name: str, answering: bool | None) -> None:
        node, wait = self.nodes[name], self.pending[name]
        self.tries[name] = self.pool.submit(
            _try, self.flavour, node, wait, self.former, self.asking, answering
        )

    def _collect(self) -> list[Outcome]:
        """Wait a moment; returns what has come of the tries that have ended."""
        now = time.monotonic()
        # Looking costs, and so does looking late: at most a twentieth of the time that it took.
        pause = min(0.02 + (now - self.begun) / 20, 0.5)
        if self.tries:
            futures.wait(self.tries.values(), min(pause, 0.05), futures.FIRST_COMPLETED)
        elif not self.knocking:
            self.asking.cancel.wait(pause / 2)
        for name, answering in self.prober.turn(0.0 if self.tries else pause / 2).items():
            self.knocking.discard(name)
            if name in self.pending:
                self._try(name, answering)
        found = []
        for name in [name for name, future in self.tries.items() if future.done()]:
            outcome = self.tries.pop(name).result()
            if name in self.pending:
                self.pending[name].next = time.monotonic() + pause
                self.pending[name].tries += 1
                found += [outcome] if outcome is not None else []
        return found

    def _find_late(self, allowed: float) -> list[Outcome]:
        """Give up the nodes past their deadline, whose last try may end if it does so soon."""
        now = time.monotonic()
        gap, self.looked = now - self.looked, now
        found = []
        for name, wait in self.pending.items():
            wait.deadline += gap if gap > AWAY else 0.0
            untried = name in self.nodes and not wait.tries
            busy = untried or name in self.tries or name in self.knocking
            if now > max(wait.deadline, self.begun) + (LAST_TRY if busy else 0.0):
                cause = f"not ready after {allowed:.0f} s: {wait.last_seen}"
                found.append(_failed(self.flavour, wait, cause, self.asking))
        return found


def _try(
    flavour: Flavour[Any],
    node: Node,
    wait: _Pending,
    former: Mapping[str, str],
    op: Operation,
    answering: bool | None,
) -> Outcome | None:
    """Try one node once; None while it is worth waiting. ``answering`` is whether its ssh server was seen."""
    return _ask(flavour, node, wait, former, op, answering) or _observe(flavour, node, wait, op)


def _failed(flavour: Flavour[Any], wait: _Pending, cause: str, op: Operation, step: str = "boot") -> Outcome:
    return Outcome(
        node=wait.name,
        state=NodeState.FAILED,
        cause=cause,
        last_line=last_line(flavour, wait.name, op),
        machine=wait.machine,
        step=step,
    )


def _ask(
    flavour: Flavour[Any],
    node: Node,
    wait: _Pending,
    former: Mapping[str, str],
    op: Operation,
    answering: bool | None,
) -> Outcome | None:
    if not _may_answer(flavour, node, wait, op):
        wait.last_seen = "it is still booting"
        return None
    told = flavour.told(node, op)
    if told is None:
        told = _query(flavour, node, wait, op, answering)
    if told is None:
        return None
    instance, boot_id, cause, *_ = (*told.splitlines(), "", "", "")
    if boot_id and boot_id.strip() in _of_no_new_boot(former.get(node.name)):
        wait.last_seen = "it has not rebooted yet"
        return None
    if cause.strip():
        return _failed(flavour, wait, f"its role cannot be applied: {cause.strip()}", op, "role")
    if instance.strip() != wait.instance:
        wait.last_seen = (
            f"it answers as another instance ({instance.strip()[:8]})"
            if instance
            else "its role is not applied yet"
        )
        return None
    return Outcome(node=node.name, state=NodeState.READY, boot_id=boot_id.strip(), machine=wait.machine)


def _query(
    flavour: Flavour[Any], node: Node, wait: _Pending, op: Operation, answering: bool | None
) -> str | None:
    """Ask the node for its report; None while it does not answer."""
    if isinstance(node.endpoint, SshEndpoint) and not (
        answers(node.endpoint) if answering is None else answering
    ):
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
    if time.monotonic() - wait.asked < wait.anyway:
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
    return _failed(flavour, wait, seen.detail, op, seen.step or "boot")


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
