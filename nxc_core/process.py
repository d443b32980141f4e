"""Running other programs: the only user of subprocess.

Every command has a list of words, a deadline and a checked end. A command's whole process group goes when its
deadline passes, when the operation is cancelled, or when nxc itself is killed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from nxc_core import spawned
from nxc_core.commands import (
    Command as Command,
    Completed as Completed,
    OnData as OnData,
    OnLine as OnLine,
    failure as failure,
)
from nxc_core.errors import CommandError, Interrupted, PreflightError

KEPT = 1 << 16
"""Bytes of each stream that are kept of what somebody hears as it comes."""
GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
TICK, SOON = 0.05, 0.005
"""Seconds between two looks at a child that may have ended, and at one that has closed what it writes to."""


def find_program(name: str, *, package: str = "") -> str:
    """Return the program's path; raises PreflightError naming the package to install."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise PreflightError(f"{name} is not installed", hint=f"install the Debian package {package or name}")
    return found


def run(
    argv: Sequence[str],
    *,
    check: bool = True,
    timeout: float | None = None,
    stdin: bytes | Path | None = None,
    output: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    cancelled: threading.Event | None = None,
    on_line: OnLine | None = None,
    on_data: OnData | None = None,
) -> Completed:
    """Run one command to its end. ``output`` sends standard output to a file.

    Where ``on_data`` hears what is written, only the end of it is returned.

    Raises CommandError when it fails (unless ``check`` is false) or is not done after ``timeout`` seconds,
    Interrupted when ``cancelled`` is set meanwhile, PreflightError when the program is not there.
    """
    command = Command(argv=tuple(argv), stdin=stdin, output=output, env=env, cwd=cwd)
    with Loop(timeout=timeout, cancelled=cancelled, on_line=on_line, on_data=on_data) as loop:
        loop.open(0, command)
        while not (found := list(loop.turn())):
            pass
    ((_, ended),) = found
    if isinstance(ended, CommandError):
        raise ended
    if check and ended.code != 0:
        raise failure(ended)
    return ended


def run_all(
    commands: Sequence[Command],
    *,
    limit: int = 64,
    timeout: float | None = None,
    cancelled: threading.Event | None = None,
    on_line: OnLine | None = None,
) -> list[Completed | CommandError]:
    """Run many commands from one loop, at most ``limit`` at a time; answers come in the order asked.

    A command that outlives ``timeout`` seconds is answered by a CommandError with code None.
    """
    waiting = deque(enumerate(commands))
    ended: dict[int, Completed | CommandError] = {}
    with Loop(timeout=timeout, cancelled=cancelled, on_line=on_line) as loop:
        while len(ended) < len(commands):
            while waiting and loop.size < limit:
                loop.open(*waiting.popleft())
            ended.update(loop.turn())
    return [ended[index] for index in range(len(commands))]


class _Child:
    """One running command, its pipes and its deadline."""

    def __init__(
        self,
        index: int,
        command: Command,
        timeout: float | None,
        on_line: OnLine | None,
        on_data: OnData | None,
    ) -> None:
        self.index = index
        self.command = command
        self.started = time.monotonic()
        self.deadline = None if timeout is None else self.started + timeout
        self.timeout = timeout
        self.chunks: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self.partial: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        self.on_line = on_line
        self.on_data = on_data
        self.open = 0
        self.timed_out = False
        self.term_at: float | None = None
        self.pending = memoryview(command.stdin if isinstance(command.stdin, bytes) else b"")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        program = self.command.argv[0]
        if not (program if "/" in program and Path(program).exists() else shutil.which(program)):
            program = find_program(program)
        argv = (*_deathbound(), program, *self.command.argv[1:])
        with contextlib.ExitStack() as stack:
            stdin: int | IO[bytes] = subprocess.DEVNULL
            if isinstance(self.command.stdin, bytes):
                stdin = subprocess.PIPE
            elif isinstance(self.command.stdin, Path):
                stdin = stack.enter_context(self.command.stdin.open("rb"))
            stdout: int | IO[bytes] = subprocess.PIPE
            if self.command.output is not None:
                stdout = stack.enter_context(self.command.output.open("wb"))
            return subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=None if self.command.env is None else dict(self.command.env),
                cwd=self.command.cwd,
                start_new_session=True,
            )

    def feed(self, stream: str, data: bytes) -> None:
        self.chunks[stream].append(data)
        if self.on_data is not None:
            self.on_data(stream, data)
            self.chunks[stream] = [b"".join(self.chunks[stream])[-KEPT:]]
        if self.on_line is None:
            return
        *lines, self.partial[stream] = (self.partial[stream] + data).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            if line.strip():
                self.on_line(line.decode("utf-8", "replace"))

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def end(self, code: int) -> Completed | CommandError:
        for stream, rest in self.partial.items():
            if rest.strip() and self.on_line is not None:
                self.on_line(rest.decode("utf-8", "replace"))
                self.partial[stream] = b""
        if self.timed_out:
            words = shlex.join(self.command.argv)
            tail = b"".join(self.chunks["stderr"])[-2000:].decode("utf-8", "replace").strip()
            return CommandError(
                f"`{words}` was not done after {self.timeout:g} s" + (f":\n{tail}" if tail else ""),
                argv=self.command.argv,
                code=None,
                stderr=tail,
            )
        return Completed(
            argv=self.command.argv,
            code=code,
            stdout=b"".join(self.chunks["stdout"]),
            stderr=b"".join(self.chunks["stderr"]),
            seconds=time.monotonic() - self.started,
        )


