"""Finding key material where it must not be: on command lines, and in files that others can read."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LARGEST = 4 << 20
"""Bytes of a file that is still searched."""

_listening: list[list[str]] = []
_installed = False


def key_material(folder: Path) -> list[str]:
    """Return lines that only the deployment's private keys have; none where its guests have no ssh."""
    found = []
    for path in (*folder.glob("key"), *folder.glob("nodes/*/host_key")):
        body = [line for line in path.read_text().splitlines() if line and not line.startswith("-----")]
        found += body[2:]  # the lines before tell the type and the public half
    return found


@contextlib.contextmanager
def heard_commands() -> Iterator[list[str]]:
    """Hear the command line of every process that this one starts, however short it lives."""
    global _installed
    if not _installed:
        sys.addaudithook(_hear)  # cannot be removed again; it is idle while nobody listens
        _installed = True
    heard: list[str] = []
    _listening.append(heard)
    try:
        yield heard
    finally:
        _listening.remove(heard)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        words = arguments[1] if isinstance(arguments[1], (list, tuple)) else [arguments[1]]
        line = " ".join(os.fsdecode(word) for word in words)
        for heard in _listening:
            heard.append(line)


def living_commands() -> Iterator[str]:
    """Yield the command line of every process of the machine that can be seen."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")


def exposed_files(folders: Iterable[Path], secrets: Iterable[str]) -> list[str]:
    """List files below ``folders`` that hold a secret and can be read by others, with their mode."""
    wanted = [secret.encode() for secret in secrets]
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                mode = path.lstat().st_mode
                if not stat.S_ISREG(mode) or not mode & 0o077 or path.stat().st_size > LARGEST:
                    continue
                content = path.read_bytes()
                if any(secret in content for secret in wanted):
                    found.append(f"{path} (mode {stat.S_IMODE(mode):04o})")
    return found
