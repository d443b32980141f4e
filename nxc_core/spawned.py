"""Processes that outlive nxc: found again by a mark in their environment, whoever started them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "NXC_CLAIM"
_EXITING, _KERNEL_THREAD = 0x00000004, 0x00200000  # PF_EXITING and PF_KTHREAD, in the flags of /proc/PID/stat
PATIENCE = 10.0
"""Seconds that a process is waited for that has no environment, as it ends or loads a program."""
_stuck: set[tuple[str, str]] = set()
"""Processes, by pid and start, that were waited for in vain."""


def find_spawned(token: str) -> list[int]:
    """List the living processes that were spawned with ``token``, their children included."""
    wanted = _mark(token)
    return [pid for pid, variables in _environments() if wanted in variables]


def is_spawned(pid: int, token: str) -> bool:
    """Whether this living process was spawned with ``token``."""
    return _mark(token) in (_variables(Path("/proc") / str(pid)) or [])


def _mark(token: str) -> bytes:
    return f"{VARIABLE}={token}".encode()


def find_all_spawned(prefix: str) -> dict[int, str]:
    """Map the pid of every living spawned process whose token starts with ``prefix`` to the token."""
    start = _mark(prefix)
    found = {}
    for pid, variables in _environments():
        for variable in variables:
            if variable.startswith(start):
                found[pid] = variable.partition(b"=")[2].decode()
    return found


def _environments() -> Iterator[tuple[int, list[bytes]]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            variables = _variables(folder)
            if variables is not None:
                yield int(folder.name), variables


def _variables(folder: Path) -> list[bytes] | None:
    """Read the environment of a process; None where it ended, is a kernel thread, or is not ours to read.

    There is none to read while execve(2) loads a program, nor while a process ends: that takes the longer the
    larger its memory is, and only then are its ports, locks and control group free. Both are waited for.
    """
    try:
        if folder.stat().st_uid != os.geteuid() and os.geteuid() != 0:
            return None
        end, pause = time.monotonic() + PATIENCE, 0.001
        while True:
            state, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
            flags, threads, began, env_end = int(rest[5]), int(rest[16]), rest[18], rest[47]
            if flags & _KERNEL_THREAD or (state in "ZX" and threads < 2):
                return None
            content = _read_environment(folder, state)
            if content:
                return content.split(b"\0")
            if not flags & _EXITING and int(env_end) or (folder.name, began) in _stuck:
                return None
            if time.monotonic() > end:
                _stuck.add((folder.name, began))
                return None
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
    except OSError:
        pass
    return None


def _read_environment(folder: Path, state: str) -> bytes:
    """Return the environment of one of a process's threads: the first may have ended before the others."""
    threads = folder.glob("task/*") if state in "ZX" else ()
    for one in (folder, *threads):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has no memory, or has ended
            content: bytes = (one / "environ").read_bytes()
            if content:
                return content
    return b""


def stop_spawned(token: str, *, grace: float = 5.0) -> bool:
    """End every process spawned with ``token``: SIGTERM, then SIGKILL. True when none is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        told: set[int] = set()
        end = time.monotonic() + grace
        while left := find_spawned(token) or (
            told and find_spawned(token)
        ):  # one look misses what just forks
            for pid in {*left} - told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            told.update(left)
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        else:
            return True
    return not find_spawned(token)
