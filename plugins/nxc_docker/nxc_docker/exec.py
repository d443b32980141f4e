"""One command in a container: its streams over one connection, its end, and putting an end to it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from docker.errors import APIError, DockerException

from nxc_core import Interrupted
from nxc_core.process import KEPT, OnData
from nxc_docker import failures
from nxc_docker.engine import Engine

STDOUT, STDERR = 1, 2
CHUNK = 1 << 18
TICK = 0.1
"""Seconds after which a waiting loop looks whether it is to stop."""
GRACE = 3.0
"""Seconds between SIGTERM and SIGKILL to what is late."""
BEGINNING = 15.0
"""Seconds in which a command that is to be ended says its process id: a busy engine may only begin it."""
SETTLING = 1.0
"""Seconds of silence after a command's end in which the engine may still pass on what it said last."""
KNOWING = 60.0
"""Seconds after the end of its streams in which the engine knows how a command ended."""
QUIET = 0.5
"""Seconds of silence after which the engine is asked whether the command has ended: what it has left running
in the background may hold its streams open."""
_BEGIN = 'echo "$$"; exec "$@"'
_BEGIN_COUNTED = 'echo "$$"; head -c "$0" | "$@"'
_END = (
    "for f in /proc/[0-9]*/stat; do { read -r line <$f; } 2>/dev/null || continue; set -- $1 ${line##*) }; "
    '[ "$5" != "$0" ] || { f=${f#/proc/}; kill "-$1" "${f%/stat}"; }; done'
)
_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Unheard(Exception):
    """Who hears what a command says has failed; why is the cause."""


@frozen(kw_only=True)
class Ended:
    """How a command ended; ``code`` is None when it was not done in time."""

    code: int | None
    stdout: bytes
    stderr: bytes


def execute(
    engine: Engine,
    container: str,
    argv: Sequence[str],
    *,
    stdin: bytes | Path | None = None,
    output: Path | None = None,
    timeout: float | None = None,
    cancel: threading.Event | None = None,
    on_data: OnData | None = None,
) -> Ended:
    """Run a command as root. One that is late, cancelled or no longer heard is ended in the container, too.

    Where ``on_data`` hears what is written, as it comes, only the end of it is returned. Raises Interrupted
    when cancelled, Unheard when that fails, and what the SDK raises when the engine or the container is gone.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(output.open("wb")) if output is not None else None
        streams = _Streams(write=sink.write if sink else None, on_data=on_data)
        stream = _open(engine, container, argv, stdin)
        stack.callback(stream.close)
        source = stack.enter_context(contextlib.closing(_read(stdin)))
        talk = _Talk(engine=engine, container=container, stream=stream, source=source, streams=streams)
        stack.callback(talk.selector.close)
        code = talk.run(deadline, cancel)
    return Ended(code=code, stdout=streams.text(STDOUT), stderr=streams.text(STDERR))


def _open(engine: Engine, container: str, argv: Sequence[str], stdin: bytes | Path | None) -> _Stream:
    """Begin the command through a shell that first says its process id, and 126 or 127 as shells do."""
    words = ["/bin/sh", "-c", _BEGIN, "nxc", *argv]
    if stdin is not None and engine.api.base_url.startswith("https://"):
        # TLS cannot be closed in one direction alone
        size = len(stdin) if isinstance(stdin, bytes) else stdin.stat().st_size
        words = ["/bin/sh", "-c", _BEGIN_COUNTED, str(size), *argv]
    made = engine.api.exec_create(container, words, stdin=stdin is not None)
    return _Stream.take(str(made["Id"]), engine.api.exec_start(made["Id"], socket=True))


def _read(stdin: bytes | Path | None) -> Generator[bytes, None, None]:
    if isinstance(stdin, bytes):
        yield from (stdin[at : at + CHUNK] for at in range(0, len(stdin), CHUNK))
    elif stdin is not None:
        with stdin.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk


@define
class _Stream:
    """The connection that the engine turned into the command's streams."""

    id: str
    raw: socket.socket
    early: bytes
    response: Any

    @classmethod
    def take(cls, id: str, held: Any) -> _Stream:
        """Take the connection, with what the HTTP library had read of it beyond the answer's head."""
        raw = getattr(held, "_sock", held)
        raw.setblocking(False)
        response = held._response  # noqa: SLF001 - the SDK hangs it there, so that it lives as long
        buffered = response.raw._fp.fp  # noqa: SLF001 - and offers no way to what is buffered
        early = b""
        with contextlib.suppress(*_AGAIN):  # through TLS, where nothing has come yet
            early = buffered.read(len(buffered.peek())) or b""
        return cls(id=id, raw=raw, early=early, response=response)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.response.close()


