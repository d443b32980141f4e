"""Where progress goes: plain lines, live lines on a terminal, JSON lines, a file. Results go elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from attrs import define, field

from nxc_core.output import write

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

    from nxc_core.model import Event

BEAT = 25.0
"""Seconds after which a log hears what is still going on."""
_DETAIL = frozenset({"debug", "detail", "command"})
_LASTING = frozenset({"warning", "print", "stderr", "quarantine"})
"""Topics whose lines stay on a terminal."""
_ENDINGS = frozenset({"built", "deployed", "stopped"})
"""Topics that end what went on before."""


class Sink(Protocol):
    """Hears events, from any thread. After ``close`` it may hear more, and be closed again."""

    def __call__(self, event: Event) -> None:
        """Show or keep an event."""
        ...

    def close(self) -> None:
        """Leave the terminal to others, lose nothing."""
        ...


def choose_sink(
    stream: IO[str], *, verbose: int = 0, quiet: bool = False, environ: Mapping[str, str] | None = None
) -> Sink:
    """Return live lines for a terminal that can show them, plain lines for anything else."""
    environ = os.environ if environ is None else environ
    able = stream.isatty() and environ.get("TERM", "dumb") not in ("dumb", "") and not environ.get("CI")
    if able and not quiet and not verbose:
        return LiveSink(stream)
    return PlainSink(stream, verbose=verbose, quiet=quiet)


def lines_of(event: Event) -> list[str]:
    """Return an event's message as lines that cannot steer a terminal."""
    from nxc_core.output import printable

    lines = [printable(line) for line in event.message.splitlines()] or [""]
    last = event.data.get("last_line")
    if last:
        lines.append(f"last line: {printable(str(last))}")
    if event.topic == "warning":
        lines[0] = f"warning: {lines[0]}"
    return lines


def is_shown(event: Event, *, verbose: int, quiet: bool) -> bool:
    """Whether a person who asked for this much wants to see the event."""
    if quiet:
        return event.topic == "warning"
    return verbose > 0 or event.topic not in _DETAIL


class _Memory:
    """What was told already: a warning passes once, the end of a step only if it says something new."""

    def __init__(self) -> None:
        self._warned: set[tuple[str, str | None]] = set()
        self._begun: set[tuple[str, str | None]] = set()

    def lines(self, event: Event) -> list[str]:
        """Return what is to be shown of an event; nothing where that was shown before."""
        key = (event.message, event.node)
        if event.topic == "warning":
            if key in self._warned:
                return []
            self._warned.add(key)
        lines = lines_of(event)
        if event.data.get("phase") == "begin":
            self._begun.add(key)
        elif event.data.get("phase") == "end" and key in self._begun:
            self._begun.discard(key)
            seconds = float(str(event.data.get("seconds") or 0))
            if event.data.get("ok", True):
                return [f"done after {seconds:.1f} s: {lines[0]}"] if seconds >= 1 else []
            return [f"failed after {seconds:.1f} s: {lines[0]}"]
        return lines


class PlainSink:
    """A line per event: time, node, message. Repeats the last step in a long silence."""

    def __init__(self, stream: IO[str], *, verbose: int = 0, quiet: bool = False, beat: float = BEAT) -> None:
        self.stream = stream
        self.verbose = verbose
        self.quiet = quiet
        self.beat = beat
        self._memory = _Memory()
        self._lock = threading.Lock()
        self._width = 0
        self._last = ""
        self._since = self._written = time.monotonic()
        self._stop: threading.Event | None = None

    def __call__(self, event: Event) -> None:
        with self._lock:
            lines = self._memory.lines(event)
            if not lines or not is_shown(event, verbose=self.verbose, quiet=self.quiet):
                return
            first, *others = lines
            if self.verbose > 1 and event.data:
                others.append(json.dumps(dict(event.data), sort_keys=True, default=str))
            self._width = max(self._width, len(event.node or ""))
            node = (event.node or "").ljust(self._width)
            stamp = time.strftime("%H:%M:%S", time.localtime(event.time))
            self._write("\n".join([f"{stamp} {node}  {first}", *(f"{'':9}{line}" for line in others)]))
            self._last = f"{event.node}: {first}" if event.node else first
            self._since = time.monotonic()
            if not self.quiet:
                self._start()

    def _write(self, text: str) -> None:
        write(self.stream, "\n".join(line.rstrip() for line in text.split("\n")) + "\n")
        self._written = time.monotonic()

    def _start(self) -> None:
        if self._stop is None:
            self._stop = threading.Event()
            threading.Thread(target=self._repeat, args=(self._stop,), daemon=True, name="nxc-beat").start()

    def _repeat(self, stop: threading.Event) -> None:
        while not stop.wait(max(0.01, self._written + self.beat - time.monotonic())):
            with self._lock:
                now = time.monotonic()
                if not stop.is_set() and now - self._written >= self.beat:
                    stamp = time.strftime("%H:%M:%S")
                    self._write(f"{stamp} {'':{self._width}}  still: {self._last}, {now - self._since:.0f} s")

    def close(self) -> None:
        """Stop repeating."""
        with self._lock:
            if self._stop is not None:
                self._stop.set()
                self._stop = None


