"""What a test script finds beside its nodes: start_all, subtest, retry, parallel, log and others."""

from __future__ import annotations

import contextlib
import inspect
import keyword
import os
import re
import threading
import time
import unittest
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar

from nxc_core.errors import Interrupted, TestFailed
from nxc_core.machine import NodeHandle
from nxc_core.machine_shell import FIRST_PAUSE, LONGEST_PAUSE, TIMEOUT

if TYPE_CHECKING:
    from nxc_core.running import Running

T = TypeVar("T")


def variable_name(node: str) -> str:
    """Return the script's variable for a node: what Python cannot spell becomes an underscore."""
    return re.sub(r"^[^A-Za-z_]|[^A-Za-z0-9_]", "_", node)


class Log:
    """Lines in the progress report, by the names that NixOS tests use."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def log(self, message: str) -> None:
        """Write a message."""
        for line in str(message).splitlines() or [""]:
            self._running.op.step(line, topic="print")

    info = log

    def warning(self, message: str) -> None:
        """Write a warning."""
        self._running.op.step(str(message), topic="warning")

    error = warning

    @contextlib.contextmanager
    def nested(self, message: str) -> Iterator[None]:
        """Report a step of several parts, with its duration at the end."""
        op = self._running.op
        op.step(message, topic="test", phase="begin")
        start = time.monotonic()
        ok = False
        try:
            yield
            ok = True
        finally:
            seconds = round(time.monotonic() - start, 3)
            op.step(message, topic="test", phase="end", seconds=seconds, ok=ok)


class Driver:
    """The nodes of a deployment as one test script sees them."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.log = Log(running)
        self.nodes: dict[str, NodeHandle] = {name: running[name] for name in running}
        self.machines: list[NodeHandle] = list(self.nodes.values())
        self._blamed: tuple[BaseException, list[str]] | None = None
        self._line = ""
        self._lock = threading.Lock()

    @property
    def roles(self) -> dict[str, list[NodeHandle]]:
        """The nodes of each role."""
        found: dict[str, list[NodeHandle]] = {
            role.name: [] for role in self.running.deployment.composition.roles
        }
        for machine in self.machines:
            found.setdefault(machine.role, []).append(machine)
        return found

    def symbols(self) -> dict[str, Any]:
        """Return the variables of a script. A node's name wins over a helper's."""
        found: dict[str, Any] = {
            "driver": self,
            "join_all": self.join_all,
            "log": self.log,
            "Machine": NodeHandle,
            "machines": self.machines,
            "nodes": self.nodes,
            "os": os,
            "parallel": self.parallel,
            "print": self.print,
            "retry": self.retry,
            "roles": self.roles,
            "serial_stdout_off": _nothing,
            "serial_stdout_on": _nothing,
            "start_all": self.start_all,
            "subtest": self.subtest,
            "t": unittest.TestCase(),
        }
        if len(self.machines) == 1:
            found["machine"] = self.machines[0]
        for name, node in self.nodes.items():
            variable = variable_name(name)
            if keyword.iskeyword(variable):
                continue  # there is still nodes["lambda"]
            if variable in found and found[variable] is not node:
                self.log.warning(f"in the test script {variable} is the node, not the helper of that name")
            found[variable] = node
        return found

    def start_all(self) -> None:
        """Boot the nodes that were shut down or crashed; those that are up stay as they are."""
        self.parallel(*(machine.start for machine in self.machines))

    def join_all(self) -> None:
        """Wait until all nodes have shut down."""
        self.parallel(*(machine.wait_for_shutdown for machine in self.machines))

    @contextlib.contextmanager
    def subtest(self, name: str) -> Iterator[None]:
        """Name a part of the script; a failure in it names the part."""
        try:
            with self.log.nested(f"subtest: {name}"):
                yield
        except BaseException as error:
            known = self._blamed[1] if self._blamed and self._blamed[0] is error else []
            self._blamed = (error, [name, *known])
            raise

    def subtests_of(self, error: BaseException) -> Sequence[str]:
        """Name the subtests that an error came through, the outermost first."""
        return self._blamed[1] if self._blamed and self._blamed[0] is error else ()

    def retry(
        self, fn: Callable[..., Any], timeout: float = TIMEOUT, *, timeout_seconds: float | None = None
    ) -> None:
        """Call ``fn(False)`` until it is true, at last ``fn(True)``; then raises TestFailed."""
        allowed = timeout if timeout_seconds is None else timeout_seconds
        arguments = _takes_argument(fn)
        end = time.monotonic() + allowed
        pause = FIRST_PAUSE
        while not fn(*([False] if arguments else [])):
            self.running.op.check_cancelled()
            left = end - time.monotonic()
            if left <= 0:
                if arguments and fn(True):
                    return
                name = getattr(fn, "__name__", "the action")
                raise TestFailed(f"retried {name} for {allowed:g} s: it never held")
            self.running.op.cancel.wait(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def parallel(self, *calls: Callable[[], T]) -> list[T]:
        """Call all at the same time, each without arguments; returns the answers in order."""
        try:
            return self.running.op.map(lambda call: call(), calls)
        except ExceptionGroup as group:
            interrupted = group.subgroup(Interrupted)
            if interrupted is not None:
                raise Interrupted("interrupted") from None
            raise

    def print(
        self,
        *values: object,
        sep: str = " ",
        end: str = "\n",
        file: IO[str] | None = None,
        flush: bool = False,
    ) -> None:
        """Print to the progress report, line by line; to a file if one is given."""
        text = (sep or "").join(str(value) for value in values) + end
        if file is not None:
            file.write(text)
            return
        with self._lock:
            *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self.running.op.step(line, topic="print")
        if flush:
            self.flush()

    def flush(self) -> None:
        """Print what is left of a line without an end."""
        with self._lock:
            line, self._line = self._line, ""
        if line:
            self.running.op.step(line, topic="print")


def _nothing() -> None:
    """Consoles are kept in files; a script need not turn them on or off."""


def _takes_argument(fn: Callable[..., Any]) -> bool:
    """NixOS hands ``retry``'s function whether this is the last try; one without parameters is fine too."""
    try:
        return bool(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        return False
