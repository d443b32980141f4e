"""Looking at machines from outside: is a node there, did it never leave, or go back to its former system?"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

from nxc_core import CommandError, Operation
from nxc_core.commands import Command, Completed
from nxc_core.model import NodeState, Observation
from nxc_kexec.claims import Station, endpoint, on_node
from nxc_kexec.facts import HELD
from nxc_kexec.former import NODE_PORT
from nxc_kexec.options import KexecOptions

EVERY, YOUNG = 3.0, 2.0
"""Seconds between two looks, each of which costs a connection to a machine, and until the first."""
ANSWER = 1.0
"""Seconds for an ssh server to say its name."""
LOGIN = 15.0
"""Seconds for a question with a login of its own: a machine that has just booted is slow."""
LEAVING = 45.0
"""Seconds that a machine may take from the order to the end of its former system."""
ASKED = "nxc asks"
"""What stands before an answer: a login shell may greet."""
_LOOK = f'echo "{ASKED}"; cat /proc/sys/kernel/random/boot_id; tail -n 1 "$1/launch.log" 2>/dev/null; :'
Place = tuple[str, int]


class Watch:
    """What was seen of all nodes, by whom and when; one look serves every node."""

    def __init__(self, options: KexecOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._seen: dict[str, Observation] = {}
        self._looked = float("-inf")
        self._launched: dict[str, float] = {}

    def launched(self, node: str) -> None:
        """Note that a node was started now: what was seen of it before is of no use."""
        with self._lock:
            self._launched[node] = time.monotonic()
            self._seen.pop(node, None)

    def observe(self, node: str, find: Callable[[], Mapping[str, Station]], op: Operation) -> Observation:
        """Return what is known of a node, after a new look at all (``find``) where the last one is old.

        While another thread looks, what was seen last will do for a node that boots; others wait for that.
        """
        alive = Observation(alive=True)
        while not self._lock.acquire(timeout=0 if self._may_be_old(node, op) else 0.2):
            if self._may_be_old(node, op):
                return self._seen.get(node, alive)
            op.check_cancelled()
        try:
            if time.monotonic() - self._looked >= EVERY:
                self._seen = self._look(find(), op)
                self._looked = time.monotonic()
            return self._seen.get(node, alive)
        finally:
            self._lock.release()

    def _may_be_old(self, node: str, op: Operation) -> bool:
        """Whether a node is just booting: it is looked at again and again, so nobody need wait."""
        is_young = time.monotonic() - self._launched.get(node, float("-inf")) < self.options.boot
        return is_young and not op.journal.is_ready(node)

    def _look(self, stations: Mapping[str, Station], op: Operation) -> dict[str, Observation]:
        outcomes = op.journal.outcomes()
        ready = [
            one
            for node, one in stations.items()
            if node in outcomes and outcomes[node].state is NodeState.READY
        ]
        others = [
            one
            for node, one in stations.items()
            if one not in ready and time.monotonic() - self._launched.get(node, float("-inf")) > YOUNG
        ]
        places = {**{_place(one, NODE_PORT): one for one in ready}, **{_place(one): one for one in others}}
        answering = set(_answering(places)) | {place for place, one in places.items() if one.contact.jump}
        gone = [one for one in ready if _place(one, NODE_PORT) not in answering or one.contact.jump]
        back = [one for one in others if _place(one) in answering]
        flows = [
            *(self._ask(one, op, ready=True) for one in gone),
            *(self._ask(one, op, ready=False) for one in back),
        ]
        found = op.flows(flows, limit=64)
        return {
            one.node: seen
            for one, seen in zip([*gone, *back], found, strict=True)
            if isinstance(seen, Observation)
        }

    def _ask(
        self, one: Station, op: Operation, *, ready: bool
    ) -> Generator[Command, Completed | CommandError, Observation]:
        """Ask the former system whether it is there; for a node that was ready, ask itself first."""
        if ready:
            ended = yield on_node(endpoint(one.way, one.node, op), ("true",), timeout=LOGIN)
            if isinstance(ended, Completed):
                return Observation(alive=True)
        folder = f"{self.options.folder}/{HELD}"
        ended = yield one.way.alone(("sh", "-c", _LOOK, "look", folder), timeout=LOGIN)
        if isinstance(ended, CommandError):
            if ready:
                return Observation(alive=False, detail=f"no ssh server answers at port {NODE_PORT} any more")
            return Observation(alive=True)
        boot, _, said = ended.text.rpartition(ASKED)[2].strip().partition("\n")
        if not boot:
            return Observation(alive=True)  # its shell was ended before it said anything
        if boot != one.boot:
            told = "it returned to its former system: it has booted that, not the node"
            return Observation(alive=False, detail=told, step="boot")
        since = time.monotonic() - self._launched.get(one.node, float("-inf"))
        if since < LEAVING and not said:  # what it says there, it says when it is too late
            return Observation(alive=True)
        told = "it never left its former system, which still runs"
        return Observation(
            alive=False, detail=told + (f": {said.strip()}" if said.strip() else ""), step="launch"
        )


def _place(one: Station, port: int = 0) -> Place:
    return one.contact.real or one.contact.host, port or one.contact.port or 22


def _answering(places: Iterable[Place]) -> Sequence[Place]:
    """List where an ssh server says its name at once; all are asked together."""
    found: list[Place] = []
    end = time.monotonic() + ANSWER
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for place in places:
            with contextlib.suppress(OSError):
                link = stack.enter_context(_call(place))
                selector.register(link, selectors.EVENT_READ, place)
        while selector.get_map() and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                called = key.fileobj
                assert isinstance(called, socket.socket)
                with contextlib.suppress(OSError):
                    if called.recv(4) == b"SSH-":
                        found.append(key.data)
                selector.unregister(called)
    return found


def _call(place: Place) -> socket.socket:
    """Begin to connect; raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)[0]
    link = socket.socket(family, kind, protocol)
    link.setblocking(False)
    code = link.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        link.close()
        raise OSError(code, "no connection")
    return link
