"""Small things about files: replace whole, digest, lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nxc_core.errors import BuildError
from nxc_core.operation import Operation

LONGEST_HOLD = 3 * 3600.0
"""Seconds to wait for another nxc that makes the same thing."""


def digest(value: Any) -> str:
    """Return the sha256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def replace_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file whole; one with this text already is left alone."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text() == text and path.stat().st_mode & 0o777 == mode:
            return
    with disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(text)
                os.fchmod(handle, mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def disk_full(path: Path) -> Iterator[None]:
    """Turn a full disk into a BuildError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise no_space(path) from error


def no_space(path: Path) -> BuildError:
    """Say that the disk is full, and the way out."""
    return BuildError(
        f"no space left for {path}",
        hint="free some space (`nxc clean` shows what nxc keeps), or set XDG_CACHE_HOME to another disk",
    )


@contextlib.contextmanager
def held(path: Path, op: Operation, what: str) -> Iterator[None]:
    """Hold a lock between processes; while another nxc has it, say so and wait."""
    with disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        end = time.monotonic() + LONGEST_HOLD
        told = time.monotonic()
        while not _try_lock(handle):
            op.check_cancelled()
            if time.monotonic() > end:
                raise BuildError(
                    f"another nxc has been at {what} for too long", hint="end it, or remove " + str(path)
                )
            if time.monotonic() > told:
                op.step(f"waiting for another nxc that is at {what}", topic="build")
                told = time.monotonic() + 10
            op.cancel.wait(0.1)
        yield
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether some process holds this lock."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(handle)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        # of the open file, not of the process: threads of one program exclude each other too
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True