def _deathbound() -> tuple[str, ...]:
    """Words that tie a child to us: it gets SIGTERM when nxc is killed (prctl(2), PR_SET_PDEATHSIG)."""
    setpriv = "/usr/bin/setpriv"
    return (setpriv, "--pdeathsig", "TERM") if Path(setpriv).exists() else ()


class Loop:
    """Pumps the pipes of many children from one thread. What still runs when it is left is ended."""

    def __init__(
        self,
        *,
        timeout: float | None = None,
        cancelled: threading.Event | None = None,
        on_line: OnLine | None = None,
        on_data: OnData | None = None,
    ) -> None:
        self.timeout = timeout
        self.cancelled = cancelled
        self.on_line = on_line
        self.on_data = on_data
        self.selector = selectors.DefaultSelector()
        self.children: list[_Child] = []
        self.looked = 0.0

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end_all()
        finally:
            self.selector.close()

    @property
    def size(self) -> int:
        """How many commands run."""
        return len(self.children)

    def turn(self) -> Iterator[tuple[int, Completed | CommandError]]:
        """Wait a moment for something to happen; yields what has ended. Raises Interrupted when cancelled."""
        self._pump()
        self._enforce()
        yield from self._reap()

    def open(self, index: int, command: Command) -> None:
        """Start a command, whose end will be told under this index."""
        on_line = command.on_line or self.on_line
        timeout = self.timeout if command.timeout is None else command.timeout
        child = _Child(index, command, timeout, on_line, self.on_data)
        self.children.append(child)
        process = child.process
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self.selector.register(pipe, selectors.EVENT_READ, (child, name))
                child.open += 1
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self.selector.register(process.stdin, selectors.EVENT_WRITE, (child, "stdin"))

    def _pump(self) -> None:
        silent = any(not child.open for child in self.children)  # it is about to end, or has gone on alone
        if not self.selector.get_map():
            time.sleep(SOON)
            return
        for key, _ in self.selector.select(timeout=SOON if silent else TICK):
            child, name = key.data
            if name == "stdin":
                self._write(child)
                continue
            data = os.read(key.fd, 1 << 16)
            if data:
                child.feed(name, data)
            else:
                self.selector.unregister(key.fileobj)
                child.open -= 1

    def _write(self, child: _Child) -> None:
        pipe = child.process.stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            child.pending = child.pending[os.write(pipe.fileno(), child.pending[: 1 << 16]) :]
            if child.pending:
                return
        self.selector.unregister(pipe)
        pipe.close()

    def _enforce(self) -> None:
        if self.cancelled is not None and self.cancelled.is_set():
            raise Interrupted("interrupted")
        now = time.monotonic()
        for child in self.children:
            if child.deadline is not None and now > child.deadline and not child.timed_out:
                if child.process.poll() is not None:
                    continue  # it has ended, and we were stopped ourselves
                child.timed_out = True
                child.term_at = now
                child.signal(signal.SIGTERM)
            elif child.term_at is not None and now > child.term_at + GRACE:
                child.signal(signal.SIGKILL)

    def _reap(self) -> Iterator[tuple[int, Completed | CommandError]]:
        """Yield what has ended. Looking at all children each time would cost as much as what they do."""
        everyone = time.monotonic() - self.looked > TICK
        if everyone:
            self.looked = time.monotonic()
        for child in list(self.children):
            code = child.process.poll() if everyone or not child.open else None
            if code is None:
                continue
            self._drain(child)
            self.children.remove(child)
            yield child.index, child.end(code)

    def _drain(self, child: _Child) -> None:
        """Take what is left in the pipes. A grandchild may hold them open: do not wait for it."""
        for name, pipe in (("stdout", child.process.stdout), ("stderr", child.process.stderr)):
            if pipe is None:
                continue
            with contextlib.suppress(BlockingIOError, ValueError):
                while data := os.read(pipe.fileno(), 1 << 16):
                    child.feed(name, data)
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(pipe)
            pipe.close()
        if child.process.stdin is not None and not child.process.stdin.closed:
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(child.process.stdin)
            with contextlib.suppress(BrokenPipeError):
                child.process.stdin.close()

    def _end_all(self) -> None:
        for child in self.children:
            child.signal(signal.SIGTERM)
        end = time.monotonic() + GRACE
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, end - time.monotonic()))
            child.signal(signal.SIGKILL)
            child.process.wait()
            self._drain(child)


def interact(argv: Sequence[str]) -> int:
    """Hand the terminal to a command and return its exit code."""
    find_program(argv[0])
    with subprocess.Popen(tuple(argv)) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue  # the terminal sent it to the child as well, which decides


def spawn(
    argv: Sequence[str],
    *,
    token: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Start a process that outlives nxc, its output in ``log``, findable by ``token``. Returns its pid."""
    program = find_program(argv[0])
    environment = dict(os.environ if env is None else env)
    environment[spawned.VARIABLE] = token
    with log.open("ab") as sink:
        child = subprocess.Popen(
            (program, *argv[1:]),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
    _await_environment(child, token)
    threading.Thread(target=child.wait, daemon=True, name=f"reap-{child.pid}").start()
    return child.pid


def _await_environment(child: subprocess.Popen[bytes], token: str) -> None:
    """Wait until the child is findable: while execve(2) loads a program, its environment looks empty."""
    end = time.monotonic() + 1
    while child.poll() is None and not spawned.is_spawned(child.pid, token) and time.monotonic() < end:
        time.sleep(0.001)