@define
class _Streams:
    """Takes apart what comes: frames of a stream's number, a length, and so many bytes."""

    write: Callable[[bytes], object] | None
    on_data: OnData | None = None
    pid: str = ""
    _head: bytes = b""
    _left: int = 0
    _number: int = STDOUT
    _kept: dict[int, list[bytes]] = field(factory=lambda: {STDOUT: [], STDERR: []})
    _first: bytes | None = b""

    def feed(self, data: bytes) -> None:
        while data:
            if self._left:
                part, data = data[: self._left], data[self._left :]
                self._left -= len(part)
                self._take(part)
                continue
            need = 8 - len(self._head)
            self._head, data = self._head + data[:need], data[need:]
            if len(self._head) == 8:
                self._number, self._left = self._head[0], int.from_bytes(self._head[4:], "big")
                self._head = b""

    def _take(self, part: bytes) -> None:
        if self._number == STDERR:
            self._keep(STDERR, part)
            return
        if self._first is not None:
            self._first += part
            line, newline, rest = self._first.partition(b"\n")
            if not newline and len(line) < 20 and line.isdigit():
                return
            self._first = None
            if newline and line.isdigit():
                self.pid, part = line.decode(), rest
            else:  # the shell did not come so far: this is the engine's complaint
                part, self._number = line + newline + rest, STDERR
                self._keep(STDERR, part)
                return
        if self.write is not None:
            try:
                self.write(part)
            except OSError as error:
                raise Unheard from error
        elif part:
            self._keep(STDOUT, part)

    def _keep(self, number: int, part: bytes) -> None:
        self._kept[number].append(part)
        if self.on_data is None:
            return
        self._kept[number] = [b"".join(self._kept[number])[-KEPT:]]
        try:
            self.on_data("stdout" if number == STDOUT else "stderr", part)
        except Exception as error:
            raise Unheard from error

    def text(self, number: int) -> bytes:
        return b"".join(self._kept[number])


@define
class _Talk:
    """Both directions at once, until the command has ended."""

    engine: Engine
    container: str
    stream: _Stream
    source: Iterator[bytes]
    streams: _Streams
    selector: selectors.BaseSelector = field(factory=selectors.DefaultSelector)
    _pending: bytes = b""
    _sending: bool = True
    _heard: float = field(factory=time.monotonic)
    _quiet: float = QUIET

    def run(self, deadline: float | None, cancel: threading.Event | None) -> int | None:
        """Return the exit code, None when the deadline passed."""
        try:
            self.selector.register(self.stream.raw, selectors.EVENT_READ | selectors.EVENT_WRITE)
            self.streams.feed(self.stream.early)
            if not self._talk(deadline, cancel):
                self._end()
                return None
            return self._code(cancel)
        except (Interrupted, KeyboardInterrupt, Unheard):
            self.streams.on_data = None
            self._end()
            raise

    def _talk(self, deadline: float | None, cancel: threading.Event | None) -> bool:
        """Pump until the command has said all; false when the deadline passed."""
        while not self._pump():
            if cancel is not None and cancel.is_set():
                raise Interrupted("interrupted")
            if deadline is not None and time.monotonic() > deadline:
                return False
            # One that has said nothing has not begun: of that, too, an engine says that it does not run.
            if self.streams.pid and time.monotonic() - self._heard > self._quiet:
                self._quiet *= 2
                if not self._is_running():
                    self._settle()
                    break
        return True

    def _settle(self) -> None:
        """Hear a command out that has ended: the engine knows that before it has passed on all words."""
        end = time.monotonic() + GRACE  # what it left running may talk for ever
        self._heard = time.monotonic()
        while not self._pump() and time.monotonic() < min(end, self._heard + SETTLING):
            pass

    def _pump(self) -> bool:
        """Move what can be moved; True when the other end has closed."""
        for _, events in self.selector.select(TICK):
            if events & selectors.EVENT_WRITE:
                self._send()
            if events & selectors.EVENT_READ and self._receive():
                return True
        return False

    def _receive(self) -> bool:
        try:
            while data := self.stream.raw.recv(CHUNK):
                self._heard, self._quiet = time.monotonic(), QUIET
                self.streams.feed(data)
        except _AGAIN:
            return False
        except ConnectionResetError:
            pass  # podman closes so where a command has not read all that it was given
        return True

    def _send(self) -> None:
        try:
            while self._sending:
                self._pending = self._pending or next(self.source, b"")
                if not self._pending:
                    break
                self._pending = self._pending[self.stream.raw.send(self._pending) :]
        except _AGAIN:
            return
        except (BrokenPipeError, ConnectionResetError):
            pass  # it does not listen: what it says is still read
        self._sending = False
        self.selector.modify(self.stream.raw, selectors.EVENT_READ)
        if not isinstance(self.stream.raw, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                self.stream.raw.shutdown(socket.SHUT_WR)

    def _is_running(self) -> bool:
        return bool(self.engine.api.exec_inspect(self.stream.id).get("Running"))

    def _code(self, cancel: threading.Event | None) -> int:
        """Ask for the exit code; the streams may close earlier than the engine knows it."""
        end, pause = time.monotonic() + KNOWING, 0.01
        while True:
            told = self.engine.api.exec_inspect(self.stream.id)
            if not told.get("Running") and told.get("ExitCode") is not None:
                return int(told["ExitCode"])
            if time.monotonic() > end:
                raise DockerException("the engine does not know how the command ended")
            if cancel is not None and cancel.is_set():
                raise Interrupted("interrupted")
            time.sleep(pause)
            pause = min(1.5 * pause, 0.5)

    def _end(self) -> None:
        """End the command and what it started in its session, by SIGTERM, then by SIGKILL."""
        with contextlib.suppress(*failures.TROUBLE):  # why it is to end is what is told
            self._signal()

    def _signal(self) -> None:
        end = time.monotonic() + BEGINNING
        while not self.streams.pid and time.monotonic() < end:
            if self._pump():
                return
        for signal in ("TERM", "KILL") if self.streams.pid else ():
            with contextlib.suppress(APIError):
                words = ["/bin/sh", "-c", _END, self.streams.pid, signal]
                made = self.engine.api.exec_create(self.container, words)
                self.engine.api.exec_start(made["Id"], detach=True)
            end = time.monotonic() + GRACE
            while time.monotonic() < end:
                if self._pump() or not self._is_running():
                    return
