"""The worker: makes the layers of a job, and says how it goes in JSON lines."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from nxc_core.errors import BuildError, CommandError, NxcError
from nxc_core.process import run
from nxc_debian import tars
from nxc_debian.inside import base, layer
from nxc_debian.inside.root import mount

HEARTBEAT = 5.0


def main(job_file: Path) -> int:
    """Make every layer of the job; 1 when one was not made."""
    os.umask(0o022)
    job = json.loads(job_file.read_text())
    folder = Path(job["work"])
    if job["memory"]:
        mount("-t", "tmpfs", "-o", "mode=755,size=90%", "tmpfs", str(folder))
    failed = _attempt(job["tasks"], job, folder, only="base", jobs=1)
    tasks = [task for task in job["tasks"] if task["make"] != "base"]
    if failed:
        return 1
    if any(task["make"] != "squash" for task in tasks) and not (folder / "base").is_dir():
        say(step="unpacking the base system")
        (folder / "base").mkdir()
        run(
            (
                "tar",
                "-x",
                "-p",
                "--numeric-owner",
                "--xattrs",
                "--xattrs-include=*",
                "-C",
                str(folder / "base"),
                "-f",
                job["base"],
            ),
            timeout=1800,
        )
    return 1 if _attempt(tasks, job, folder, only=None, jobs=job["jobs"]) else 0


def say(**words: Any) -> None:
    """Tell nxc something; ends the worker when nobody listens any more."""
    line = json.dumps(words) + "\n"
    with contextlib.suppress(BlockingIOError):
        os.write(1, line.encode())


def _attempt(
    tasks: list[dict[str, Any]], job: dict[str, Any], folder: Path, *, only: str | None, jobs: int
) -> bool:
    """Make layers, each in a process of its own and ``jobs`` at once; all are tried. True when one failed."""
    waiting = [task for task in tasks if only in (None, task["make"])]
    running: dict[int, dict[str, Any]] = {}
    failed = False
    beat = time.monotonic()
    while waiting or running:
        while waiting and len(running) < jobs:
            task = waiting.pop(0)
            running[_fork(partial(_make, task, job, folder))] = task
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in running:
            task = running.pop(pid)
            failed = failed or status != 0
            if os.WIFSIGNALED(status):
                say(
                    error=f"the process that made {task['title']} was killed (signal {os.WTERMSIG(status)})",
                    hint="memory may have run out: -o debian.scratch=disk",
                )
        elif pid == 0:
            time.sleep(0.01)
        if time.monotonic() > beat + HEARTBEAT:
            beat = time.monotonic()
            say(beat=True)  # nobody reads it when nxc was killed: that ends us
    return failed


def _fork(act: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        act()
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def _make(task: dict[str, Any], job: dict[str, Any], folder: Path) -> None:
    try:
        say(step=f"building {task['title']}", layer=task["layer"])
        _pack(task, job, folder)
        say(done=task["layer"])
    except NxcError as error:
        say(
            error=f"{task['title']}: {error.message}"[-3000:]
            if len(error.message) > 2900
            else f"{task['title']}: {error.message}",
            hint=error.hint[:500],
        )
        raise
    except OSError as error:
        say(error=f"{task['title']}: {error.strerror}: {error.filename or ''}"[:3000])
        raise


def _pack(task: dict[str, Any], job: dict[str, Any], folder: Path) -> None:
    epoch, out = int(job["epoch"]), Path(task["out"])
    tar = out / f"{task['layer']}.tar"
    told: dict[str, Any] = {}
    if task["make"] == "base":
        root = base.make_base(task, folder, epoch)
        told["digest"] = tars.write(tar, tars.scan(root, epoch, skip=layer.SKIPPED))
    elif task["make"] == "squash":
        tar = Path(task["tar"])
    else:
        entries = layer.make_layer(task, job, folder, epoch, told)
        told["digest"] = tars.write(tar, entries)
    if task["squash"]:
        squash(tar, out / f"{task['layer']}.squashfs", int(job["level"]), epoch)
    (out / f"{task['layer']}.json").write_text(json.dumps(told))


def squash(tar: Path, target: Path, level: int, epoch: int) -> None:
    """Compress a tar to a squashfs, as root of the namespace: ``/`` becomes the caller's."""
    argv: tuple[str, ...] = ("mksquashfs", "-", str(target), "-tar", "-noappend", "-quiet", "-no-progress")
    argv += ("-no-exports", "-root-mode", "755", "-comp", "zstd", "-Xcompression-level", str(level))
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}  # holds for /, too, which no option gives a time
    try:
        run(argv, stdin=tar, timeout=3600, env=env)
    except CommandError as error:
        raise BuildError(f"not compressed: {error.message}") from error


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
