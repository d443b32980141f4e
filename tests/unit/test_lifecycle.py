"""Waiting for nodes: ready by instance id and boot id, dead nodes, deadlines; what consoles say."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import evolve

from nxc_core import lifecycle, reaching
from nxc_core.connect import Connection
from nxc_core.errors import CommandError, DeployError, Interrupted, NxcError
from nxc_core.flavour import Flavour
from nxc_core.model import (
    Artifact,
    ExecEndpoint,
    Kind,
    Node,
    NodeSpec,
    NodeState,
    Observation,
    Outcome,
    Plan,
    Resource,
)
from nxc_core.operation import Operation
from nxc_core.output import printable
from nxc_core.process import Completed
from tests.operations import operation_in


class Talker:
    """A connection whose answers are given."""

    def __init__(self, answers: list[str | CommandError]) -> None:
        self.answers = answers

    def run(self, argv: Sequence[str], **_: Any) -> Completed:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CommandError):
            raise answer
        return Completed(argv=tuple(argv), code=0, stdout=answer.encode())


class Scripted(Flavour[None]):
    """Nodes whose answers and lives are given."""

    name = "scripted"
    accepts = ()
    patience = 0.4
    options_type: ClassVar[type[Any]] = type(None)

    def __init__(self, **answers: list[str | CommandError]) -> None:
        super().__init__(None)
        self.talkers = {name: Talker(list(given)) for name, given in answers.items()}
        self.dead: dict[str, str] = {}

    def deploy(self, plan: Plan, op: Operation) -> None:
        for spec in plan.nodes:
            op.node(Node(name=spec.name, role=spec.role, endpoint=ExecEndpoint(prefix=())))

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        return resources

    def observe(self, node: Node, op: Operation) -> Observation:
        return Observation(alive=node.name not in self.dead, detail=self.dead.get(node.name, ""))

    def connect(self, node: Node, op: Operation) -> Connection:
        return self.talkers[node.name]  # type: ignore[return-value]

    def console(self, node: str, op: Operation) -> Path:
        return op.dir / f"{node}.log"


@pytest.fixture
def op(tmp_path: Path) -> Operation:
    return operation_in(tmp_path, "d")


def plan_of(*names: str) -> Plan:
    return Plan(
        deployment="d",
        artifact=Artifact(kind=Kind("k")),
        nodes=tuple(NodeSpec(name=n, role="r", index=i, machine=n) for i, n in enumerate(names)),
        networks=(),
        documents={},
        instances={name: f"instance-of-{name}" for name in names},
        key=Path("/k"),
        known_hosts=Path("/h"),
    )


def deployed(flavour: Scripted, op: Operation) -> dict[str, Outcome]:
    lifecycle.nxc_deploy(flavour, plan_of(*flavour.talkers), op)
    return op.journal.outcomes()


def test_a_node_is_ready_when_it_knows_its_instance(op: Operation) -> None:
    late = CommandError("refused", argv=(), code=None)
    flavour = Scripted(one=[late, "", "instance-of-one\nboot-1\n"], two=["instance-of-two"])
    found = deployed(flavour, op)
    assert found["one"] == Outcome(node="one", state=NodeState.READY, boot_id="boot-1")
    assert found["two"] == Outcome(node="two", state=NodeState.READY)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ("instance-of-yesterday", "it answers as another instance (instance)"),
        ("", "its role is not applied yet"),
        (CommandError("connection refused", argv=(), code=None), "connection refused"),
    ],
)
def test_a_late_node_fails_with_the_last_thing_seen(
    op: Operation, answer: str | CommandError, cause: str
) -> None:
    (op.dir / "one.log").write_bytes(b"booting\n\x1b[31mKernel panic\x1b[0m\x07 \xff\n\n")
    found = deployed(Scripted(one=[answer], two=["instance-of-two"]), op)
    assert found["one"].state is NodeState.FAILED
    assert found["one"].cause == f"not ready after 0 s: {cause}"
    assert found["one"].last_line == "Kernel panic \ufffd"
    assert found["two"].state is NodeState.READY


def test_a_node_that_cannot_apply_its_role_fails_with_its_own_words(op: Operation) -> None:
    flavour = Scripted(one=["\nboot-1\nno network card has 02:00:00:00:00:01\n"], two=["instance-of-two"])
    flavour.patience = 60  # type: ignore[misc]
    found = deployed(flavour, op)["one"]
    assert (found.state, found.step) == (NodeState.FAILED, "role")
    assert found.cause == "its role cannot be applied: no network card has 02:00:00:00:00:01"


def test_a_dead_node_fails_before_its_deadline(op: Operation) -> None:
    flavour = Scripted(one=[""], two=["instance-of-two"])
    flavour.patience = 60  # type: ignore[misc]
    flavour.dead["one"] = "its process ended"
    start = time.monotonic()
    found = deployed(flavour, op)
    assert (found["one"].state, found["one"].cause) == (NodeState.FAILED, "its process ended")
    assert time.monotonic() - start < 30


def test_a_node_that_the_driver_gave_up_is_not_waited_for(op: Operation) -> None:
    class GivesUp(Scripted):
        def deploy(self, plan: Plan, op: Operation) -> None:
            super().deploy(evolve(plan, nodes=plan.nodes[1:]), op)
            op.outcome(Outcome(node="one", state=NodeState.FAILED, cause="no such disk"))

    flavour = GivesUp(one=["instance-of-one"], two=["instance-of-two"])
    assert {o.node: o.cause for o in deployed(flavour, op).values()} == {"one": "no such disk", "two": ""}


class Sleepy(Scripted):
    """Says when its nodes may be asked, and counts how often it is asked."""

    def __init__(self, wakes: int | NxcError, **answers: list[str | CommandError]) -> None:
        super().__init__(**answers)
        self.wakes = wakes
        self.looks = 0
        self.asked: list[int] = []

    def awake(self, node: Node, op: Operation) -> bool:
        self.looks += 1
        if isinstance(self.wakes, NxcError):
            raise self.wakes
        return self.looks > self.wakes

    def connect(self, node: Node, op: Operation) -> Connection:
        self.asked.append(self.looks)
        return super().connect(node, op)


def test_a_node_that_sleeps_is_not_asked(op: Operation) -> None:
    flavour = Sleepy(3, one=["instance-of-one"])
    flavour.patience = 60  # type: ignore[misc]
    assert deployed(flavour, op)["one"].state is NodeState.READY
    assert flavour.asked == [4]


def test_a_wrong_look_delays_and_never_blocks(op: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "ASK_ANYWAY", 0.3)
    flavour = Sleepy(10**9, one=["", "instance-of-one"])
    flavour.patience = 60  # type: ignore[misc]
    assert deployed(flavour, op)["one"].state is NodeState.READY
    assert len(flavour.asked) == 2


class Overheard(Sleepy):
    """Knows by itself what its nodes would report."""

    words: str | None = None

    def told(self, node: Node, op: Operation) -> str | None:
        return self.words


def test_a_node_that_was_heard_is_not_asked(op: Operation) -> None:
    flavour = Overheard(2, one=["never asked"])
    flavour.words = "instance-of-one\nboot\n"
    found = deployed(flavour, op)["one"]
    assert (found.state, found.boot_id, flavour.asked) == (NodeState.READY, "boot", [])


def test_the_word_of_another_instance_does_not_count(op: Operation) -> None:
    flavour = Overheard(0, one=["instance-of-one"])
    flavour.words = "instance-of-two\nboot\n"
    found = deployed(flavour, op)["one"]
    assert found.state is NodeState.FAILED
    assert "it answers as another instance (instance)" in found.cause


def test_a_look_that_fails_is_as_good_as_none(op: Operation) -> None:
    flavour = Sleepy(DeployError("the engine is gone"), one=["instance-of-one"])
    assert deployed(flavour, op)["one"].state is NodeState.READY
    flavour = Sleepy(Interrupted("interrupted"), two=["instance-of-two"])
    with pytest.raises(Interrupted):
        deployed(flavour, op)


def test_a_node_that_sleeps_on_says_so(op: Operation) -> None:
    found = deployed(Sleepy(10**9, one=["instance-of-one"]), op)
    assert found["one"].cause == "not ready after 0 s: it is still booting"


def test_after_a_reboot_this_machines_own_boot_id_does_not_count_either(op: Operation) -> None:
    here = reaching.BOOT_ID.read_text()
    flavour = Scripted(one=[f"instance-of-one\n{here}", "instance-of-one\nboot-2"])
    flavour.deploy(plan_of("one"), op)
    lifecycle.reach(flavour, plan_of("one"), op, former={"one": "boot-1"})
    assert op.journal.outcomes()["one"].boot_id == "boot-2"


def test_after_a_reboot_the_former_boot_id_does_not_count(op: Operation) -> None:
    flavour = Scripted(one=["instance-of-one\nboot-1", "instance-of-one\nboot-1", "instance-of-one\nboot-2"])
    flavour.deploy(plan_of("one"), op)
    lifecycle.reach(flavour, plan_of("one"), op, former={"one": "boot-1"})
    assert op.journal.outcomes()["one"].boot_id == "boot-2"


def test_waiting_ends_when_interrupted(op: Operation) -> None:
    flavour = Scripted(one=[""])
    flavour.patience = 60  # type: ignore[misc]
    threading.Timer(0.2, op.cancel.set).start()
    with pytest.raises(Interrupted):
        deployed(flavour, op)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain é text\t!", "plain é text\t!"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]0;title\x1b\\after", "after"),
        ("be\x08\x08ll\x07", "bell"),
        ("\x9b31mc1", "31mc1"),
        ("\u202eright to left", "right to left"),
        ("   \x00  ", ""),
    ],
)
def test_what_a_node_writes_cannot_steer_the_terminal(line: str, shown: str) -> None:
    assert printable(line) == shown


def test_the_tail_of_a_long_console_is_read_alone(op: Operation) -> None:
    (op.dir / "one.log").write_text("x\n" * 200_000 + "first\nsecond\n")
    flavour = Scripted(one=[""])
    assert lifecycle.tail(flavour, "one", op, 2) == ["first", "second"]
    assert lifecycle.tail(flavour, "two", op, 2) == []
