"""A Python prompt with the variables of a test script: ``nxc driver`` without ``-t``."""

from __future__ import annotations

import code
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nxc_core.errors import NxcError
from nxc_core.script import run_script
from nxc_core.script_driver import Driver

if TYPE_CHECKING:
    from nxc_core.running import Running


def interact(running: Running, pause: Callable[[], None]) -> None:
    """Offer a prompt until its end. ``test_script()`` runs the composition's own script."""
    driver = Driver(running)
    scope: dict[str, Any] = {"__name__": "__console__", **driver.symbols()}
    scope.pop("print")  # at a prompt, print prints
    script = running.deployment.composition.test_script
    scope["test_script"] = lambda: run_script(running, script or "")
    names = ", ".join(driver.nodes)
    banner = f"{running.id}: nodes {names}; also start_all(), subtest, retry, parallel, test_script(); exit()"
    history = running.session.workspace.root / "driver_history"
    with _interruptible(), _line_editing(scope, history), contextlib.suppress(SystemExit):
        _Prompt(scope, pause).interact(banner=banner, exitmsg="")


class _Prompt(code.InteractiveConsole):
    """Shows what a node said without nxc's own frames."""

    def __init__(self, scope: dict[str, Any], pause: Callable[[], None]) -> None:
        super().__init__(scope)
        self.pause = pause

    def raw_input(self, prompt: str = "") -> str:
        self.pause()
        return super().raw_input(prompt)

    def showtraceback(self) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, KeyboardInterrupt):
            self.write("\ninterrupted\n")
        elif isinstance(error, NxcError):
            hint = f"hint: {error.hint}\n" if error.hint else ""
            self.write(f"{error.message}\n{hint}")
        else:
            super().showtraceback()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end one command, not the whole operation."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


@contextlib.contextmanager
def _line_editing(scope: dict[str, Any], history: Path) -> Iterator[None]:
    """Complete by Tab and keep a history, where Python has readline."""
    try:
        import readline
        import rlcompleter
    except ImportError:
        yield
        return
    readline.set_completer(rlcompleter.Completer(scope).complete)
    readline.parse_and_bind("tab: complete")
    with contextlib.suppress(OSError):
        os.close(os.open(history, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        readline.read_history_file(history)
    try:
        yield
    finally:
        readline.set_completer(None)
        with contextlib.suppress(OSError):
            readline.set_history_length(1000)
            readline.write_history_file(history)
