"""The verbs on the example flavour: build, start, resume, down; refused, and interrupted."""

from __future__ import annotations

import json
import shutil

import pytest

from nxc_core.errors import (
    BuildError,
    ConfigError,
    DeployError,
    Interrupted,
    StateError,
)
from nxc_core.model import Artifact, Event, Guest, NodeState, Policy, Status
from nxc_core.plugins import Plugins
from nxc_core.session import Session
from nxc_core.testing.workbench import spawned
from nxc_example.flavour import LocalFlavour
from tests.pair import PAIR, events, left, project, session, start

__all__ = ["events", "project", "session"]  # fixtures


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
