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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from attrs import field, frozen

from nxc_core import spawned
from nxc_core.errors import CommandError, Interrupted, PreflightError

KEPT = 1 << 16
"""Bytes of each stream that are kept of what somebody hears as it comes."""
GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

OnLine = Callable[[str], None]
OnData = Callable[[str, bytes], None]
"""Hears what a command writes, as it comes: to ``stdout`` or ``stderr``, and what."""


@frozen(kw_only=True)
class Completed:
    """How a command ended. ``code`` is negative for a signal."""

    argv: tuple[str, ...]
    code: int
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        """Standard error as text."""
        return self.stderr.decode("utf-8", "replace")


@frozen(kw_only=True)
class Command:
    """One command for ``run_all``."""

    argv: tuple[str, ...]
    stdin: bytes | Path | None = field(default=None, repr=False)
    output: Path | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    cwd: Path | None = None


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
    loop = _Loop(limit=1, timeout=timeout, cancelled=cancelled, on_line=on_line, on_data=on_data)
    (ended,) = loop.run([command])
    if isinstance(ended, CommandError):
        raise ended
    if check and ended.code != 0:
        raise failure(ended)
    return ended


def failure(ended: Completed) -> CommandError:
    """Say how a command failed, with the end of what it wrote."""
    tail = "\n".join((ended.error_text.strip() or ended.text.strip()).splitlines()[-15:])
    how = f"was ended by signal {-ended.code}" if ended.code < 0 else f"failed with exit code {ended.code}"
    message = f"`{shlex.join(ended.argv)}` {how}" + (f":\n{tail}" if tail else "")
    return CommandError(message, argv=ended.argv, code=ended.code, stderr=ended.error_text)


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
    loop = _Loop(limit=limit, timeout=timeout, cancelled=cancelled, on_line=on_line)
    return loop.run(commands)


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
        self.timed_out = False
        self.term_at: float | None = None
        self.pending = command.stdin if isinstance(command.stdin, bytes) else b""
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


class _Loop:
    """Pumps the pipes of many children from one thread."""

    def __init__(
        self,
        *,
        limit: int,
        timeout: float | None,
        cancelled: threading.Event | None,
        on_line: OnLine | None,
        on_data: OnData | None = None,
    ) -> None:
        self.limit = limit
        self.timeout = timeout
        self.cancelled = cancelled
        self.on_line = on_line
        self.on_data = on_data
        self.selector = selectors.DefaultSelector()
        self.children: list[_Child] = []

    def run(self, commands: Sequence[Command]) -> list[Completed | CommandError]:
        waiting = deque(enumerate(commands))
        ended: dict[int, Completed | CommandError] = {}
        try:
            while waiting or self.children:
                while waiting and len(self.children) < self.limit:
                    self._open(*waiting.popleft())
                self._pump()
                self._enforce()
                ended.update(self._reap())
        except BaseException:
            self._end_all()
            raise
        finally:
            self.selector.close()
        return [ended[index] for index in range(len(commands))]

    def _open(self, index: int, command: Command) -> None:
        child = _Child(index, command, self.timeout, self.on_line, self.on_data)
        self.children.append(child)
        process = child.process
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self.selector.register(pipe, selectors.EVENT_READ, (child, name))
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self.selector.register(process.stdin, selectors.EVENT_WRITE, (child, "stdin"))

    def _pump(self) -> None:
        if not self.selector.get_map():
            time.sleep(0.005)
            return
        for key, _ in self.selector.select(timeout=0.05):
            child, name = key.data
            if name == "stdin":
                self._write(child)
                continue
            data = os.read(key.fd, 1 << 16)
            if data:
                child.feed(name, data)
            else:
                self.selector.unregister(key.fileobj)

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
                child.timed_out = True
                child.term_at = now
                child.signal(signal.SIGTERM)
            elif child.term_at is not None and now > child.term_at + GRACE:
                child.signal(signal.SIGKILL)

    def _reap(self) -> Iterator[tuple[int, Completed | CommandError]]:
        for child in list(self.children):
            code = child.process.poll()
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
