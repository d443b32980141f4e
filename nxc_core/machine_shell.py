"""Commands on a node, and waiting for what they show: the verbs that all others stand on."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from nxc_core.connect import LOST
from nxc_core.errors import CommandError, TestFailed
from nxc_core.model import NodeSpec
from nxc_core.output import printable
from nxc_core.process import Completed

if TYPE_CHECKING:
    from nxc_core.running import Running

TIMEOUT = 900.0
"""Seconds that a verb waits by default, as in NixOS tests."""
LIMIT = 3600.0
"""Seconds that ``timeout=None`` stands for: as long as a whole NixOS test may take."""
SHORTEST_TRY = 1.0
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
KILL_AFTER = 5
KNOCK = 5.0
"""Seconds after which a port that says nothing counts as closed."""
SLACK = 30.0
"""Seconds beyond the node's own deadline, for a slow login."""
SHOWN = 20

PREAMBLE = (
    "nxc_path=$PATH; { [ ! -r /etc/profile ] || . /etc/profile; } >/dev/null 2>&1; "
    'export PATH="$PATH:$nxc_path:/usr/local/sbin:/usr/sbin:/sbin"; unset nxc_path; set -euo pipefail; '
)
"""Commands see the variables of a login shell, and stop at the first error, as in NixOS tests."""
BARE = 'export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/run/current-system/sw/bin"; set -euo pipefail; '
"""For nxc's own looks at a node, many a second: a profile takes 0.1 s on an emulated processor."""

Probe = Callable[[float], str | None]
"""Tries once, in about so many seconds; answers None when it holds, else what was seen instead."""


