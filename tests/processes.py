"""What runs on this machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def command_lines() -> dict[int, str]:
    """Map the pids of other processes to their command lines, in which a NUL ends every word."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found[int(path.parent.name)] = path.read_bytes().decode(errors="replace")
    found.pop(os.getpid(), None)
    return found


def find_commands(begin: str) -> list[str]:
    """Find processes by how their command line begins."""
    return [words for words in command_lines().values() if words.startswith(begin)]
