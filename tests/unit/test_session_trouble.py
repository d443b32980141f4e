"""The verbs on the example flavour in trouble: damaged or newer state, two nxc at once, nxc killed."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from nxc_core import state
from nxc_core.deploying import mark
from nxc_core.errors import (
    CommandError,
    StateError,
    TeardownError,
)
from nxc_core.model import NodeState, Outcome, Status
from nxc_core.session import Session
from nxc_core.spawned import stop_spawned
from nxc_core.testing.workbench import child_environment, spawned
from tests.pair import events, left, project, session, start

__all__ = ["events", "project", "session"]  # fixtures


# Trouble on disk


def test_a_deployment_of_a_newer_nxc_is_shown_and_left_alone(session: Session) -> None:
    running = start(session)
    path = session.workspace.deployment_file(running.id)
    text = path.read_text()
    path.write_text(text.replace("nxc.deployment/1", "nxc.deployment/7"))
    (summary,) = session.deployments()
    assert "newer nxc" in summary.trouble
    with pytest.raises(StateError, match="newer nxc"):
        session.down(running.id)
    assert len(spawned(session)) == 2
    path.write_text(text)


def test_a_newer_journal_is_not_acted_on(session: Session) -> None:
    running = start(session)
    path = running.op.journal.path
    text = path.read_text()
    path.write_text(text + '{"v": 9, "op": "claim", "kind": "moon", "id": "1"}\n')
    with pytest.raises(StateError, match="newer nxc"):
        session.down(running.id)
    assert len(spawned(session)) == 2
    path.write_text(text)


def test_a_lost_document_does_not_lose_what_is_claimed(session: Session) -> None:
    running = start(session)
    path = session.workspace.deployment_file(running.id)
    text = path.read_text()
    for damage in (lambda: path.unlink(), lambda: path.write_text(text[:-20])):
        damage()
        with pytest.raises(StateError, match=r"still there: .*local.process .*pid \d+"):
            session.down(running.id)
        with pytest.raises(StateError) as told:
            Session.open(session.workspace.project).attach(running.id)
        assert told.value.hint
        assert len(spawned(session)) == 2
    path.write_text(text)


def test_a_folder_without_a_document_is_removed(session: Session) -> None:
    session.workspace.deployment_dir("pair-local-000000").mkdir(parents=True)
    running = start(session)
    assert running.id != "pair-local-000000"
    session.down("pair-local-000000")
    assert [summary.id for summary in session.deployments()] == [running.id]


def test_a_torn_journal_still_takes_everything_down(session: Session) -> None:
    running = start(session)
    with running.op.journal.path.open("ab") as journal:
        journal.write(b'{"v": 1, "op": "claim", "kind": "local.po')
    Session.open(session.workspace.project).down(running.id)
    assert left(session) == []


# Two at once, and killed


START = """
import sys
from pathlib import Path
from nxc_core import Session
session = Session.open(Path(sys.argv[1]))
options = {"local": {"boot_seconds": float(sys.argv[2])}}
running = session.start(Path(sys.argv[1]) / "pair.toml", flavour="local", base="plain", options=options)
print(running.id, flush=True)
"""


def launch(project: Path, seconds: float = 0.3) -> subprocess.Popen[bytes]:
    argv = (sys.executable, "-c", START, str(project), str(seconds))
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment())


def test_two_nxc_at_once_make_one_deployment_or_refuse(session: Session) -> None:
    with launch(session.workspace.project) as one, launch(session.workspace.project) as two:
        (out1, err1), (out2, err2) = one.communicate(timeout=60), two.communicate(timeout=60)
    assert {out1, out2} - {b""}, err1 + err2
    for out, err in ((out1, err1), (out2, err2)):
        assert out or b"another nxc is at work" in err, err.decode()
    assert len(session.deployments()) == 1
    assert len(spawned(session)) == 2


def test_a_start_under_way_is_not_disturbed_by_another(session: Session) -> None:
    running = start(session)
    mark(session.workspace, running.deployment, Status.DEPLOYING)
    running.op.outcome(Outcome(node="server", state=NodeState.FAILED, cause="slow"))
    before = spawned(session)
    journal = running.op.journal.path.read_bytes()
    with holding(running.op.dir / "lock"), pytest.raises(StateError, match="another nxc is at work"):
        start(session)
    assert spawned(session) == before
    assert running.op.journal.path.read_bytes() == journal


@contextlib.contextmanager
def holding(lock: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Hold a lock as another nxc would."""
    hold = "import sys,time; from pathlib import Path; from nxc_core.state import locked\n"
    hold += "with locked(Path(sys.argv[1]), what='x'):\n print('held', flush=True)\n time.sleep(60)"
    argv = (sys.executable, "-c", hold, str(lock))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=child_environment()) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield holder
        finally:
            holder.kill()


