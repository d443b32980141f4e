"""Running a composition's test script: Python, with a variable for every node."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nxc_core.errors import Interrupted, TestFailed
from nxc_core.script_driver import Driver
from nxc_core.script_report import explain, not_python

if TYPE_CHECKING:
    from types import CodeType

    from nxc_core.running import Running

THREADS_TIMEOUT = 900.0
"""Seconds that threads of a script may go on after its last line."""


def run_script(
    running: Running, text: str, *, name: str = "testScript", extra: Mapping[str, Any] | None = None
) -> None:
    """Run a test script to its end. Raises TestFailed, which shows the script's own frames and no others.

    ``name`` stands for the script's file, ``extra`` adds variables. Interrupted passes through.
    """
    driver = Driver(running)
    start = time.monotonic()
    scope = {"__name__": "__main__", "__file__": name, **driver.symbols(), **(extra or {})}
    code = _compile(text, name)
    with _watched_threads() as fallen:
        try:
            exec(code, scope)
            _join(running, fallen)
        except (KeyboardInterrupt, Interrupted):
            raise
        except BaseException as error:  # noqa: BLE001 - a script may raise anything, SystemExit too
            if not (isinstance(error, SystemExit) and error.code in (None, 0)):
                raise explain(error, text, name, driver, scope) from error
        finally:
            driver.flush()
    seconds = round(time.monotonic() - start, 3)
    running.op.step(f"{name} holds", topic="test", phase="end", seconds=seconds, ok=True)


def check_script(text: str, *, name: str = "testScript") -> None:
    """Raise TestFailed for a script that is no Python."""
    _compile(text, name)


def _compile(text: str, name: str) -> CodeType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd escape in a script is not worth a warning
        try:
            return compile(text, name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise not_python(error, name) from error


class _Fallen:
    """What threads of a script raised, and the threads that were there before it."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.before = set(threading.enumerate())

    def note(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            self.errors.append(args.exc_value)

    def running(self) -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one not in self.before and not one.daemon]


@contextlib.contextmanager
def _watched_threads() -> Iterator[_Fallen]:
    """Keep what threads raise, which Python would only print."""
    fallen = _Fallen()
    former = threading.excepthook
    threading.excepthook = fallen.note
    try:
        yield fallen
    finally:
        threading.excepthook = former


def _join(running: Running, fallen: _Fallen) -> None:
    """Wait for the script's threads; raises the first thing that one of them raised."""
    end = time.monotonic() + THREADS_TIMEOUT
    while left := fallen.running():
        running.op.check_cancelled()
        if time.monotonic() > end:
            raise TestFailed(
                f"thread {left[0].name} of the script is still running after {THREADS_TIMEOUT:g} s"
            )
        left[0].join(0.05)
    for error in fallen.errors:
        raise error


def interact(running: Running, pause: Callable[[], None] = lambda: None) -> None:
    """Offer a Python prompt with the variables of a test script, until its end.

    ``pause`` is called before every prompt: progress leaves the terminal to what is typed.
    """
    from nxc_core.script_console import interact as offer

    offer(running, pause)
