"""Locks that keep out other processes, on NFS too, and other threads of this one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from nxc_core.errors import StateError


@contextlib.contextmanager
def locked(path: Path, *, what: str, wait: bool = False) -> Iterator[None]:
    """Hold a lock file (fcntl, which NFS homes know); raises StateError naming who holds it."""
    with _locked_here(path.resolve(), what, wait), _locked_file(path, what, wait):
        yield


_held: set[Path] = set()
_change = threading.Condition()


@contextlib.contextmanager
def _locked_here(path: Path, what: str, wait: bool) -> Iterator[None]:
    """Keep out other threads, whom fcntl lets in; closing a file of theirs would even end our lock."""
    with _change:
        if path in _held and not wait:
            raise StateError(
                f"another thread of this process is at work on {what}",
                hint="wait for it; nothing was changed",
            )
        _change.wait_for(lambda: path not in _held)
        _held.add(path)
    try:
        yield
    finally:
        with _change:
            _held.discard(path)
            _change.notify_all()


@contextlib.contextmanager
def _locked_file(path: Path, what: str, wait: bool) -> Iterator[None]:
    handle = _open_locked(path, what, wait)
    while not _is_at(handle, path):  # whoever held it removed it with its folder: it keeps out nobody
        os.close(handle)
        handle = _open_locked(path, what, wait)
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def _open_locked(path: Path, what: str, wait: bool) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        holder = os.pread(handle, 32, 0).decode(errors="replace").strip()
        os.close(handle)
        raise StateError(
            f"another nxc is at work on {what}" + (f" (process {holder})" if holder else ""),
            hint="wait for it, or end it; nothing was changed",
        ) from error
    except BaseException:  # Ctrl-C, while it waits
        os.close(handle)
        raise
    return handle


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
