"""What a command is, and how one has ended."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import field, frozen

from nxc_core.errors import CommandError

OnLine = Callable[[str], None]
OnData = Callable[[str, bytes], None]
"""Hears what a command writes, as it comes: to ``stdout`` or ``stderr``, and what."""


@frozen(kw_only=True)
class Completed:
    """How a command ended. ``code`` is negative for a signal."""

    argv: tuple[str, ...]
    code: int
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        """Standard error as text."""
        return self.stderr.decode("utf-8", "replace")


@frozen(kw_only=True)
class Command:
    """One command for ``run_all`` or a flow. ``timeout`` and ``on_line`` stand above those of the batch."""

    argv: tuple[str, ...]
    stdin: bytes | Path | None = field(default=None, repr=False)
    output: Path | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    cwd: Path | None = None
    timeout: float | None = None
    on_line: OnLine | None = field(default=None, repr=False)


def failure(ended: Completed) -> CommandError:
    """Say how a command failed, with the end of what it wrote."""
    tail = "\n".join((ended.error_text.strip() or ended.text.strip()).splitlines()[-15:])
    how = f"was ended by signal {-ended.code}" if ended.code < 0 else f"failed with exit code {ended.code}"
    message = f"`{shlex.join(ended.argv)}` {how}" + (f":\n{tail}" if tail else "")
    return CommandError(message, argv=ended.argv, code=ended.code, stderr=ended.error_text)
