"""The flavour docker without an engine: what it asks, refuses, tells, and leaves alone."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
from attrs import evolve
from docker import errors as sdk

from nxc_core import state
from nxc_core.errors import ConfigError, DeployError, PreflightError
from nxc_core.model import (
    CLOSURE,
    Composition,
    Container,
    Deployment,
    Group,
    Guest,
    Interface,
    Leftover,
    NodeDocument,
    Resource,
    Role,
    Status,
)
from nxc_core.operation import Operation
from nxc_core.options import structure_options
from nxc_core.process import KEPT
from nxc_docker import check, compose, containers, failures, images, launch, leftovers, looking, power, routes
from nxc_docker.connection import EngineConnection
from nxc_docker.engine import Engine
from nxc_docker.exec import _END, STDERR, STDOUT, Unheard, _Streams
from nxc_docker.flavour import Docker
from nxc_docker.options import DockerOptions
from nxc_docker.profile import Profile
from nxc_docker.wishes import Port

PROFILE = Profile(engine="docker", version=(20, 10), api=(1, 41), cgroup=1)
OP = cast("Operation", SimpleNamespace(dir=Path("/project/.nxc/deployments/web-1"), claimed=list))


# Options, guest, identity


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"url": "there"}, "there"),
        ({"memory": "much"}, "memory 'much' cannot be had: give a size"),
        ({"timeout": "0"}, "timeout"),
        ({"seed": "mail"}, "mail"),
        ({"privileged": "perhaps"}, "privileged"),
    ],
)
def test_wrong_options_are_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        structure_options(DockerOptions, given, "docker")
    assert named in f"{caught.value}"


def test_a_container_has_neither_kernel_nor_sshd_of_its_own() -> None:
    assert Docker(DockerOptions()).guest == Guest(ssh=False, kernel=False, root="container", lean=True)
    assert not Docker(DockerOptions(lean=False)).guest.lean


@pytest.mark.parametrize("given", ["self_contained", "privileged"])
def test_a_self_contained_system_is_an_image_and_who_has_all_rights_is_lent_no_store(given: str) -> None:
    assert Docker(DockerOptions()).accepts[0] == CLOSURE
    kinds = Docker(structure_options(DockerOptions, {given: True}, "docker")).accepts
    assert kinds[0] == images.ARCHIVE
    assert CLOSURE not in kinds


def test_the_engine_has_the_card_and_speaks_ipv4() -> None:
    card = Interface(mac="52:4e:00:00:00:01", network="lan", addresses=("10.0.0.1/24",))
    document = NodeDocument(
        deployment="d",
        instance="i",
        node="a",
        role="r",
        hosts={"a": ("10.0.0.1", "fd00::1")},
        interfaces=(card,),
    )
    found = Docker(DockerOptions()).seed(document)
    assert found.interfaces == ()
    assert found.hosts == {"a": ("10.0.0.1",)}


@pytest.mark.parametrize(
    ("profile", "options", "copied"),
    [
        ({}, {}, os.getuid() != 0),
        ({"rootless": True}, {}, False),
        ({"local": False}, {}, True),
        ({"remapped": True}, {}, True),
        ({}, {"seed": "copy"}, True),
        ({"local": False}, {"seed": "mount"}, False),
    ],
)
def test_identity_is_mounted_only_where_root_alone_would_read_it(
    profile: dict[str, Any], options: dict[str, Any], copied: bool
) -> None:
    assert launch.is_copied(DockerOptions(**options), evolve(PROFILE, **profile)) is copied


def test_a_copied_identity_is_for_root_alone(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("{}")
    with tarfile.open(fileobj=io.BytesIO(containers.pack_document(tmp_path / "node.json"))) as tar:
        modes = {member.name: (member.mode, member.uid, member.gid) for member in tar.getmembers()}
    assert modes == {"nxc": (0o700, 0, 0), "nxc/node.json": (0o600, 0, 0)}


def test_a_missing_folder_is_refused_by_role(tmp_path: Path) -> None:
    flavour = Docker(DockerOptions(url="unix:///none"))
    there = Role(name="a", container=Container(volumes=(f"{tmp_path}:/data", "kept:/kept")))
    flavour.vet([there], OP)
    gone = Role(name="b", container=Container(volumes=(f"{tmp_path}/no:/data",)))
    with pytest.raises(ConfigError) as caught:
        flavour.vet([there, gone], OP)
    assert "role b" in f"{caught.value}"
    assert "volumes" in f"{caught.value}"
    Docker(DockerOptions(url="tcp://there:2375")).vet([gone], OP)  # that machine may have it


# What comes over one connection


def frames(*parts: tuple[int, bytes]) -> bytes:
    return b"".join(bytes([number, 0, 0, 0]) + len(part).to_bytes(4, "big") + part for number, part in parts)


@pytest.mark.parametrize("seed", range(20))
def test_streams_are_told_apart_however_they_are_cut(seed: int) -> None:
    dice = random.Random(seed)
    body = [(dice.choice((STDOUT, STDERR)), dice.randbytes(dice.randint(0, 300))) for _ in range(30)]
    data = frames((STDOUT, b"42"), (STDOUT, b"\n"), *body)
    streams = _Streams(write=None)
    while data:
        size = dice.randint(1, 200)
        streams.feed(data[:size])
        data = data[size:]
    assert streams.pid == "42"
    for number in (STDOUT, STDERR):
        assert streams.text(number) == b"".join(part for one, part in body if one == number)


def test_an_engines_complaint_is_no_output() -> None:
    streams = _Streams(write=None)
    streams.feed(frames((STDOUT, b"OCI runtime exec failed: "), (STDERR, b"no sh")))
    assert streams.pid == ""
    assert streams.text(STDOUT) == b""
    assert streams.text(STDERR) == b"OCI runtime exec failed: no sh"


def test_output_may_go_to_a_file() -> None:
    sink = io.BytesIO()
    streams = _Streams(write=sink.write)
    streams.feed(frames((STDOUT, b"7\nfirst"), (STDERR, b"aside"), (STDOUT, b" second")))
    assert sink.getvalue() == b"first second"
    assert streams.text(STDERR) == b"aside"


def test_output_may_be_heard_as_it_comes() -> None:
    heard: list[tuple[str, bytes]] = []
    streams = _Streams(write=None, on_data=lambda stream, data: heard.append((stream, data)))
    streams.feed(frames((STDOUT, b"42"), (STDOUT, b"\n"), (STDOUT, b"one"), (STDERR, b"two")))
    assert heard == [("stdout", b"one"), ("stderr", b"two")], "the pid is for nxc"
    streams.feed(frames((STDOUT, b"x" * 100_000)))
    assert streams.text(STDOUT) == b"x" * KEPT, "only the end is kept of what was heard"


def test_who_cannot_hear_is_told_apart_from_a_lost_engine() -> None:
    def fail(stream: str, data: bytes) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    streams = _Streams(write=None, on_data=fail)
    with pytest.raises(Unheard) as caught:
        streams.feed(frames((STDOUT, b"42\nword")))
    assert isinstance(caught.value.__cause__, BrokenPipeError)


def test_what_is_late_is_ended_with_all_it_started() -> None:
    """The script that runs in a container, here: it ends a session, and nothing else."""
    script = "trap '' TERM; sleep 300 & env -i sleep 300 & echo; wait"
    with (
        subprocess.Popen(("sh", "-c", script), start_new_session=True, stdout=subprocess.PIPE) as late,
        subprocess.Popen(("sleep", "300"), start_new_session=True) as other,
    ):
        assert late.stdout is not None
        late.stdout.readline()
        try:
            for name in ("TERM", "KILL"):
                subprocess.run(("/bin/sh", "-c", _END, str(late.pid), name), check=True, timeout=60)
            assert late.wait(timeout=60) == -signal.SIGKILL
            assert _members(late.pid) == []
            assert other.poll() is None, "a stranger's process was ended"
        finally:
            other.kill()
            for pid in _members(late.pid):
                os.kill(pid, signal.SIGKILL)


def _members(session: int) -> list[int]:
    end = time.monotonic() + 10
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if words[3] == str(session) and words[0] != "Z":
                found.append(int(path.parent.name))
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)


# How a container ended


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"ExitCode": 255}, "exit code 255: Failed to mount tmpfs at /run"),
        ({"ExitCode": 0}, "in good order"),
        ({"ExitCode": 137}, "was killed"),
        ({"ExitCode": 137, "OOMKilled": True}, "more memory"),
        ({"Status": "created", "Error": "no such device"}, "never started: no such device"),
        ({"Running": True, "Paused": True}, "paused"),
    ],
)
def test_an_end_is_told(told: dict[str, Any], words: str) -> None:
    assert words in looking.tell_end(told, lambda: "Failed to mount tmpfs at /run")


def test_a_console_has_no_returns() -> None:
    assert looking.clean_console(b"one\r\r\ntwo\r\nthree\nfour\rfive") == b"one\ntwo\nthree\nfour\rfive"


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2026-11-23T02:12:20.5Z", 1795399940.5),
        ("2026-11-23T02:12:20.123456789Z", 1795399940.123456789),
        ("2026-11-23T03:12:20+01:00", 1795399940.0),
        ("0001-01-01T00:00:00Z", 0.0),
        ("", 0.0),
    ],
)
def test_engines_times_are_read(stamp: str, seconds: float) -> None:
    assert power._seconds(stamp) == pytest.approx(seconds)


def test_a_wrong_address_is_told_in_a_sentence() -> None:
    with pytest.raises(PreflightError) as caught:
        Docker(DockerOptions(url="tcp://no-such-host.invalid:2375")).require(OP)
    assert caught.value.message == "the host of tcp://no-such-host.invalid:2375 is not known"


# Ports

WEB = (Port(inside=80, host=8080), Port(inside=443), Port(inside=53, host=53, protocol="udp"))


def test_who_has_a_port_is_told() -> None:
    there = [
        {"Names": ["/web-1-a"], "Labels": {"nxc.deployment": "web-1"}, "Ports": [published(8080)]},
        {"Names": ["/theirs"], "Labels": {}, "Ports": [published(53), published(53, "udp"), {"Type": "tcp"}]},
        {"Names": ["/quiet"], "Labels": None, "Ports": None},
    ]
    told = looking.find_holders(WEB, engine_of(containers=lambda: there))
    assert told == "web-1-a has 8080 (`nxc down web-1` removes it); theirs has 53"
    assert looking.find_holders(WEB[1:2], engine_of(containers=lambda: there)) == ""


def test_what_the_engine_cannot_tell_of_ports_hides_no_error() -> None:
    def refuse() -> list[Any]:
        raise requests.exceptions.ConnectionError

    assert looking.find_holders(WEB, engine_of(containers=refuse)) == ""


def test_the_ports_that_an_engine_chose() -> None:
    given = {"80/tcp": [{"HostPort": "8080"}], "443/tcp": [{"HostPort": "32768"}, {"HostPort": "32768"}]}
    engine = engine_of(inspect_container=lambda _: {"NetworkSettings": {"Ports": given}})
    assert looking.find_chosen("web-1-a", WEB, engine) == {"443/tcp": ["32768"]}
    assert looking.find_chosen("web-1-a", WEB[:1], engine_of()) == {}, "nothing is asked"


def published(port: int, protocol: str = "tcp") -> dict[str, Any]:
    return {"IP": "0.0.0.0", "PrivatePort": 1, "PublicPort": port, "Type": protocol}


@pytest.mark.parametrize(("terminal", "option"), [(True, "-it"), (False, "-i")])
def test_a_shell_has_a_terminal_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, option: str
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: terminal))
    argv = EngineConnection(engine_of(), "web-1-a").shell_argv(("id",))
    assert argv == ("docker", "exec", option, "web-1-a", "id")


# What an engine refuses


def answer(status: int, message: str) -> sdk.APIError:
    response = requests.Response()
    response.status_code = status
    kind = sdk.NotFound if status == 404 else sdk.APIError
    return kind(message, response=response, explanation=message)


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (
            500,
            "driver failed programming external connectivity on endpoint web-1-a (0af3): "
            "Bind for 0.0.0.0:80 failed: port is already allocated",
            "published port is in use (Bind for 0.0.0.0:80 failed",
        ),
        (
            500,
            "Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already in use",
            "port is in use",
        ),
        (403, "Pool overlaps with other one on this address space", "overlaps"),
        (500, 'exec: "slirp4netns": executable file not found in $PATH', "lacks a program"),
        (500, "crun: cgroups in hybrid mode not supported, drop all: OCI runtime error", "versions 1 and 2"),
        (500, 'exec: "/sbin/init": executable file not found in $PATH', "first program cannot"),
        (
            404,
            "could not find an available, non-overlapping IPv4 address pool among the defaults",
            "no subnet left",
        ),
        (500, "no available IPv4 addresses on this network's address pools: lan (abc)", "no free address"),
        (400, 'invalid mount config for type "bind": bind source path does not exist: /no', "does not exist"),
        (500, "write /var/lib/docker/tmp/x: no space left on device", "disk is full"),
        (
            403,
            "error while removing network: network web-1 id abc has active endpoints",
            "still in the network",
        ),
        (
            500,
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to start "
            "container process: unable to apply caps: operation not permitted: unknown",
            "rights that --privileged",
        ),
        (409, "Container abc is not running", "not running"),
        (404, "No such container: web-1-a", "gone"),
        (500, "something new", "refuses (500): something new"),
    ],
)
def test_refusals_are_told_with_a_way_out(status: int, message: str, words: str) -> None:
    with pytest.raises(DeployError) as caught, failures.translated("starting a"):
        raise answer(status, message)
    assert words in caught.value.message
    assert caught.value.message.startswith("starting a: ")
    assert caught.value.hint
    assert not isinstance(caught.value, failures.EngineLost)


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError(ConnectionRefusedError(111, "Connection refused")),
        requests.exceptions.ConnectionError("('Connection aborted.', RemoteDisconnected())"),
        requests.exceptions.ReadTimeout("Read timed out. (read timeout=60)"),
        FileNotFoundError(2, "No such file or directory"),
    ],
)
def test_a_lost_engine_is_told_apart(error: Exception) -> None:
    with (
        pytest.raises(failures.EngineLost) as caught,
        failures.translated("starting a", url="unix:///d.sock"),
    ):
        raise error
    assert "/d.sock" in caught.value.message
    assert "nxc start" in caught.value.hint


def test_exhausted_pools_do_not_count_as_gone() -> None:
    assert failures.is_gone(answer(404, "No such container: x"))
    assert not failures.is_gone(answer(404, "could not find an available, non-overlapping IPv4 address pool"))


# Room on this machine


def test_inotify_instances_are_counted(tmp_path: Path) -> None:
    for number, what in enumerate(
        ("anon_inode:inotify", "anon_inode:[eventpoll]", "anon_inode:inotify", "/tmp/x")
    ):
        (tmp_path / str(number)).symlink_to(what)
    assert check._count(tmp_path) == 2
    assert check.inotify_used(4_000_000) == 0, "nobody's processes have some"


def test_more_nodes_than_inotify_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "INSTANCES", tmp_path / "limit")
    monkeypatch.setattr(check, "inotify_used", lambda _: 28)
    check.require_room(1000, PROFILE, lean=True)  # a machine that does not tell
    (tmp_path / "limit").write_text("128\n")
    check.require_room(50, PROFILE, lean=True)
    check.require_room(1000, evolve(PROFILE, local=False), lean=True)
    with pytest.raises(PreflightError) as caught:
        check.require_room(51, PROFILE, lean=True)
    assert "fs.inotify.max_user_instances=256" in caught.value.hint
    with pytest.raises(PreflightError) as caught:
        check.require_room(34, PROFILE, lean=False)
    assert "lean" in caught.value.hint


def test_the_doctor_says_what_is_in_the_way(tmp_path: Path) -> None:
    (found,) = check.check_engine(DockerOptions(url=f"unix://{tmp_path}/none.sock"))
    assert not found.ok
    assert found.hint


def test_routes_are_read(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0000480A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "eth1\t0000A8C0\t00000000\t0001\t0\t0\t5\t00FFFFFF\t0\t0\t0\n"
    )
    assert routes.local_subnets(table) == ["10.72.0.0/24", "192.168.0.0/24"]
    assert routes.local_subnets(tmp_path / "none") == []


# Whose it is


def test_only_both_labels_make_it_ours() -> None:
    labels = {"nxc.deployment": "web-1", "nxc.folder": str(OP.dir)}
    assert containers.is_ours(labels, "web-1", OP)
    assert not containers.is_ours({**labels, "nxc.folder": "/elsewhere"}, "web-1", OP)
    assert not containers.is_ours(labels, "web-2", OP)
    assert not containers.is_ours({}, "web-1", OP)
    assert not containers.is_ours(None, "web-1", OP)


def test_a_deployment_whose_folder_moved_keeps_what_it_has() -> None:
    claim = Resource(kind=containers.NETWORK, id="web-1", data={"folder": "/before/web-1"})
    moved = cast("Operation", SimpleNamespace(dir=OP.dir, claimed=lambda: [claim]))
    labels = {"nxc.deployment": "web-1", "nxc.folder": "/before/web-1"}
    assert containers.is_ours(labels, "web-1", moved)
    assert not containers.is_ours(labels, "web-1", OP)


OURS = {"nxc.deployment": "web-1", "nxc.folder": str(OP.dir)}


def engine_of(**calls: Any) -> Engine:
    """Return an engine that answers some calls so."""
    return cast("Engine", SimpleNamespace(api=SimpleNamespace(**calls), url="unix:///e", program=("docker",)))


def test_what_runs_an_image_of_a_node_is_not_that_node() -> None:
    """``docker commit`` and ``docker run`` hand the labels on."""
    told = [
        {"Id": "1", "Names": ["/web-1-one"], "Labels": {**OURS, "nxc.node": "one"}},
        {"Id": "2", "Names": ["/experiment"], "Labels": {**OURS, "nxc.node": "one"}},
    ]
    found = containers.list_containers(engine_of(containers=lambda **_: told), "web-1", OP)
    assert list(found) == ["web-1-one"]


def small_model(*volumes: str) -> compose.Model:
    network = compose.NetworkModel(name="web-1", subnet="10.0.0.0/24", gateway="10.0.0.254", labels=OURS)
    return compose.Model(deployment="web-1", network=network, services=(), volumes=volumes, labels=OURS)


def test_a_strangers_volume_is_not_used() -> None:
    op = cast("Operation", SimpleNamespace(dir=OP.dir, claimed=list, claim=lambda *_, **__: None))
    stranger = engine_of(create_volume=lambda name, **_: {"Name": name, "Labels": {"of": "a stranger"}})
    with pytest.raises(DeployError, match="volume web-1-data that is not this deployment's"):
        containers.make_volumes(small_model("web-1-data"), stranger, op)
    ours = engine_of(create_volume=lambda name, labels: {"Name": name, "Labels": labels})
    containers.make_volumes(small_model("web-1-data"), ours, op)


def test_a_subnet_in_use_is_no_strangers_network() -> None:
    """As podman says it."""

    def refuse(**_: Any) -> None:
        raise answer(500, "subnet 10.0.0.0/24 is already used on the host or by another config")

    op = cast("Operation", SimpleNamespace(dir=OP.dir, claimed=list, claim=lambda *_, **__: None))
    with pytest.raises(DeployError, match="its subnet overlaps another network's"):
        containers.make_network(small_model(), engine_of(create_network=refuse, networks=lambda **_: []), op)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"Created": "1970-01-01T00:00:01Z", "RepoTags": ["nxc-role:0123456789ab"]}, True),
        ({"Created": "1970-01-01T00:00:01Z", "RepoTags": ["localhost/nxc-role:0123456789ab"]}, True),
        ({"Created": "1970-01-01T00:00:01Z", "RepoTags": None}, True),
        ({"Created": "1970-01-01T00:00:01Z", "RepoTags": ["nxc-role:0123456789ab", "mine:1"]}, False),
        ({"Created": "2026-11-01T10:00:00.123456789Z", "RepoTags": None}, False),
        ({"Created": "", "RepoTags": []}, False),
        ({}, False),
    ],
)
def test_only_images_that_nobody_named_or_made_from_ours_are_ours(
    told: dict[str, Any], expected: bool
) -> None:
    assert images.is_ours(told) is expected


def test_a_name_that_is_a_strangers_by_now_is_not_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []
    both = [
        {"Id": "lost", "Name": "web-1", "Labels": {**OURS, "nxc.owner": compose.owner()}},
        {"Id": "strange", "Name": "web-1", "Labels": {"nxc.folder": "/elsewhere"}},
    ]
    committed = {**OURS, "nxc.owner": compose.owner(), "nxc.node": "one"}
    engine = engine_of(
        containers=lambda **_: [{"Id": "1", "Names": ["/mine"], "ImageID": "i", "Labels": committed}],
        networks=lambda **_: both,
        images=lambda **_: [],
        volumes=lambda **_: {},
        remove_network=removed.append,
    )
    op = cast("Operation", SimpleNamespace(check_cancelled=lambda: None))
    monkeypatch.setattr(leftovers, "is_lost", lambda labels: "nxc.owner" in labels)
    assert [(one.what, one.id) for one in leftovers.find(engine)] == [("network", "web-1")]
    found = [Leftover(what="network", id="web-1"), Leftover(what="network", id="web-2")]
    assert list(leftovers.sweep(found, engine, op)) == found
    assert removed == ["lost"]


def test_what_a_lost_deployment_left(tmp_path: Path) -> None:
    role = Role(name="r")
    composition = Composition(name="web", base="plain", source=tmp_path / "c", roles=(role,))
    group = Group(flavour="docker", roles=("r",))
    deployment = Deployment(
        id="web-1",
        name="web",
        composition=composition,
        groups=(group,),
        networks=(),
        specs=(),
        instances={},
        created="",
    )
    folder = tmp_path / "deployments" / "web-1"
    labels = {"nxc.deployment": "web-1", "nxc.folder": str(folder), "nxc.owner": compose.owner()}
    assert leftovers.is_lost(labels), "its folder is gone"
    assert not leftovers.is_lost({**labels, "nxc.owner": "0@elsewhere"}), "it may be there, on that machine"
    assert not leftovers.is_lost({"nxc.folder": str(folder)}), "not ours at all"
    folder.mkdir(parents=True)
    assert not leftovers.is_lost(labels), "a folder without a document may be about to get one"
    state.save(folder / "deployment.json", evolve(deployment, status=Status.RUNNING))
    assert not leftovers.is_lost(labels)
    state.save(folder / "deployment.json", evolve(deployment, status=Status.STOPPED))
    assert leftovers.is_lost(labels)
    (folder / "deployment.json").write_text("{")
    assert not leftovers.is_lost(labels), "what cannot be read is left alone"
