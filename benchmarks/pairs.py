"""Measuring two ways of doing the same, in turn, in one run."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import frozen


@frozen
class Cost:
    """What one run took, in seconds; CPU is user and system time of all its processes."""

    wall: float
    cpu: float


Run = Callable[[], Cost]


def measure(
    argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Cost:
    """Run a command to its end and return its cost; a failure ends the benchmark with what it said."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run(
        [str(word) for word in argv],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        capture_output=True,
        check=False,
    )
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{argv} failed:\n{done.stderr.decode(errors='replace')[-3000:]}")
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def compare(
    title: str, ours: Run, theirs: Run, *, n: int, limit: str = "", warm: bool = True
) -> tuple[float, float]:
    """Run both sides ``n`` times in turn; print medians, ratios and load. Answers the ratios (wall, CPU)."""
    if warm:
        ours()
        theirs()
    mine: list[Cost] = []
    other: list[Cost] = []
    load = os.getloadavg()[0]
    for index in range(n):
        for side, run in (
            ((mine, ours), (other, theirs)) if index % 2 == 0 else ((other, theirs), (mine, ours))
        ):
            side.append(run())
    sys.stdout.write(f"{title}  (n = {n} pairs, load {load:.1f} to {os.getloadavg()[0]:.1f})\n")
    for name, side in (("nxc", mine), ("other", other)):
        walls = sorted(cost.wall for cost in side)
        sys.stdout.write(
            f"  {name:6} wall {statistics.median(walls):8.3f} s ({walls[0]:.3f} to {walls[-1]:.3f})"
            f"   CPU {statistics.median(cost.cpu for cost in side):8.3f} s\n"
        )
    wall = statistics.median(a.wall / b.wall for a, b in zip(mine, other, strict=True))
    cpu = statistics.median(a.cpu / max(b.cpu, 0.001) for a, b in zip(mine, other, strict=True))
    extra = statistics.median(a.wall - b.wall for a, b in zip(mine, other, strict=True))
    more = statistics.median(a.cpu - b.cpu for a, b in zip(mine, other, strict=True))
    sys.stdout.write(
        f"  ratio  wall {wall:8.3f}   CPU {cpu:8.3f}   difference wall {extra:.3f} s, CPU {more:.3f} s\n"
    )
    if limit:
        sys.stdout.write(f"  aim    {limit}\n")
    sys.stdout.flush()
    return wall, cpu