def test_killed_at_any_moment_it_is_taken_down_or_gone_on_with(session: Session) -> None:
    chance = random.Random(20)
    project = session.workspace.project
    slow = {"local": {"boot_seconds": 0.3}}
    session.build(project / "pair.toml", flavour="local", base="plain", options=slow)
    for round in range(8):
        with launch(project) as nxc:
            end = time.monotonic() + 20
            before = len(session.workspace.deployments())
            while len(session.workspace.deployments()) == before and time.monotonic() < end:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.4))
            nxc.send_signal(signal.SIGKILL)
            nxc.wait(10)
        fresh = Session.open(project)
        if round % 2:
            running = start(fresh, options=slow)
            assert running.deployment.status is Status.RUNNING
            assert running.connection("server").run(("cat", "index.html")).text == "hello"
        for id in fresh.workspace.deployments():
            fresh.down(id)
        assert left(fresh) == [], f"round {round}"


def test_a_down_that_is_killed_is_finished_by_the_next(session: Session) -> None:
    running = start(session)
    down = "import sys; from pathlib import Path; from nxc_core import Session\n"
    down += "Session.open(Path(sys.argv[1])).down()"
    argv = (sys.executable, "-c", down, str(session.workspace.project))
    with subprocess.Popen(argv, env=child_environment()) as nxc:
        end = time.monotonic() + 20
        while len(spawned(session)) == 2 and time.monotonic() < end:
            time.sleep(0.002)
        nxc.kill()
        nxc.wait(10)
    Session.open(session.workspace.project).down(running.id)
    assert left(session) == []


def test_a_deployment_under_way_is_not_taken_down_by_another(session: Session) -> None:
    running = start(session)
    with holding(running.op.dir / "lock") as holder:
        killer = threading.Timer(1.0, holder.kill)
        killer.start()
        begun = time.monotonic()
        session.down(running.id)
        assert time.monotonic() - begun > 0.5, "it waited for the other nxc"
    assert left(session) == []


def test_without_the_flavour_down_says_what_is_left(session: Session) -> None:
    running = start(session)
    document = session.workspace.load(running.id)
    gone = evolve(document, groups=(evolve(document.groups[0], flavour="uninstalled"),))
    state.save(session.workspace.deployment_file(running.id), gone)
    with pytest.raises(TeardownError, match=r"local.process .*pid \d+") as told:
        session.down(running.id)
    assert "uninstalled" in str(told.value)
    state.save(session.workspace.deployment_file(running.id), document)


def test_a_node_that_died_later_answers_with_an_error_not_a_hang(session: Session) -> None:
    running = start(session)
    stop_spawned(f"{running.id}/local.process/{running.id}-server")
    seen = running.flavour.observe(running.node("server"), running.op)
    assert not seen.alive
    with pytest.raises(CommandError):
        running.connection("server").run(running.flavour.report, timeout=20)


def test_the_workspace_stays_out_of_the_temporary_folder(session: Session) -> None:
    running = start(session)
    running.down()
    assert not list(Path(tempfile.gettempdir()).glob(f"*{running.id}*"))