class ShellVerbs:
    """Running commands. Standard output is returned; standard error is shown as it comes back."""

    off: bool
    """Whether a verb stopped the node; others would wait for it in vain."""

    def __init__(self, running: Running, spec: NodeSpec) -> None:
        self.running = running
        self.spec = spec
        self.off = False

    @property
    def name(self) -> str:
        """The node's host name."""
        return self.spec.name

    @contextlib.contextmanager
    def nested(self, message: str) -> Iterator[None]:
        """Report a step when it begins, and again with its duration when it ends."""
        op = self.running.op
        line = brief(message)
        op.step(line, node=self.name, topic="test", phase="begin")
        start = time.monotonic()
        ok = False
        try:
            yield
            ok = True
        finally:
            seconds = round(time.monotonic() - start, 3)
            op.step(line, node=self.name, topic="test", phase="end", seconds=seconds, ok=ok)

    def log(self, message: str) -> None:
        """Write a line to the progress report."""
        for line in str(message).splitlines() or [""]:
            self.running.op.step(line, node=self.name, topic="print")

    def execute(
        self,
        command: str,
        check_return: bool = True,
        check_output: bool = True,
        timeout: float | None = TIMEOUT,
    ) -> tuple[int, str]:
        """Run a command by bash; returns its exit code (124 when it was late) and standard output.

        Without ``check_output`` it is only begun, and the answer is ``(-2, "")``; without ``check_return``
        the exit code is answered as -1.
        """
        if not check_output:
            with self.nested(f"begin: {command}"):
                self._begin(command, timeout)
            return -2, ""
        with self.nested(f"execute: {command}"):
            done = self._finish(command, timeout)
        return (done.code if check_return else -1), done.text

    def succeed(self, *commands: str, timeout: float | None = None) -> str:
        """Run commands that must succeed; returns what they wrote to standard output."""
        output = ""
        for command in commands:
            with self.nested(f"succeed: {command}"):
                done = self._finish(command, timeout)
                if done.code != 0:
                    raise self.failed(f"`{brief(command)}` {verdict(done, timeout)}", said(done))
                output += done.text
        return output

    def fail(self, *commands: str, timeout: float | None = None) -> str:
        """Run commands that must not succeed; returns what they wrote. One that is late did not succeed."""
        output = ""
        for command in commands:
            with self.nested(f"fail: {command}"):
                done = self._finish(command, timeout)
                if done.code == 0:
                    raise self.failed(f"`{brief(command)}` unexpectedly succeeded", said(done))
                output += done.text
        return output

    def wait_until_succeeds(self, command: str, timeout: float = TIMEOUT) -> str:
        """Run a command again and again until it succeeds; returns what it wrote then."""
        output = ""

        def probe(left: float) -> str | None:
            nonlocal output
            done = self.attempt(command, left)
            output = done.text
            return None if done.code == 0 else _seen(done, left)

        self.until(f"success of `{brief(command)}`", probe, timeout)
        return output

    def wait_until_fails(self, command: str, timeout: float = TIMEOUT) -> str:
        """Run a command again and again until it fails; returns what it wrote then."""
        output = ""

        def probe(left: float) -> str | None:
            nonlocal output
            done = self.attempt(command, left)
            output = done.text
            return None if done.code != 0 else _seen(done, left)

        self.until(f"failure of `{brief(command)}`", probe, timeout)
        return output

    def wait_for_file(self, filename: str, timeout: float = TIMEOUT) -> None:
        """Wait until a file (or one that fits a pattern) exists on the node."""
        word = shlex.quote(filename)
        command = f"[ -e {word} ] || compgen -G {word} > /dev/null"

        def probe(left: float) -> str | None:
            done = self.look(command, left)
            return None if done.code == 0 else (_seen(done, left) if done.stderr else "it does not exist")

        self.until(f"file {filename}", probe, timeout)

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: float = TIMEOUT) -> None:
        """Wait until something accepts TCP connections at the port, as seen from the node."""

        def probe(left: float) -> str | None:
            done = self._knock(port, addr, min(left, KNOCK))
            return None if done.code == 0 else _seen(done, left)

        self.until(f"open port {addr}:{port}", probe, timeout)

    def wait_for_closed_port(self, port: int, addr: str = "localhost", timeout: float = TIMEOUT) -> None:
        """Wait until nothing accepts TCP connections at the port, as seen from the node."""

        def probe(left: float) -> str | None:
            # A whole try even when little time is left: a slow node's silence is no closed port.
            return None if self._knock(port, addr, KNOCK).code != 0 else "the port accepts connections"

        self.until(f"closed port {addr}:{port}", probe, timeout)

    def _knock(self, port: int, addr: str, limit: float) -> Completed:
        """Try a connection by bash itself: nodes need no netcat. A dropped packet must not take minutes."""
        return self.look(f": < /dev/tcp/{shlex.quote(addr)}/{int(port)}", limit)

    def sleep(self, secs: float) -> None:
        """Let time pass on the node, whose clock may be slower than the host's."""
        with self.nested(f"sleep {secs:g} s"):
            done = self._finish(f"sleep {secs:g}", secs * 10 + 60)
            if done.code != 0:
                raise self.failed(f"`sleep {secs:g}` {verdict(done, secs * 10 + 60)}", said(done))

    # What the verbs stand on

    def until(self, what: str, probe: Probe, timeout: float) -> None:
        """Try ``probe`` until it answers None, every 20 ms at first, every second later.

        Raises TestFailed after ``timeout`` seconds, with what was seen last. A node that does not answer is
        tried again: it may be booting.
        """
        with self.nested(f"wait for {what}"):
            end = time.monotonic() + timeout
            pause = FIRST_PAUSE
            while True:
                self.running.op.check_cancelled()
                try:
                    seen = probe(max(end - time.monotonic(), SHORTEST_TRY))
                except CommandError as error:
                    seen = unanswered(error)
                if seen is None:
                    return
                left = end - time.monotonic()
                if left <= 0:
                    raise self.failed(f"waited {timeout:g} s for {what}", f"last seen: {seen}")
                self.running.op.cancel.wait(min(pause, left))
                pause = min(pause * 1.5, LONGEST_PAUSE)

    def look(self, command: str, limit: float) -> Completed:
        """Run a command of nxc's own, without the node's profile."""
        return self.attempt(command, limit, preamble=BARE)

    def attempt(self, command: str, limit: float, preamble: str = PREAMBLE) -> Completed:
        """Run a command that ends, on the node too, after ``limit`` seconds.

        Raises CommandError when the node does not answer.
        """
        if self.off:
            raise CommandError(f"{LOST}: {self.name} is off; start() boots it", argv=(), code=None)
        connection = self.running.connection(self.name)
        words = timed(command, limit, preamble)
        return connection.run(words, check=False, timeout=limit + KILL_AFTER + SLACK)

    def failed(self, message: str, *details: str) -> TestFailed:
        """Return the error that names this node, with indented details."""
        lines = [line for detail in details for line in detail.splitlines()]
        return TestFailed("\n".join([f"{self.name}: {message}", *(f"  {line}" for line in lines)]))

    def _finish(self, command: str, timeout: float | None) -> Completed:
        self.running.op.check_cancelled()
        try:
            done = self.attempt(command, LIMIT if timeout is None else max(timeout, 0.01))
        except CommandError as error:
            raise self.failed(f"`{brief(command)}` has no answer", unanswered(error)) from error
        for line in tail(done.error_text):
            self.running.op.step(line, node=self.name, topic="stderr")
        return done

    def _begin(self, command: str, timeout: float | None) -> None:
        begin = 'setsid "$@" < /dev/null > /dev/null 2>&1 &'
        words = timed(command, LIMIT if timeout is None else timeout)
        try:
            self.running.connection(self.name).run(("sh", "-c", begin, "begin", *words), timeout=SLACK)
        except CommandError as error:
            raise self.failed(f"`{brief(command)}` could not be begun", unanswered(error)) from error


