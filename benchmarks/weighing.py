"""What a command and all the processes that it starts take: time, CPU, memory."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

PAGE = os.sysconf("SC_PAGE_SIZE")
INTERVAL = 0.02
RELATIVES = 5
"""Seconds between two looks at memory, and how many of them until new processes are looked for."""


@frozen(kw_only=True)
class Weight:
    """Seconds, and MiB: of the largest process, and of all that ran at the same time together.

    CPU and ``largest`` are the kernel's own account of a command and of everyone that it waited for;
    ``together`` is the largest of the sums seen every 20 ms, where a page that two processes share counts
    twice, and a new process is seen within 100 ms.
    """

    wall: float
    cpu: float
    largest: float
    together: float
    stdout: str


def weigh(
    argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Weight:
    """Run a command to its end; a failure ends the benchmark with what it said."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        child = subprocess.Popen(
            [str(word) for word in argv],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        with watching(child.pid) as peak:
            _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            told = err.read().decode(errors="replace")
            raise SystemExit(f"{' '.join(map(str, argv))} failed ({child.returncode}):\n{told[-3000:]}")
        largest = usage.ru_maxrss / 1024
        return Weight(
            wall=wall,
            cpu=usage.ru_utime + usage.ru_stime,
            largest=largest,
            together=max(peak[0], largest),
            stdout=out.read().decode(errors="replace"),
        )


@contextlib.contextmanager
def watching(pid: int) -> Iterator[list[float]]:
    """Look at a process and all below it until the end; the list holds the largest sum so far, in MiB."""
    peak = [0.0]
    done = threading.Event()

    def look() -> None:
        members: list[int] = []
        for round in itertools.count():
            if round % RELATIVES == 0:
                members = family(pid)
            peak[0] = max(peak[0], sum(map(resident, members)) / (1 << 20))
            if done.wait(INTERVAL):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def family(pid: int) -> list[int]:
    """List a process and all that it and they started, as of now."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(process.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def resident(pid: int) -> int:
    """Bytes that a process has in memory; none when it went meanwhile."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0
