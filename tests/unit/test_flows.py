"""Flows: programs of several commands each, many of them in one loop."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from nxc_core.errors import CommandError, DeployError, Interrupted, PreflightError
from nxc_core.flows import Flow, run_flows
from nxc_core.process import Command, Completed


def sh(script: str, *, timeout: float | None = None, stdin: bytes | None = None) -> Command:
    return Command(argv=("/bin/sh", "-c", script), timeout=timeout, stdin=stdin)


def text(told: Completed | CommandError) -> str:
    assert isinstance(told, Completed), told
    return told.text.strip()


def twice(word: str) -> Flow[str]:
    first = yield sh(f"echo {word}")
    second = yield sh("cat", stdin=text(first).encode() * 2)
    return text(second)


def test_each_flow_goes_on_with_what_its_own_command_said() -> None:
    assert run_flows([twice(f"w{n}") for n in range(30)], limit=7) == [f"w{n}w{n}" for n in range(30)]


def test_no_flow_is_no_work() -> None:
    assert run_flows([]) == []


def test_a_flow_may_end_without_a_command() -> None:
    def nothing() -> Flow[int]:
        return 7
        yield sh("never")

    assert run_flows([nothing() for _ in range(3)], limit=1) == [7, 7, 7]


def test_failed_and_late_commands_are_told_to_the_flow_and_not_raised() -> None:
    def careful() -> Flow[list[object]]:
        failed = yield sh("echo oh >&2; exit 3")
        late = yield sh("sleep 60", timeout=0.2)
        fine = yield sh("echo on")
        assert isinstance(failed, CommandError)
        assert isinstance(late, CommandError)
        return [failed.code, failed.stderr, late.code, text(fine)]

    assert run_flows([careful()]) == [[3, "oh\n", None, "on"]]


def test_each_command_has_its_own_deadline() -> None:
    def one(seconds: float) -> Flow[bool]:
        told = yield sh("sleep 1", timeout=seconds)
        return isinstance(told, Completed)

    assert run_flows([one(0.1), one(60)]) == [False, True]


def test_an_exception_ends_its_own_flow_alone() -> None:
    def broken() -> Flow[str]:
        yield sh("true")
        raise DeployError("no")

    def absent() -> Flow[str]:
        yield Command(argv=("nxc-no-such-program",))
        return ""

    first, second, third = run_flows([broken(), twice("a"), absent()])
    assert isinstance(first, DeployError)
    assert second == "aa"
    assert isinstance(third, PreflightError)


def test_cancelling_ends_all_and_their_commands(tmp_path: Path) -> None:
    cancelled = threading.Event()
    closed: list[int] = []

    def slow(number: int) -> Flow[str]:
        try:
            yield sh(f"echo $$ > {tmp_path}/{number}; exec sleep 600")
        finally:
            closed.append(number)
        return ""

    def watch() -> None:
        end = time.monotonic() + 60
        while len([p for p in tmp_path.iterdir() if p.read_text()]) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        cancelled.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(Interrupted):
        run_flows([slow(n) for n in range(3)], cancelled=cancelled)
    watcher.join()
    assert sorted(closed) == [0, 1, 2]
    for file in tmp_path.iterdir():
        assert not Path(f"/proc/{file.read_text().strip()}").exists()


def test_interrupted_in_a_flow_ends_the_others() -> None:
    def stops() -> Flow[str]:
        yield sh("true")
        raise Interrupted("interrupted")

    def slow() -> Flow[str]:
        yield sh("sleep 600")
        return ""

    with pytest.raises(Interrupted):
        run_flows([slow(), stops()])


def test_no_more_than_the_limit_run_at_once(tmp_path: Path) -> None:
    def one(number: int) -> Flow[int]:
        told = yield sh(
            f"touch {tmp_path}/{number}; ls {tmp_path} | wc -l; sleep 0.05; rm {tmp_path}/{number}"
        )
        return int(text(told))

    counts = run_flows([one(n) for n in range(20)], limit=4)
    assert all(isinstance(count, int) and 1 <= count <= 4 for count in counts)
    assert any(isinstance(count, int) and count > 1 for count in counts)


def test_flows_need_no_thread_each() -> None:
    before = threading.active_count()

    def one() -> Flow[int]:
        yield sh("sleep 0.1")
        return threading.active_count()

    counts = run_flows([one() for _ in range(40)])
    assert all(isinstance(count, int) and count <= before for count in counts)  # some of others may end


def test_what_a_command_says_is_heard_as_it_comes() -> None:
    heard: list[str] = []

    def one() -> Flow[bool]:
        yield Command(argv=("/bin/sh", "-c", "echo a; echo b >&2; echo c"), on_line=heard.append)
        return True

    assert run_flows([one()]) == [True]
    assert sorted(heard) == ["a", "b", "c"]
