"""The flavour docker looking at booting nodes: what their consoles say, and when that counts."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from attrs import evolve
from docker import errors as sdk

import nxc_docker.flavour
from nxc_core.errors import DeployError
from nxc_core.model import ExecEndpoint, Node, NodeSpec, NodeState, Observation, Plan, Resource
from nxc_core.operation import THREADS, Operation
from nxc_docker import compose, containers, engine as engines, launch, looking, nodes
from nxc_docker.engine import Engine
from nxc_docker.flavour import Docker
from nxc_docker.options import DockerOptions
from nxc_docker.profile import Profile
from tests.docker_stubs import PROFILE
from tests.operations import operation_in

OP = cast("Operation", None)
NODE = Node(
    name="web1",
    role="web",
    endpoint=ExecEndpoint(prefix=()),
    facts={"engine": "unix:///e", "container": "d-web1"},
)
BOOTED = b"[  OK  ] Reached target\r\nnxc-node[42]: nxc: this is web1 (c0ffee)\r\n[  OK  ] more\r\n"


class Console:
    """What the engine has of a console, and what it was asked."""

    def __init__(self) -> None:
        self.text = b""
        self.asked: list[float | None] = []

    def read(self, name: str, engine: Engine, *, since: float | None = None, **_: Any) -> bytes:
        assert name == "d-web1"
        self.asked.append(since)
        return self.text


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    found = Console()
    monkeypatch.setattr(looking, "logs", found.read)
    monkeypatch.setattr(engines, "connect", lambda *_, **__: SimpleNamespace(url="unix:///e"))
    return found


@pytest.fixture
def flavour() -> Docker:
    made = Docker(DockerOptions())
    made.pace = 0.0
    return made


def test_a_console_that_begins_with_this_boot_is_taken_at_its_word(console: Console, flavour: Docker) -> None:
    flavour.watch("web1", 0.0, fresh=True)
    assert not flavour.awake(NODE, OP)
    assert flavour.told(NODE, OP) is None
    console.text = BOOTED
    assert flavour.awake(NODE, OP)
    assert flavour.told(NODE, OP) == "c0ffee"


def test_one_that_may_speak_of_an_earlier_boot_only_says_that_asking_is_worth_while(
    console: Console, flavour: Docker
) -> None:
    console.text = BOOTED
    assert flavour.awake(NODE, OP)
    assert flavour.told(NODE, OP) is None, "nobody saw it start"
    flavour.watch("web1", 0.0, fresh=False)
    assert flavour.awake(NODE, OP)
    assert flavour.told(NODE, OP) is None


def test_a_node_that_died_after_its_word_is_not_ready(
    console: Console, flavour: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its console stays when it is gone, and is read as if it were not."""
    op = operation_in(tmp_path, "d")
    specs = tuple(NodeSpec(name=f"web{number}", role="web", index=number, machine="") for number in (1, 2))
    for spec in specs:
        op.node(evolve(NODE, name=spec.name, facts={"engine": "unix:///e", "container": f"d-{spec.name}"}))
    states = {"d-web1": "exited", "d-web2": "running"}
    there = {name: SimpleNamespace(state=state) for name, state in states.items()}
    monkeypatch.setattr(containers, "list_containers", lambda *_: there)
    dead = Observation(alive=False, detail="its container was killed (exit code 137)")
    monkeypatch.setattr(looking, "look", lambda name, _: {"d-web1": dead}[name])
    flavour.settle(cast("Plan", SimpleNamespace(nodes=specs)), op)
    (found,) = op.journal.outcomes().values()
    assert (found.node, found.state, found.cause) == ("web1", NodeState.FAILED, dead.detail)


def test_another_boot_has_said_nothing_yet(console: Console, flavour: Docker) -> None:
    flavour.watch("web1", 0.0, fresh=True)
    console.text = BOOTED
    assert flavour.awake(NODE, OP)
    flavour.watch("web1", 1700000000.5, fresh=True)
    assert flavour.told(NODE, OP) is None
    console.text = b""
    assert not flavour.awake(NODE, OP)
    assert console.asked[-1] == 1700000000.5


