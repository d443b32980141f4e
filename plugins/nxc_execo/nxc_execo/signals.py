"""What Ctrl-C and SIGTERM do while nxc works inside a script of execo's."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from nxc_core import Interrupted, Session

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stopping(session: Session) -> Iterator[None]:
    """Let the first signal ask nxc to stop, and end with what the signal means to a script.

    That is KeyboardInterrupt for Ctrl-C. The second one ends it at once.
    """
    with _handled(session.interrupt) as asked:
        try:
            yield
        except Interrupted as error:
            raise (_meaning(asked[0]) if asked else KeyboardInterrupt()) from error
    if asked:  # nxc was done before it could stop
        raise _meaning(asked[0])


@contextlib.contextmanager
def finishing(tell: Callable[[], None]) -> Iterator[None]:
    """Let the first signal only be told; it counts when what is under way is done."""
    with _handled(tell) as asked:
        yield
    if asked:
        raise _meaning(asked[0])


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the script by an exception, so that what it holds is given back."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise _meaning(number)

    with _set({n: handle for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL}):
        yield


def _meaning(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


@contextlib.contextmanager
def _handled(act: Callable[[], None]) -> Iterator[list[int]]:
    """Call ``act`` at the first signal, in a thread: a handler may interrupt whoever holds a lock."""
    orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
    asked: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if asked:
            raise _meaning(number)
        asked.append(number)
        orders.put(True)

    def obey() -> None:
        if orders.get():
            act()

    worker = threading.Thread(target=obey, name="nxc-execo-signals", daemon=True)
    worker.start()
    try:
        with _set({n: handle for n in ASKING if signal.getsignal(n) is not signal.SIG_IGN}):
            yield asked
    finally:
        orders.put(False)
        worker.join(timeout=10)


@contextlib.contextmanager
def _set(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only that one may
        return
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