class FileSink:
    """Everything into a file that only its owner reads: text, or JSON lines where it is called ``.jsonl``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._append("")

    def _append(self, text: str) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)

    def __call__(self, event: Event) -> None:
        buffer = io.StringIO()
        inner = JsonlSink(buffer) if self.path.suffix == ".jsonl" else _TextSink(buffer)
        inner(event)
        with self._lock, contextlib.suppress(OSError):  # a full disk must not stop the work that it reports
            self._append(buffer.getvalue())

    def close(self) -> None:
        """Nothing is kept back."""


class _TextSink:
    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def __call__(self, event: Event) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.time))
        for line in lines_of(event):
            write(self.stream, f"{stamp} {event.topic:8} {event.node or '-'} {line}\n")

    def close(self) -> None:
        return None


class JsonlSink:
    """A JSON object per event, for programs."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def __call__(self, event: Event) -> None:
        fields = {"time": event.time, "topic": event.topic, "node": event.node, "message": event.message}
        write(
            self.stream, json.dumps({**fields, "data": dict(event.data)}, sort_keys=True, default=str) + "\n"
        )

    def close(self) -> None:
        """Nothing is kept back."""


@define
class _Row:
    """What a node, or the verb itself, is at."""

    message: str
    since: float = field(factory=time.monotonic)
    settled: float | None = None

    def seconds(self) -> float:
        return (self.settled or time.monotonic()) - self.since


class LiveSink:
    """A moving line per node and one for what is going on; lines that matter stay above them.

    What writes holds our lock, then rich's; rich renders under its own, so rendering must not ask for ours.
    """

    def __init__(self, stream: IO[str], *, console: Console | None = None) -> None:
        self.stream = stream
        self._console = console
        self._live: Live | None = None
        self._lock = threading.RLock()
        self._memory = _Memory()
        self._step: _Row | None = None
        self._rows: dict[str, _Row] = {}  # replaced, never changed

    def __call__(self, event: Event) -> None:
        with self._lock:
            if not is_shown(event, verbose=0, quiet=False):
                return
            lines = self._memory.lines(event)
            row = event.node or _text(event.data.get("layer"))
            if event.data.get("phase") == "end" or event.data.get("done"):
                self._rows = {name: one for name, one in self._rows.items() if name != row}
                lines = lines or [f"{lines_of(event)[0]}  {event.data.get('seconds', 0):.1f} s"]
                self._tell(event, lines)
            elif event.topic in _ENDINGS:
                self._finish()
                self._tell(event, lines)
            elif event.topic in _LASTING:
                self._tell(event, lines)
            elif lines:
                self._move(event, row, lines)

    def _tell(self, event: Event, lines: list[str]) -> None:
        for line in lines:
            text = f"{event.node}: {line}" if event.node else line
            self._say(text, style="yellow" if event.topic == "warning" else "")

    def _move(self, event: Event, row: str, lines: list[str]) -> None:
        self._open()
        first, *others = lines
        if not row:
            self._finish_step()
            self._step = _Row(first)
            return
        former = self._rows.get(row)
        now = time.monotonic()
        since = former.since if former and former.settled is None and event.topic != "test" else now
        self._rows = {**self._rows, row: _Row(first, since, now if event.topic == "outcome" else None)}
        for line in others:
            self._say(f"{row}: {line}")

    def _finish(self) -> None:
        """Leave the last state of each node on the screen, as lines that stay."""
        self._finish_step()
        width = max((len(name) for name in self._rows), default=0)
        rows, self._rows = self._rows, {}
        for name, row in sorted(rows.items()):
            self._say(f"  {name:{width}}  {row.message}  {row.seconds():.0f} s")

    def _say(self, text: str, *, style: str = "") -> None:
        if self._live is None:
            write(self.stream, text + "\n")
        else:
            self.console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)

    @property
    def console(self) -> Console:
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self.stream, markup=False, highlight=False, emoji=False)
        return self._console

    def _open(self) -> None:
        if self._live is None:
            from rich.live import Live

            self._live = Live(
                _Lines(self._render), console=self.console, transient=True, refresh_per_second=4,
                redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._live.start()

    def _render(self) -> list[str]:
        """Return the moving lines; called by rich's thread several times a second, whoever writes."""
        rows, step = self._rows, self._step
        turning = "|/-\\"[int(time.monotonic() * 4) % 4]
        width = max((len(name) for name in rows), default=0)
        lines = [
            f"{' ' if row.settled else turning} {name:{width}}  {row.message}  {row.seconds():.0f} s"
            for name, row in sorted(rows.items())
        ]
        if step is not None:
            lines.append(f"{turning} {step.message}  {step.seconds():.0f} s")
        return lines

    def _finish_step(self) -> None:
        step, self._step = self._step, None
        if step is not None and step.seconds() >= 1:
            self._say(f"{step.message}  {step.seconds():.1f} s", style="dim")

    def close(self) -> None:
        """Give the terminal back; the last state of each node stays."""
        live = self._live
        if live is None:
            return
        live.stop()  # outside the lock: rich's thread may be rendering
        with self._lock:
            self._live = None
            self._finish()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


class _Lines:
    """Gives rich the lines of now, cut to the terminal's size."""

    def __init__(self, render: Callable[[], list[str]]) -> None:
        self.render = render

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        lines = self.render()
        room = max(1, console.size.height - 2)
        if len(lines) > room:
            lines = [*lines[: room - 1], f"  and {len(lines) - room + 1} more"]
        for line in lines:
            yield Text(line, no_wrap=True, overflow="crop")


class Report:
    """Several sinks as one; it may be paused while the terminal belongs to someone else."""

    def __init__(self, *sinks: Sink) -> None:
        self.sinks = list(sinks)

    def __call__(self, event: Event) -> None:
        for sink in self.sinks:
            sink(event)

    def close(self) -> None:
        """Close all."""
        for sink in self.sinks:
            sink.close()

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