def test_a_system_that_does_not_tell_its_instance_is_asked(console: Console, flavour: Docker) -> None:
    flavour.watch("web1", 0.0, fresh=True)
    console.text = b"nxc: this is web1\r\n"
    assert flavour.awake(NODE, OP)
    assert flavour.told(NODE, OP) is None


def test_a_console_that_grows_is_a_sign_of_life(
    console: Console, flavour: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(name: str, engine: Engine) -> Observation:
        looks.append(name)
        return Observation(alive=False, detail="its container was killed")

    monkeypatch.setattr(looking, "look", look)
    flavour.watch("web1", 0.0, fresh=True)
    console.text = b"Welcome"
    assert not flavour.awake(NODE, OP)
    assert flavour.observe(NODE, OP).alive
    assert looks == []
    assert not flavour.awake(NODE, OP), "nothing new"
    assert not flavour.observe(NODE, OP).alive
    assert looks == ["d-web1"]


def test_why_a_node_failed_is_told_as_a_whole(console: Console, flavour: Docker) -> None:
    """Its console is read at any time, be it in the middle of a line."""
    console.text = b"nxc: failed: there is no netw"
    assert not flavour.awake(NODE, OP)
    assert flavour.observe(NODE, OP).alive
    console.text += b"ork card\r\n"
    assert not flavour.awake(NODE, OP)
    assert flavour.observe(NODE, OP).detail.endswith(": there is no network card")


def test_a_long_boot_is_looked_at_less_and_less(
    console: Console, flavour: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(nodes, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    flavour.pace = 0.5
    flavour.watch("web1", 0.0, fresh=True)
    pauses, before = [], 1000.0
    while clock[0] < 1060:
        count = len(console.asked)
        flavour.awake(NODE, OP)
        if len(console.asked) > count:
            pauses.append(clock[0] - before)
            before = clock[0]
        clock[0] += 0.1
    assert 0.4 < pauses[1] < 0.7
    assert 5 < pauses[-1] < 7
    assert len(pauses) < 40


# Starting many


class Starter:
    """Counts how many containers are being started at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.most = 0
        self.started: list[str] = []

    def start(self, spec: NodeSpec, present: object, op: Operation) -> bool:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.02)
        with self.lock:
            self.running -= 1
            self.started.append(spec.name)
        return True


@pytest.mark.parametrize(("processors", "width"), [(1, 2), (2, 4), (0, 4), (64, THREADS)])
def test_no_more_start_at_once_than_the_engine_s_processors_can_bear(
    processors: int, width: int, flavour: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter = Starter()
    profile = Profile(engine="docker", version=(20, 10), api=(1, 41), cgroup=1, processors=processors)
    monkeypatch.setattr(
        engines, "connect", lambda *_, **__: SimpleNamespace(url="unix:///e", profile=profile)
    )
    monkeypatch.setattr(launch, "prepare", lambda *_: starter)
    monkeypatch.setattr(launch, "say_rights", lambda *_: None)
    monkeypatch.setattr(nxc_docker.flavour, "require_room", lambda *_, **__: None)
    names = [f"web{n}" for n in range(40)]
    specs = tuple(NodeSpec(name=name, role="web", index=n, machine="") for n, name in enumerate(names))
    op = cast("Operation", SimpleNamespace(claimed=lambda *_: [], map=partial(Operation.map, OP)))
    flavour.bring_up(cast("Plan", SimpleNamespace(nodes=specs)), names, op)
    assert sorted(starter.started) == sorted(names)
    assert 1 < starter.most <= width


# A network that the engine does not let go of


class Networks:
    """An engine that still counts a container for a while that is gone, or counts one that is there."""

    def __init__(self, refusals: int, *, there: bool, lists: bool = True) -> None:
        self.refusals = refusals
        self.there = there
        self.lists = lists
        self.cut: list[str] = []

    def remove_network(self, id: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise sdk.APIError("403", explanation=f"network {id} has active endpoints")

    def inspect_network(self, id: str) -> dict[str, Any]:
        if not self.refusals:
            raise sdk.NotFound("404", explanation=f"network {id} not found")
        return {"Containers": {"c1": {"Name": "d-web1"}} if self.lists else {}}

    def inspect_container(self, id: str) -> None:
        if not self.there:
            raise sdk.NotFound("404", explanation="no such container")

    def disconnect_container_from_network(self, name: str, id: str, *, force: bool) -> None:
        assert force
        self.cut.append(name)


def test_endpoints_of_containers_that_are_gone_are_cut() -> None:
    networks = Networks(2, there=False)
    engine = cast("Engine", SimpleNamespace(api=networks))
    assert not containers._take_network("n1", engine)
    assert networks.cut == ["d-web1"]
    assert containers._take_network("n1", engine), "somebody else has removed it meanwhile"


def test_a_network_that_somebody_is_in_stays() -> None:
    networks = Networks(2, there=True)
    with pytest.raises(sdk.APIError):
        containers._take_network("n1", cast("Engine", SimpleNamespace(api=networks)))
    assert networks.cut == []


def test_a_count_that_only_a_restart_corrects_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker before 28 may count too many for good, where many containers go at once."""
    monkeypatch.setattr(containers, "COUNTING", 0.0)
    networks = Networks(1000, there=False, lists=False)
    engine = cast("Engine", SimpleNamespace(api=networks, profile=PROFILE))
    with pytest.raises(DeployError) as caught:
        containers.take_network("web-1", "n1", engine, operation_in(tmp_path))
    assert "web-1" in caught.value.message
    assert "restart docker" in caught.value.hint


def test_what_a_network_holds_up_is_removed_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    def refuse(*_: object) -> None:
        raise DeployError("it stays")

    monkeypatch.setattr(containers, "remove_network", refuse)
    monkeypatch.setattr(containers, "remove_volume", lambda name, *_: removed.append(name))
    monkeypatch.setattr(engines, "connect", lambda *_, **__: cast("Engine", None))
    held = [Resource(kind=containers.NETWORK, id="n"), Resource(kind=containers.VOLUME, id="v")]
    with pytest.raises(DeployError):
        Docker(DockerOptions()).release(held, operation_in(tmp_path))
    assert removed == ["v"]


def test_a_full_disk_keeps_no_node_from_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    (tmp_path / "log").write_text("no folder")
    monkeypatch.setattr(looking, "logs", lambda *_, **__: b"said")
    op = operation_in(tmp_path, hear=lambda event: heard.append(event.message))
    nodes.save_console("web1", "d-web1", cast("Engine", None), op)
    assert "cannot be kept" in heard[0]


@pytest.mark.parametrize(("state", "calls"), [("created", ["put", "start"]), ("exited", ["start"])])
def test_who_was_made_but_perhaps_not_told_who_it_is_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, calls: list[str]
) -> None:
    (tmp_path / "node.json").write_text("{}")
    monkeypatch.setattr(compose, "to_create", lambda *_, **__: {"labels": {}})
    monkeypatch.setattr(containers, "_keep", lambda found, *_: found.id)
    done: list[str] = []
    api = SimpleNamespace(
        api_version="1.41",
        put_archive=lambda *_: done.append("put"),
        start=lambda *_: done.append("start"),
    )
    engine = cast("Engine", SimpleNamespace(api=api, url="unix:///e"))
    service = cast("compose.Service", SimpleNamespace(name="d-web1", node="web1"))
    present = containers.Found(id="1", name="d-web1", node="web1", state=state, digest="")
    model, op = cast("compose.Model", None), operation_in(tmp_path)
    assert not containers.boot(service, model, "n", engine, op, present=present, seed=tmp_path / "node.json")
    assert done == calls
