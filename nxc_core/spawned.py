"""Processes that outlive nxc: found again by a mark in their environment, whoever started them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "NXC_CLAIM"
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD, in the flags of /proc/PID/stat


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
    """Read the environment of a process; None where it ended, is a kernel thread, or is not ours to read."""
    try:
        if folder.stat().st_uid != os.geteuid() and os.geteuid() != 0:
            return None
        for pause in (0.001, 0.004, 0):  # execve(2) shows an empty one for a moment
            state, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
            if state in "ZX" or int(rest[5]) & _KERNEL_THREAD:
                return None
            content = (folder / "environ").read_bytes()
            if content:
                return content.split(b"\0")
            time.sleep(pause)
    except OSError:
        pass
    return None


def stop_spawned(token: str, *, grace: float = 5.0) -> bool:
    """End every process spawned with ``token``: SIGTERM, then SIGKILL. True when none is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in find_spawned(token):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + grace
        while time.monotonic() < end:
            if not find_spawned(token):
                return True
            time.sleep(0.02)
    return not find_spawned(token)