def timed(command: str, limit: float, preamble: str = PREAMBLE) -> tuple[str, ...]:
    """Return the words that run a command by bash on a node and end it there when it is late."""
    return ("timeout", "-k", str(KILL_AFTER), f"{limit:.2f}", "bash", "-c", preamble + command)


def brief(text: str, width: int = 100) -> str:
    """Return the first line of a command, cut to a width."""
    lines = [printable(line) for line in text.strip().splitlines()] or [""]
    more = len(lines) > 1 or len(lines[0]) > width
    return lines[0][:width] + (" …" if more else "")


def tail(text: str) -> list[str]:
    """Return the last lines of an output, without what would steer a terminal."""
    return [clean for line in text.splitlines() if (clean := printable(line))][-SHOWN:]


def late(done: Completed, limit: float | None) -> bool:
    """Whether ``timeout`` ended the command, rather than the command itself."""
    return limit is not None and done.code in (124, 137) and done.seconds >= limit


def verdict(done: Completed, limit: float | None) -> str:
    """Say how a command ended."""
    if late(done, limit):
        return f"was not done after {limit:g} s"
    return f"failed with exit code {done.code}"


def said(done: Completed) -> str:
    """Return what a command wrote: the ends of both outputs."""
    lines = [f"stderr: {line}" for line in tail(done.error_text)]
    return "\n".join(lines + [f"stdout: {line}" for line in tail(done.text)])


def unanswered(error: CommandError) -> str:
    """Say in a line why a node did not answer."""
    if error.message.startswith(LOST):
        return error.message
    if error.code is None:
        told = "it did not answer in time; a process left in the background may hold its output open"
        return "\n".join([f"{told} (`>/dev/null 2>&1 &` frees it)", *tail(error.stderr)])
    return "\n".join(tail(error.message))


def _seen(done: Completed, limit: float) -> str:
    how = f"not done after {limit:.1f} s" if late(done, limit) else f"exit code {done.code}"
    return "\n".join([how, *said(done).splitlines()])
