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
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

from nxc_core.errors import Interrupted, NxcError
from nxc_core.script import run_script
from nxc_core.script_completion import DELIMITERS, Completer
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
    banner = (
        f"{running.id}: nodes {names}; also start_all(), subtest, retry, parallel, test_script(); exit()\n"
        "Tab completes, Ctrl-C ends a command, Ctrl-D leaves; nodes stay as they are"
    )
    history = running.session.workspace.root / "driver_history"
    with (
        _Interruption(running.op.cancel) as interruption,
        _line_editing(scope, history),
        contextlib.suppress(SystemExit),
    ):

        def begin() -> None:
            interruption.forget()
            pause()

        _Prompt(scope, begin).interact(banner=banner, exitmsg="")


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
        if isinstance(error, (KeyboardInterrupt, Interrupted)):
            self.write("\ninterrupted\n")
        elif isinstance(error, NxcError):
            self._tell(error)
        elif isinstance(error, BaseExceptionGroup) and error.split(NxcError)[1] is None:
            for one in error.exceptions:
                self._tell(one)
        else:
            super().showtraceback()

    def _tell(self, error: BaseException) -> None:
        hint = getattr(error, "hint", "")
        self.write(f"{error}\n" + (f"hint: {hint}\n" if hint else ""))


class _Interruption:
    """Lets Ctrl-C end one command, its threads included, and not the whole operation.

    A signal handler may take no lock, so a thread sets the event that threads look for.
    """

    def __init__(self, cancel: threading.Event) -> None:
        self._cancel = cancel
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._former: Any = None

    def __enter__(self) -> _Interruption:
        threading.Thread(target=self._obey, name="nxc-driver", daemon=True).start()
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()
        self._orders.put(None)
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)

    def forget(self) -> None:
        """Begin anew: what was interrupted is over."""
        done = threading.Event()
        self._orders.put(done.set)
        done.wait(10)
        self._cancel.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._orders.put(self._cancel.set)
        raise KeyboardInterrupt

    def _obey(self) -> None:
        while (order := self._orders.get()) is not None:
            order()


@contextlib.contextmanager
def _line_editing(scope: dict[str, Any], history: Path) -> Iterator[None]:
    """Complete by Tab and keep a history, where Python has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    completer = Completer(scope)
    readline.set_completer(completer.for_readline(readline.get_line_buffer, readline.get_endidx))
    readline.set_completer_delims(DELIMITERS)
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
