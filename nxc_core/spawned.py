"""Processes that outlive nxc: found again by a mark in their environment, whoever started them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence

VARIABLE = "NXC_CLAIM"
_EXITING, _KERNEL_THREAD = 0x00000004, 0x00200000  # PF_EXITING and PF_KTHREAD, in the flags of /proc/PID/stat
PATIENCE = 10.0
"""Seconds that a process is waited for that has no environment, as it ends or loads a program."""
_stuck: set[tuple[str, bytes]] = set()
"""Processes, by pid and start, that were waited for in vain."""


def find_spawned(token: str) -> list[int]:
    """List the living processes that were spawned with ``token``, their children included."""
    return list(_having(token))


def is_any_spawned(token: str) -> bool:
    """Whether any process lives that was spawned with ``token``, or a child of one."""
    return any(_having(token))


def is_spawned(pid: int, token: str) -> bool:
    """Whether this living process was spawned with ``token``."""
    return any(_mark(token) in content.split(b"\0") for _, content in _environments([str(pid)]))


def find_all_spawned(prefix: str) -> dict[int, str]:
    """Map the pid of every living spawned process whose token starts with ``prefix`` to the token."""
    start = _mark(prefix)
    found = {}
    for name, content in _environments(os.listdir("/proc")):  # noqa: PTH208 - twice as fast
        for variable in content.split(b"\0") if start in content else ():
            if variable.startswith(start):
                found[int(name)] = variable.partition(b"=")[2].decode()
    return found


def _mark(token: str) -> bytes:
    return f"{VARIABLE}={token}".encode()


def _having(token: str) -> Iterator[int]:
    wanted = _mark(token)
    for name, content in _environments(os.listdir("/proc")):  # noqa: PTH208 - twice as fast
        if wanted in content and wanted in content.split(b"\0"):
            yield int(name)


def _environments(names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the environments of living processes that are ours to read, by their names in /proc.

    None is to be read while execve(2) loads a program, nor while a process ends: that takes the longer the
    larger its memory is, and only then are its ports, locks and control group free. Both are awaited, last.
    """
    end, pause = time.monotonic() + PATIENCE, 0.001
    while names:
        unsure: dict[str, bytes] = {}
        for name in names:
            if name.isdigit():
                content, began = _read_environment(f"/proc/{name}")
                if content:
                    yield name, content
                elif began and (name, began) not in _stuck:
                    unsure[name] = began
        if unsure and time.monotonic() > end:
            _stuck.update(unsure.items())
            return
        if unsure:
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        names = list(unsure)


def _read_environment(folder: str) -> tuple[bytes, bytes]:
    """Read the environment of a process; where there may yet be one, or it is about to end, when it began."""
    try:
        if content := _read(f"{folder}/environ"):
            return content, b""
        fields = _read_stat(folder)
        if not fields:
            return b"", b""
        state, flags, threads, began, env_end = (fields[number] for number in (0, 6, 17, 19, 48))
        if int(flags) & _KERNEL_THREAD or (state in b"ZX" and int(threads) < 2):
            return b"", b""
        for thread in os.listdir(f"{folder}/task"):  # noqa: PTH208 - the first may have ended before others
            if content := _read(f"{folder}/task/{thread}/environ"):
                return content, b""
        return b"", began if int(flags) & _EXITING or not int(env_end) else b""
    except OSError:  # it has ended, or is someone else's
        return b"", b""


def is_ending(pid: int) -> bool:
    """Whether a process has ended, or is about to: a namespace's first one then has taken all in it along."""
    fields = _read_stat(f"/proc/{pid}")
    return not fields or fields[0] in b"ZX" or bool(int(fields[6]) & _EXITING)


def _read_stat(folder: str) -> list[bytes]:
    """Return what follows the name in /proc/PID/stat, see proc(5); nothing of a process that is gone."""
    return _read(f"{folder}/stat").rpartition(b")")[2].split()


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
        # One look misses what just forks.
        while left := find_spawned(token) or (told and find_spawned(token)):
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
