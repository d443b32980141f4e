"""Talking to a node through its engine: commands with both streams and their own exit code."""

from __future__ import annotations

import errno
import shlex
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from nxc_core import CommandError
from nxc_core.connect import LOST, Copying
from nxc_core.process import Completed
from nxc_docker import failures
from nxc_docker.engine import Engine
from nxc_docker.exec import Unheard, execute

SHELL = ("/bin/sh", "-c", 'exec "$(command -v bash || command -v sh)" -l')

_FULL = (errno.ENOSPC, errno.EDQUOT)


class EngineConnection(Copying):
    """Runs commands as root through the engine's API; keeps nothing open between them."""

    def __init__(self, engine: Engine, container: str, cancel: threading.Event | None = None) -> None:
        self.engine = engine
        self.container = container
        self.cancel = cancel

    def _execute(
        self,
        argv: Sequence[str],
        timeout: float | None,
        stdin: bytes | Path | None,
        output: Path | None,
    ) -> Completed:
        words = tuple(argv)
        try:
            ended = execute(
                self.engine,
                self.container,
                words,
                stdin=stdin,
                output=output,
                timeout=timeout,
                cancel=self.cancel,
                on_data=self.on_data,
            )
        except Unheard as error:
            cause = error.__cause__
            assert cause is not None
            if isinstance(cause, OSError) and output is not None and self.on_data is None:
                raise _tell_file(cause, output, words) from cause
            raise cause from None
        except failures.TROUBLE as error:
            if isinstance(error, OSError) and (error.filename or error.errno in _FULL):
                raise _tell_file(error, output, words) from error
            lost = failures.explain(error, self.container, self.engine.url)
            raise CommandError(f"{LOST}: {lost.message}", argv=words, code=None, hint=lost.hint) from error
        if ended.code is None:
            told = ended.stderr[-2000:].decode("utf-8", "replace").strip()
            raise CommandError(
                f"`{shlex.join(words)}` was not done after {timeout:g} s" + (f":\n{told}" if told else ""),
                argv=words,
                code=None,
                stderr=told,
            )
        return Completed(argv=words, code=ended.code, stdout=ended.stdout, stderr=ended.stderr)

    def shell_argv(self, argv: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the words of the engine's own command line tool, on a terminal where there is one."""
        terminal = "-it" if sys.stdin.isatty() else "-i"
        return (*self.engine.program, "exec", terminal, self.container, *(argv or SHELL))

    def close(self) -> None:
        """Nothing is kept open."""


def _tell_file(error: OSError, output: Path | None, argv: tuple[str, ...]) -> CommandError:
    """Say that it is a file of this machine that fails, and neither node nor engine."""
    return CommandError(
        f"{error.filename or output}: {error.strerror}",
        argv=argv,
        code=None,
        hint="this is about a file of this machine: see that it may be used, and that its disk is not full",
    )
