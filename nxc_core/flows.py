"""Many programs of several commands each, driven from one loop and one thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from typing import TypeAlias, TypeVar

from nxc_core.errors import CommandError, Interrupted
from nxc_core.process import Command, Completed, Loop, failure

T = TypeVar("T")

Flow: TypeAlias = Generator[Command, Completed | CommandError, T]
"""Yields a command and is sent how it ended; a CommandError where it failed or was late, code None then."""


def run_flows(
    flows: Sequence[Flow[T]], *, limit: int = 64, cancelled: threading.Event | None = None
) -> list[T | Exception]:
    """Drive every flow to its end, at most ``limit`` at a time; answers come in the order given.

    What a flow raises is its answer, and ends it alone; Interrupted ends all. A flow must not wait
    between two commands: the others stand still meanwhile.
    """
    answers: dict[int, T | Exception] = {}
    waiting = deque(range(len(flows)))
    try:
        with Loop(cancelled=cancelled) as loop:
            while len(answers) < len(flows):
                while waiting and loop.size < limit:
                    _advance(waiting.popleft(), None, flows, loop, answers)
                for index, ended in loop.turn() if loop.size else ():
                    if isinstance(ended, Completed) and ended.code != 0:
                        ended = failure(ended)
                    _advance(index, ended, flows, loop, answers)
    finally:
        for flow in flows:
            flow.close()
    return [answers[index] for index in range(len(flows))]


def _advance(
    index: int,
    told: Completed | CommandError | None,
    flows: Sequence[Flow[T]],
    loop: Loop,
    answers: dict[int, T | Exception],
) -> None:
    """Let a flow go on to its next command, or to its end."""
    try:
        command = next(flows[index]) if told is None else flows[index].send(told)
        loop.open(index, command)
    except StopIteration as end:
        answers[index] = end.value
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - a value inside a batch
        answers[index] = error
