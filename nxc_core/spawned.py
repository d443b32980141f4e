"""Processes that outlive nxc: found again by a mark in their environment, whoever started them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

VARIABLE = "NXC_CLAIM"
_EXITING, _KERNEL_THREAD = 0x00000004, 0x00200000  # PF_EXITING and PF_KTHREAD, in the flags of /proc/PID/stat
PATIENCE = 10.0
"""Seconds that a process is waited for that has no environment, as it ends or loads a program."""
_stuck: set[tuple[str, bytes]] = set()
"""Processes, by folder and start, that were waited for in vain."""


def find_spawned(token: str) -> list[int]:
    """List the living processes that were spawned with ``token``, their children included."""
    wanted = _mark(token)
    return [pid for pid, variables in _environments(wanted) if wanted in variables]


def is_spawned(pid: int, token: str) -> bool:
    """Whether this living process was spawned with ``token``."""
    return _mark(token) in _read_environment(f"/proc/{pid}").split(b"\0")


def _mark(token: str) -> bytes:
    return f"{VARIABLE}={token}".encode()


def find_all_spawned(prefix: str) -> dict[int, str]:
    """Map the pid of every living spawned process whose token starts with ``prefix`` to the token."""
    start = _mark(prefix)
    found = {}
    for pid, variables in _environments(start):
        for variable in variables:
            if variable.startswith(start):
                found[pid] = variable.partition(b"=")[2].decode()
    return found


def _environments(mark: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the pid and the variables of the processes that have a mark somewhere among them."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - many a time, and twice as fast
        if name.isdigit() and mark in (content := _read_environment(f"/proc/{name}")):
            yield int(name), content.split(b"\0")


def _read_environment(folder: str) -> bytes:
    """Read the environment of a process; nothing where it ended, is a kernel thread, or is not ours to read.

    There is none to read while execve(2) loads a program, nor while a process ends: that takes the longer the
    larger its memory is, and only then are its ports, locks and control group free. Both are waited for.
    """
    end, pause = time.monotonic() + PATIENCE, 0.001
    try:
        while True:
            if content := _read(f"{folder}/environ"):
                return content
            fields = _read(f"{folder}/stat").rpartition(b")")[2].split()
            if not fields:
                return b""
            state, flags, threads, began, env_end = (fields[number] for number in (0, 6, 17, 19, 48))
            is_exiting = bool(int(flags) & _EXITING)
            if int(flags) & _KERNEL_THREAD or (state in b"ZX" and int(threads) < 2):
                return b""
            for thread in os.listdir(f"{folder}/task"):  # noqa: PTH208 - the first may have ended before others
                if content := _read(f"{folder}/task/{thread}/environ"):
                    return content
            if not is_exiting and int(env_end) or (folder, began) in _stuck:
                return b""
            if time.monotonic() > end:
                _stuck.add((folder, began))
                return b""
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
    except OSError:  # it has ended, or is someone else's
        return b""


def _read(path: str) -> bytes:
    """Read a file of a process; nothing of a thread that has no memory any more, or has ended."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb", buffering=0) as source:
            return source.readall()
    except (ProcessLookupError, FileNotFoundError):
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
