"""The verbs on the example flavour: build, start, resume, down; interrupted, killed, refused, two at once."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
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
    BuildError,
    CommandError,
    ConfigError,
    DeployError,
    Interrupted,
    StateError,
    TeardownError,
)
from nxc_core.model import Artifact, Event, Guest, NodeState, Outcome, Policy, Status
from nxc_core.plugins import Plugins
from nxc_core.running import Running
from nxc_core.session import Session
from nxc_core.spawned import stop_spawned
from nxc_core.testing.workbench import child_environment, scratch_folders, spawned, sweep
from nxc_example.flavour import LocalFlavour

PAIR = """
test_script = "server.succeed('true')"

[roles.server.files]
"index.html" = "hello"

[roles.client]
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "pair.toml").write_text(PAIR)
    yield tmp_path
    sweep(Session.open(tmp_path))


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def session(project: Path, events: list[Event]) -> Session:
    return Session.open(project, sinks=[events.append])


def start(session: Session, **given: object) -> Running:
    chosen = {"flavour": "local", "base": "plain", **given}
    return session.start(session.workspace.project / "pair.toml", **chosen)  # type: ignore[arg-type]


def left(session: Session) -> list[object]:
    return [*spawned(session), *scratch_folders(session)]


# Building


def test_nothing_changed_is_told_and_nothing_is_built(session: Session, events: list[Event]) -> None:
    source = session.workspace.project / "pair.toml"
    one = session.build(source, flavour="local", base="plain")
    before = session.workspace.build_file(session.workspace.builds()[0]).stat().st_mtime_ns
    two = session.build(source, flavour="local", base="plain")
    assert one == two
    assert [event.message for event in events if event.topic == "built"] == ["built", "nothing changed"]
    assert session.workspace.build_file(session.workspace.builds()[0]).stat().st_mtime_ns == before


def test_editing_the_test_script_builds_nothing(session: Session) -> None:
    source = session.workspace.project / "pair.toml"
    one = session.build(source, flavour="local", base="plain")
    source.write_text(PAIR.replace("true", "false"))
    two = session.build(source, flavour="local", base="plain")
    assert two.artifact == one.artifact
    assert two.composition.test_script == "server.succeed('false')"


@pytest.mark.parametrize("damage", [b"", b"\0\0", b"{}", b'{"id": 3}'])
def test_a_damaged_record_only_costs_a_build(session: Session, damage: bytes) -> None:
    source = session.workspace.project / "pair.toml"
    one = session.build(source, flavour="local", base="plain")
    session.workspace.build_file(session.workspace.builds()[0]).write_bytes(damage)
    assert session.build(source, flavour="local", base="plain") == one


def test_files_that_were_cleaned_away_are_built_again(session: Session) -> None:
    source = session.workspace.project / "pair.toml"
    one = session.build(source, flavour="local", base="plain")
    for path in one.artifact.paths():
        shutil.rmtree(path)
    assert all(
        path.exists() for path in session.build(source, flavour="local", base="plain").artifact.paths()
    )


def test_a_full_disk_is_a_build_error(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Artifact:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Plugins, "build", full)
    with pytest.raises(BuildError, match="No space left on device"):
        session.build(session.workspace.project / "pair.toml", flavour="local", base="plain")


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("roles = [", "pair.toml"),
        ("[roles]", "there is no role"),
        ("[roles.server]\nmemory = 1", "role server has no option memory"),
        ('[roles.server]\ncount = "two"', "role server: count is not a int"),
        ("[roles.server]\nfiles = 3", "files is not a dict"),
        ("roles.server = 3", "role server is not a table"),
        ("[roles.server]\ncount = 0", "no node at all"),
        ('[roles.a]\nhosts = ["x"]\n[roles.b]\nhosts = ["x"]', "two nodes are called x (roles a and b)"),
        ('[roles.server]\nneeds = ["kernel"]', "role server: roles.server.needs needs `kernel`"),
        ('[roles.server.files]\n"../x" = "y"', "not a file below"),
    ],
)
def test_a_wrong_composition_is_refused_before_anything_is_deployed(
    session: Session, text: str, phrase: str
) -> None:
    (session.workspace.project / "pair.toml").write_text(text)
    with pytest.raises(ConfigError) as told:
        start(session)
    assert phrase in told.value.message
    assert told.value.hint
    assert session.deployments() == []


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ({"flavour": "locla"}, "there is no flavour locla"),
        ({"base": "plane"}, "there is no base plane"),
        ({"options": {"local": {"boot": 1}}}, "local has no option boot"),
        ({"options": {"plain": {"executable": "x"}}}, "plain.executable: 'x' is neither true nor false"),
        ({"roles": {"klient": 1}}, "there is no role klient"),
    ],
)
def test_a_wrong_wish_is_refused(session: Session, given: dict[str, object], phrase: str) -> None:
    with pytest.raises(ConfigError) as told:
        start(session, **given)
    assert phrase in told.value.message
    assert session.deployments() == []


