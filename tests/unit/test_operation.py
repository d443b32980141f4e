"""What a driver acts through."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.errors import CommandError, DeployError, Interrupted, PreflightError
from nxc_core.model import Event, ExecEndpoint, Node, NodeState, Outcome
from nxc_core.operation import Operation
from tests.operations import operation_in


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def op(tmp_path: Path, events: list[Event]) -> Iterator[Operation]:
    operation = operation_in(
        tmp_path, f"test-{os.getpid()}-{time.monotonic_ns()}", cache=tmp_path / "cache", hear=events.append
    )
    yield operation
    for resource in operation.claimed("process"):
        operation.stop(resource, grace=1)


def test_claims_notes_and_kinds(op: Operation) -> None:
    port = op.claim("port", "4242", rank=1, node="one")
    op.claim("lan", "x")
    op.note(port, owner="me")
    assert [found.id for found in op.claimed()] == ["4242", "x"]
    assert op.claimed("port")[0].data == {"node": "one", "owner": "me"}
    assert op.claimed("nothing") == []


def test_spawning_twice_starts_one_process(op: Operation, tmp_path: Path) -> None:
    one, two = (op.spawn("process", "p", ("sleep", "60"), log=tmp_path / "log") for _ in range(2))
    assert one.data["pid"] == two.data["pid"]
    assert op.alive(one)
    assert op.stop(one)
    assert not op.alive(one)
    three = op.spawn("process", "p", ("sleep", "60"), log=tmp_path / "log")
    assert three.data["pid"] != one.data["pid"], "one that ended is started again"


def test_the_claim_of_a_spawned_process_comes_first(op: Operation, tmp_path: Path) -> None:
    with pytest.raises(PreflightError):
        op.spawn("process", "p", ("no-such-program",), log=tmp_path / "log")
    assert [found.id for found in op.claimed("process")] == ["p"]


def test_map_runs_all_and_keeps_the_order(op: Operation) -> None:
    def slower_first(n: int) -> int:
        time.sleep(0.02 * (5 - n))
        return n

    assert op.map(slower_first, range(5)) == [0, 1, 2, 3, 4]
    assert op.map(len, []) == []


def test_map_has_few_threads(op: Operation) -> None:
    def who(_: int) -> int:
        time.sleep(0.005)
        return threading.get_ident()

    assert len(set(op.map(who, range(50)))) <= 8


def test_map_collects_failures_and_still_runs_all(op: Operation) -> None:
    ran: list[int] = []

    def work(n: int) -> None:
        ran.append(n)
        if n % 2:
            raise DeployError(f"node {n}")

    with pytest.raises(ExceptionGroup) as told:
        op.map(work, range(4))
    assert sorted(str(error) for error in told.value.exceptions) == ["node 1", "node 3"]
    assert sorted(ran) == [0, 1, 2, 3]
    with pytest.raises(DeployError, match="node 1"):
        op.map(work, range(2))


def test_an_interruption_stands_above_other_failures(op: Operation) -> None:
    def work(n: int) -> None:
        raise Interrupted("stop") if n == 2 else DeployError("failed")

    with pytest.raises(Interrupted):
        op.map(work, range(4))


def test_waiting_names_what_is_late(op: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(op.cancel, "wait", pauses.append)
        op.wait("third try", lambda: len(pauses) == 2, timeout=60)
    assert max(pauses) < 0.1, "the first pauses are short"
    with pytest.raises(DeployError, match=r"ssh on server: not after 0.1 s"):
        op.wait("ssh on server", lambda: False, timeout=0.1)


def test_what_came_true_while_we_were_stopped_is_seen(op: Operation) -> None:
    tries: list[float] = []

    def second() -> bool:
        tries.append(time.monotonic())
        time.sleep(0.2)
        return len(tries) == 2

    op.wait("second try", second, timeout=0.1)


def test_waiting_and_running_end_when_cancelled(op: Operation) -> None:
    threading.Timer(0.1, op.cancel.set).start()
    start = time.monotonic()
    with pytest.raises(Interrupted):
        op.wait("never", lambda: False, timeout=60)
    with pytest.raises(Interrupted):
        op.run(("sleep", "60"))
    with pytest.raises(Interrupted):
        op.commands([("sleep", "60"), ("sleep", "60")])
    assert time.monotonic() - start < 30


def test_commands_answer_values(op: Operation) -> None:
    one, two = op.commands([("sh", "-c", "exit 2"), ("sleep", "60")], timeout=0.3)
    assert not isinstance(one, CommandError)
    assert one.code == 2
    assert isinstance(two, CommandError)


def test_scratch_is_claimed_private_and_the_same_again(op: Operation) -> None:
    folder = op.scratch("work")
    assert op.scratch("work") == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [found.key for found in op.claimed()] == [("folder", str(folder))]
    folder.rmdir()


def test_scratch_of_someone_else_is_refused(op: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = op.scratch("work")
    uid = os.getuid()
    answers = iter([uid, uid + 1])
    monkeypatch.setattr(os, "getuid", lambda: next(answers))
    with pytest.raises(PreflightError, match="belongs to someone else"):
        op.scratch("work")
    folder.rmdir()


def test_a_full_disk_is_told_before_the_work(op: Operation, tmp_path: Path) -> None:
    op.need_disk(tmp_path / "not" / "there" / "yet", 1, "a build")
    with pytest.raises(PreflightError, match=r"a build needs about \d+ MiB"):
        op.need_disk(tmp_path, 1 << 40, "a build")


def test_nodes_and_outcomes_are_journalled_and_told(op: Operation, events: list[Event]) -> None:
    op.node(Node(name="one", role="r", endpoint=ExecEndpoint(prefix=())))
    op.outcome(Outcome(node="one", state=NodeState.FAILED, cause="panic", last_line="end"))
    assert list(op.journal.nodes()) == ["one"]
    assert op.journal.outcomes()["one"].cause == "panic"
    assert [(event.topic, event.node) for event in events] == [("node", "one"), ("outcome", "one")]
    assert "panic" in events[1].message
