"""A signal may come at any step of the main thread, also while it holds what stopping needs."""

from __future__ import annotations

import signal
import threading

import pytest

from nxc_core.cli_context import Interrupts


def test_the_first_signal_never_waits_for_what_the_main_thread_holds() -> None:
    held, asked = threading.Lock(), threading.Event()

    def soften() -> None:
        with held:
            asked.set()

    interrupts = Interrupts()
    interrupts.listen(soften)
    with held:
        interrupts.handle(signal.SIGINT, None)
        assert not asked.is_set()
    assert asked.wait(60)


def test_the_second_signal_stops_at_once() -> None:
    interrupts = Interrupts()
    interrupts.listen(lambda: None)
    interrupts.handle(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        interrupts.handle(signal.SIGINT, None)


def test_a_signal_before_anything_is_under_way_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        Interrupts().handle(signal.SIGINT, None)