def test_a_composition_that_is_not_there_is_told(session: Session) -> None:
    with pytest.raises(ConfigError, match="there is no composition"):
        session.build("nowhere.nix", flavour="local")


# Starting and stopping


def test_up_takes_down_also_when_its_body_fails(session: Session) -> None:
    source = session.workspace.project / "pair.toml"
    with (
        pytest.raises(ZeroDivisionError),
        session.up(source, flavour="local", base="plain", parameters={"n": [1, {"x": 2}]}) as running,
    ):
        assert running.connection("server").run(("cat", "index.html")).text == "hello"
        assert list(running) == ["server", "client"]
        document = json.loads((running.op.dir / "nodes" / "client" / "node.json").read_text())
        assert document["parameters"] == {"n": [1, {"x": 2}]}
        raise ZeroDivisionError
    assert session.deployments()[0].status is Status.STOPPED
    assert left(session) == []


def test_up_leaves_alone_what_another_nxc_starts_meanwhile(session: Session) -> None:
    source = session.workspace.project / "pair.toml"
    with session.up(source, flavour="local", base="plain"):
        other = start(Session.open(session.workspace.project), fresh=True)
    assert session.workspace.load(other.id).status is Status.RUNNING
    assert other.connection("server").run(("true",)).code == 0


def test_a_failed_node_fails_the_start_and_is_named(session: Session) -> None:
    with pytest.raises(DeployError) as told:
        start(session, options={"local": {"dies": "client"}})
    assert "1 of 2 nodes did not come up" in told.value.message
    assert "client (client): its process ended" in told.value.message
    assert "last line: ValueError" in told.value.message
    (summary,) = session.deployments()
    assert summary.status is Status.FAILED
    assert summary.outcomes["server"].state is NodeState.READY
    session.down(summary.id)
    assert left(session) == []


def test_a_minimum_makes_it_degraded(session: Session) -> None:
    options = {"local": {"dies": "client"}}
    running = start(session, options=options, policy=Policy(minimum={"client": 0}))
    assert running.deployment.status is Status.DEGRADED
    assert running.outcome("client").state is NodeState.FAILED
    assert running.connection("server").run(("true",)).code == 0


def test_a_node_that_was_never_booted_is_told(session: Session) -> None:
    running = start(session)
    records = running.op.journal.path.read_text().splitlines(keepends=True)
    running.op.journal.path.write_text("".join(line for line in records if '"op": "node"' not in line))
    with pytest.raises(StateError, match="server was never booted"):
        running.connection("server")


def test_starting_again_is_the_same_deployment(session: Session, events: list[Event]) -> None:
    one = start(session)
    two = start(Session.open(session.workspace.project, sinks=[events.append]))
    assert one.id == two.id
    assert any("is running already" in event.message for event in events)
    three = start(session, fresh=True)
    assert three.id != one.id
    four = start(session, roles={"client": 2})
    assert four.id not in (one.id, three.id)
    with pytest.raises(StateError, match="there are several deployments"):
        session.find()
    assert session.find(three.id[:-1]) == three.id
    with pytest.raises(StateError, match="there is no deployment nothing"):
        session.find("nothing")


def test_options_are_kept_with_the_deployment(session: Session) -> None:
    running = start(session, options={"local": {"boot_seconds": 0.1}})
    again = Session.open(session.workspace.project).attach()
    assert again.flavour.options.boot_seconds == 0.1
    assert again.outcome("server").state is NodeState.READY
    with pytest.raises(ConfigError, match="there is no node servre"):
        again.node("servre")
    assert running.id == again.id


def test_down_twice_and_keys_are_gone(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalFlavour, "guest", Guest(kernel=False, root="container"))  # with ssh
    running = start(session)
    folder = session.workspace.deployment_dir(running.id)
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    running.down()
    assert left(session) == []
    assert not (folder / "key").exists()
    assert not (folder / "nodes").exists()
    session.down(running.id)
    assert session.workspace.load(running.id).status is Status.STOPPED


def test_an_interrupted_start_is_gone_on_with(session: Session, events: list[Event]) -> None:
    session.sinks.append(lambda event: session.interrupt() if event.topic == "node" else None)
    with pytest.raises(Interrupted) as told:
        start(session, options={"local": {"boot_seconds": 0.5}})
    (summary,) = session.deployments()
    assert summary.status is Status.DEPLOYING
    assert summary.id in told.value.message
    pids = set(spawned(session))
    again = Session.open(session.workspace.project)
    running = start(again, options={"local": {"boot_seconds": 0.5}})
    assert running.id == summary.id
    assert running.deployment.status is Status.RUNNING
    assert pids <= set(spawned(session)), "what was booted already is kept"
    running.down()
    assert left(session) == []


def test_a_session_that_was_interrupted_can_take_down(session: Session) -> None:
    running = start(session)
    session.interrupt()
    session.down(running.id)
    assert left(session) == []


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
