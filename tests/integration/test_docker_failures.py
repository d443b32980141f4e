"""What goes wrong with container engines, for real: one clear error, the way out, and nothing left."""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import docker.errors
import docker.types
import pytest
from attrs import define, field

from nxc_core import deploying, state
from nxc_core.errors import DeployError
from nxc_core.identity import POOLS
from nxc_core.model import Build, Status
from nxc_core.session import Session
from nxc_core.state import Workspace
from tests.engines import Engine, dockerd, inside, load_busybox

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(600)]

NXC = Path(sys.executable).with_name("nxc")
OURS = "nxc.deployment"
CONFIG, PREFLIGHT, BUILD, DEPLOY, TEARDOWN = 3, 5, 6, 7, 9
BOTH = ["docker", pytest.param("podman", marks=pytest.mark.full)]
LOCKS: dict[str, bytes] = {}
"""Packages that a test has resolved, which is most of the work of a start, and not what is tested here."""
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")


@define
class Bench:
    """A project and the engine that it uses."""

    engine: Engine
    project: Path
    environment: dict[str, str] = field(factory=dict)

    def write(self, one: str = "", rest: str = "") -> None:
        """Write a composition with a role ``one``, which says this, and perhaps more."""
        text = f"{{ pkgs, ... }}: {{ roles.one = {{ {one} }}; {rest} }}\n"
        (self.project / "composition.nix").write_text(text)

    def nxc(self, *argv: str, **environment: str) -> tuple[int, str]:
        """Run nxc as a user would; a traceback is a bug whatever happens."""
        done = subprocess.run(
            [NXC, *argv],
            cwd=self.project,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert "Traceback" not in done.stdout, done.stdout
        return done.returncode, done.stdout

    def start(self, *more: str) -> str:
        """Start, which must go well, and return the deployment's id."""
        code, said = self.nxc("start", "-q", "-f", "docker", *more)
        assert code == 0, said
        return said.strip().splitlines()[-1]

    def refused(self, code: int, pattern: str, *argv: str, **environment: str) -> str:
        """Run nxc, which must end with one error that fits, and with a hint."""
        ended, said = self.nxc(*(argv or ("start", "-f", "docker")), **environment)
        assert ended == code, said
        self.told_once(said, pattern)
        return said

    def told_once(self, said: str, pattern: str) -> None:
        """Fail unless there is one error that fits, and a hint."""
        errors = [line for line in said.splitlines() if line.startswith("error:")]
        assert len(errors) == 1, said
        assert re.search(pattern, said[said.index("error:") :], re.DOTALL), said
        assert "\nhint: " in said, said

    @contextlib.contextmanager
    def starting(self, containers: int, *more: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
        """Start, and go on as soon as so many containers are there; what it says arrives in the list."""
        said: list[str] = []
        with subprocess.Popen(
            [NXC, "start", "-f", "docker", *more],
            cwd=self.project,
            env=self._environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child:
            assert child.stdout is not None
            end = time.monotonic() + 120
            while len([one for one in self.engine.found(OURS) if one.startswith("container")]) < containers:
                if child.poll() is not None or time.monotonic() > end:
                    child.kill()
                    pytest.fail(child.stdout.read())
                time.sleep(0.02)
            yield child, said
            said += child.stdout.readlines()
            child.wait(timeout=120)
        assert "Traceback" not in "".join(said), "".join(said)

    def down(self) -> None:
        """Take everything down: this must always work, and leave nothing."""
        code, said = self.nxc("down", "--all")
        assert code == 0, said
        self.nothing_left()

    def nothing_left(self) -> None:
        """Fail when the engine still has something of ours, or the journal a claim."""
        assert self.engine.found(OURS) == []
        workspace = Workspace(self.project)
        for id in workspace.deployments():
            assert workspace.journal(id).outstanding() == []
            assert workspace.load(id).status is Status.STOPPED

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": self.engine.url, **self.environment, **more}


@pytest.fixture(params=BOTH)
def bench(request: pytest.FixtureRequest, cached: Path, tmp_path: Path) -> Iterator[Bench]:
    """A project on the engine that all tests share."""
    with _bench(request.getfixturevalue(f"{request.param}_engine"), tmp_path) as made:
        yield made


@pytest.fixture
def own(cached: Path, tmp_path: Path) -> Iterator[Bench]:
    """A project on an engine of its own, which may be harmed."""
    with dockerd() as engine, _bench(engine, tmp_path) as made:
        yield made


@contextlib.contextmanager
def _bench(engine: Engine, tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "web").mkdir()
    bench = Bench(engine=engine, project=tmp_path / "web")
    bench.write()
    lock = bench.project / "nxc.lock"
    if "lock" in LOCKS:
        lock.write_bytes(LOCKS["lock"])
    try:
        yield bench
    finally:
        if lock.exists():
            LOCKS["lock"] = lock.read_bytes()
        if engine.answers():
            engine.sweep(OURS)
            engine.sweep("nxc.test")


# No engine


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses that no engine answers at, each by what is wrong with it."""
    folder = Path("/tmp") / f"nxe-{secrets.token_hex(4)}"
    folder.mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(folder / "dead.sock"))
    dead.close()
    (folder / "file").touch()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Web) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield {
            "missing": f"unix://{folder}/none.sock",
            "dead": f"unix://{folder}/dead.sock",
            "file": f"unix://{folder}/file",
            "refused": "tcp://127.0.0.1:1",
            "unknown": "tcp://no-such-host.invalid:2375",
            "misspelt": "foo://somewhere",
            "web": f"tcp://127.0.0.1:{web.server_address[1]}",
        }
        web.shutdown()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


class _Web(http.server.BaseHTTPRequestHandler):
    """A web server that knows of no container."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"<html")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("missing", "no container engine.*no such socket"),
        ("dead", "not running"),
        ("file", "not running"),
        ("refused", "not running"),
        ("unknown", "not known"),
        ("misspelt", "no engine's address"),
        ("web", "no container engine|does not answer as one"),
    ],
)
def test_where_no_engine_is(
    where: str, told: str, nowhere: dict[str, str], cached: Path, tmp_path: Path
) -> None:
    (tmp_path / "composition.nix").write_text("{ roles.one = { }; }\n")
    environment = {**os.environ, "DOCKER_HOST": nowhere[where], "NXC_FLAVOUR": "docker"}
    for argv, code in ((["start"], PREFLIGHT), (["doctor"], PREFLIGHT)):
        done = subprocess.run(
            [NXC, *argv],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout
        assert "Traceback" not in done.stdout
        assert re.search(told, done.stdout), done.stdout
        assert "building" not in done.stdout
        if argv[0] == "start":
            assert len(re.findall(r"^error:", done.stdout, re.MULTILINE)) == 1, done.stdout
            assert re.search(r"^hint: .*(DOCKER_HOST|start it|docker)", done.stdout, re.MULTILINE), (
                done.stdout
            )
    assert Workspace(tmp_path).deployments() == []


def test_someone_who_may_not_use_the_engine_is_told_which_group(
    docker_engine: Engine, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "composition.nix").write_text("{ roles.one = { }; }\n")
    os.chown(home, 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    done = subprocess.run(
        [*nobody, NXC, "start", "-f", "docker"],
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "DOCKER_HOST": docker_engine.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == PREFLIGHT, done.stdout
    assert "permission denied" in done.stdout and "\nhint: " in done.stdout, done.stdout
    assert "Traceback" not in done.stdout


# Names


@pytest.fixture
def known_id(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the next deployment's id known beforehand."""
    monkeypatch.setattr(deploying, "secrets", SimpleNamespace(token_hex=lambda _: "c0ffee"))
    return "web-docker-c0ffee"


def occupy(engine: Engine, name: str, labels: Mapping[str, str]) -> str:
    """Make a container of another kind with a name that we would choose; returns its id."""
    image = load_busybox(engine)
    with engine.client() as client:
        made = client.containers.create(
            image,
            ["sleep", "1000"],
            name=name,
            labels={"nxc.test": "stranger", **labels},
            stop_signal="SIGKILL",
        )
        made.start()
        return str(made.id)


@pytest.mark.parametrize("labels", [{}, {"nxc.deployment": "web-docker-c0ffee", "nxc.folder": "/elsewhere"}])
def test_a_strangers_container_is_named_and_left_alone(
    labels: dict[str, str], bench: Bench, known_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", bench.engine.url)
    stranger = occupy(bench.engine, f"{known_id}-one", labels)
    session = Session.open(bench.project)
    with pytest.raises(DeployError, match=f"{known_id}-one") as told:
        session.start(bench.project, flavour="docker", fresh=True)
    assert told.value.hint
    session.down(known_id)
    assert session.workspace.journal(known_id).outstanding() == []
    with bench.engine.client() as client:
        found = client.containers.get(f"{known_id}-one")
        assert (found.id, found.status) == (stranger, "running")
        assert client.networks.list(names=[known_id]) == []


def test_a_strangers_network_is_named_and_left_alone(
    bench: Bench, known_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", bench.engine.url)
    with bench.engine.client() as client:
        stranger = client.networks.create(known_id, labels={"nxc.test": "stranger"}).id
    session = Session.open(bench.project)
    with pytest.raises(DeployError, match=known_id) as told:
        session.start(bench.project, flavour="docker", fresh=True)
    assert told.value.hint
    session.down(known_id)
    assert bench.engine.found(OURS) == []
    with bench.engine.client() as client:
        assert [network.id for network in client.networks.list(names=[known_id])] == [stranger]


def test_what_a_crash_of_ours_has_left_under_the_name_is_replaced(
    bench: Bench, known_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", bench.engine.url)
    folder = Workspace(bench.project.resolve()).deployment_dir(known_id)
    former = occupy(bench.engine, f"{known_id}-one", {OURS: known_id, "nxc.folder": str(folder)})
    with Session.open(bench.project).up(bench.project, flavour="docker") as running:
        assert running["one"].succeed("hostname") == "one\n"
        with bench.engine.client() as client:
            assert client.containers.get(f"{known_id}-one").id != former
    bench.nothing_left()


# Ports and networks


def test_a_port_that_a_process_has(bench: Bench) -> None:
    bench.write('nxc.container.ports = [ "8097:80" ];')
    listen = [*bench.engine.namespaces.enter("net"), sys.executable, "-m", "http.server", "8097"]
    with subprocess.Popen(listen, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        while inside(bench.engine, "curl", "-s", "http://127.0.0.1:8097/").returncode != 0:
            time.sleep(0.05)
        bench.refused(DEPLOY, "port.*8097|8097.*port")
        other.kill()
    bench.down()


def test_a_port_that_another_deployment_has(bench: Bench) -> None:
    bench.write('nxc.container.ports = [ "8096:80" ];')
    first = bench.start()
    bench.refused(DEPLOY, "port.*8096|8096.*port", "start", "--new", "-f", "docker")
    assert bench.nxc("exec", "-d", first, "one", "hostname") == (0, "one\n"), "the first goes on undisturbed"
    bench.down()


def test_full_address_pools_do_not_matter(cached: Path, tmp_path: Path) -> None:
    """The engine's own choice is not asked for: subnets are ours."""
    with dockerd("--default-address-pool", "base=172.30.0.0/22,size=24") as engine:
        with engine.client() as client, pytest.raises(docker.errors.APIError, match="address pool"):
            for number in range(100):
                client.networks.create(f"full{number}")
        with _bench(engine, tmp_path) as bench:
            bench.start()
            bench.down()


def test_subnets_that_are_taken_are_passed_by(bench: Bench) -> None:
    """All of what nxc chooses from but one is a stranger's; then all of it."""
    spare = "10.99.77.0/24"
    with bench.engine.client() as client:
        for number, subnet in enumerate(all_but(spare, client)):
            pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)])
            client.networks.create(f"taken{number}", ipam=pool, labels={"nxc.test": "taken"})
    id = bench.start()
    assert Workspace(bench.project).load(id).networks[0].subnet == spare
    said = bench.refused(PREFLIGHT, "no private subnet is free", "start", "--new", "-f", "docker")
    assert "nxc clean" in said
    bench.down()


def all_but(spare: str, client: docker.DockerClient) -> list[str]:
    """Cover all that nxc chooses from, without one subnet and what networks have already."""
    left = [ipaddress.IPv4Network(pool) for pool in POOLS]
    for network in client.networks.list():
        for config in network.attrs["IPAM"].get("Config") or ():
            left = [part for one in left for part in exclude(one, ipaddress.IPv4Network(config["Subnet"]))]
    return [str(part) for one in left for part in exclude(one, ipaddress.IPv4Network(spare))]


def exclude(one: ipaddress.IPv4Network, other: ipaddress.IPv4Network) -> list[ipaddress.IPv4Network]:
    """Return a network without another that may be in it."""
    return list(one.address_exclude(other)) if other.subnet_of(one) else [one]


# Containers


def test_a_volume_whose_folder_is_missing(bench: Bench, tmp_path: Path) -> None:
    """Here, which is seen before anything is built; or only where the engine is, which it says itself."""
    bench.write(f'nxc.container.volumes = [ "{tmp_path}/data:/data" ];')
    said = bench.refused(CONFIG, f"role one: .*{tmp_path}/data")
    assert "building" not in said
    (tmp_path / "data").mkdir()
    elsewhere = [*bench.engine.namespaces.enter("mount"), "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    subprocess.run(elsewhere, check=True)
    try:
        bench.refused(DEPLOY, "mount")
        bench.down()
    finally:
        subprocess.run([*bench.engine.namespaces.enter("mount"), "umount", str(tmp_path)], check=True)


def test_a_container_that_exits_at_once_shows_its_last_words(bench: Bench) -> None:
    bench.write(
        """systemd.services.die = {
          wantedBy = [ "sysinit.target" ];
          before = [ "nxc-node.service" ];
          unitConfig.DefaultDependencies = false;
          serviceConfig.Type = "oneshot";
          script = "echo these are the last words > /dev/console; systemctl --force poweroff; sleep 60";
        };""",
        "roles.two = { };",
    )
    said = bench.refused(DEPLOY, r"1 of 2 nodes did not come up.*one.*these are the last words")
    assert "two (two)" not in said
    assert "these are the last words" in bench.nxc("logs", "one")[1]
    bench.down()


def test_memory_that_no_system_could_live_in(bench: Bench) -> None:
    bench.write('nxc.container.memory = "6m";')
    bench.refused(DEPLOY, "one")
    bench.down()


def test_programs_that_are_missing_and_nodes_that_are_gone(bench: Bench) -> None:
    id = bench.start()
    assert bench.nxc("exec", "one", "--", "no-such-program", "x")[0] == 127
    with bench.engine.client() as client:
        client.containers.get(f"{id}-one").kill()
    bench.refused(255, "one.*not running", "exec", "one", "--", "true")
    assert re.search(r"one +.*lost", bench.nxc("status")[1])
    with bench.engine.client() as client:
        client.containers.get(f"{id}-one").remove(force=True)
    code, said = bench.nxc("start", "-f", "docker")
    assert (code, f"going on with {id}" in said) == (0, True), said
    assert bench.nxc("exec", "one", "hostname") == (0, "one\n")
    bench.down()


def test_a_network_that_is_gone_or_in_use(bench: Bench) -> None:
    """A guest in our network is told of, and not harmed; with it gone the rest is, too."""
    id = bench.start()
    guest = occupy(bench.engine, "nxc-test-guest", {})
    with bench.engine.client() as client:
        client.networks.get(id).connect(guest)
    bench.refused(TEARDOWN, "nxc-test-guest|in the network|active endpoints", "down", id)
    with bench.engine.client() as client:
        assert client.containers.get(guest).status == "running"
        client.networks.get(id).disconnect(guest)
    bench.down()
    id = bench.start()
    with bench.engine.client() as client:
        client.containers.get(f"{id}-one").remove(force=True)
        client.networks.get(id).remove()
    bench.down()


# Images


@pytest.mark.parametrize("at", [0, 1024], ids=["no tar", "other content"])
def test_an_image_that_is_damaged(at: int, bench: Bench) -> None:
    """The file is named; without it, it is made again."""
    bench.write(f'environment.etc.token.text = "{secrets.token_hex(16)}";')
    assert bench.nxc("build", "-q", "-f", "docker")[0] == 0
    (record,) = bench.project.glob(".nxc/builds/*/build.json")
    build = state.load(record, Build)
    tar = build.artifact.layers[build.artifact.roles["one"].layers[-1]].tar
    with tar.open("r+b") as file:
        file.seek(at)
        file.write(secrets.token_bytes(400))
    said = bench.refused(BUILD, f"damaged: {tar}")
    assert "remove that file" in said[said.index("hint:") :]
    bench.down()
    tar.unlink()
    bench.start()
    bench.down()


# An engine that dies, hangs or dawdles


def test_an_engine_that_is_killed_in_the_middle(own: Bench) -> None:
    with own.starting(2, "-r", "one=6") as (child, said):
        own.engine.kill()
    assert child.returncode == DEPLOY, "".join(said)
    own.told_once("".join(said), "container engine")
    own.refused(TEARDOWN, "container engine", "down")
    assert own.nxc("status")[0] == 0
    own.engine.start()
    own.down()


def test_a_start_goes_on_after_the_engine_came_back(own: Bench) -> None:
    with own.starting(1, "-r", "one=3") as (child, said):
        own.engine.kill()
    assert child.returncode == DEPLOY, "".join(said)
    own.engine.start()
    code, told = own.nxc("start", "-f", "docker", "-r", "one=3")
    assert (code, "going on with" in told) == (0, True), told
    assert own.nxc("exec", "all", "hostname")[0] == 0
    own.down()


@define
class Proxy:
    """Stands between nxc and an engine: passes on what is asked late, and at some time not at all."""

    engine: Engine
    path: Path
    delay: float = 0.0
    stalls: threading.Event = field(factory=threading.Event)

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        """Listen, and say where."""
        with socket.socket(socket.AF_UNIX) as line:
            line.bind(str(self.path))
            line.listen(64)
            threading.Thread(target=self._accept, args=(line,), daemon=True).start()
            yield f"unix://{self.path}"
            line.shutdown(socket.SHUT_RDWR)
        self.path.unlink()

    def _accept(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._pass_on, args=(line.accept()[0],), daemon=True).start()

    def _pass_on(self, asker: socket.socket) -> None:
        with asker, socket.socket(socket.AF_UNIX) as engine, contextlib.suppress(OSError):
            engine.connect(str(self.engine.path))
            back = threading.Thread(target=self._pump, args=(engine, asker, 0.0), daemon=True)
            back.start()
            self._pump(asker, engine, self.delay)
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket, delay: float) -> None:
        with contextlib.suppress(OSError):
            last = 0.0
            while data := source.recv(1 << 16):
                if time.monotonic() - last > delay:  # another question: an image's parts follow each other
                    time.sleep(delay)
                last = time.monotonic()
                while self.stalls.is_set():
                    time.sleep(0.1)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(docker_engine: Engine) -> Proxy:
    return Proxy(engine=docker_engine, path=Path("/tmp") / f"nxe-{secrets.token_hex(4)}.sock")


@pytest.fixture
def slow(proxy: Proxy, docker_engine: Engine, cached: Path, tmp_path: Path) -> Iterator[Bench]:
    """A project whose engine is behind the proxy."""
    with proxy.listening() as url, _bench(docker_engine, tmp_path) as made:
        made.environment["DOCKER_HOST"] = url
        yield made


def test_an_engine_that_dawdles_is_waited_for(slow: Bench, proxy: Proxy) -> None:
    proxy.delay = 0.2
    slow.start()
    assert slow.nxc("exec", "one", "hostname") == (0, "one\n")
    slow.down()


def test_an_engine_that_hangs_from_the_beginning(slow: Bench, proxy: Proxy) -> None:
    proxy.stalls.set()
    try:
        slow.refused(PREFLIGHT, "does not answer in time")
    finally:
        proxy.stalls.clear()
    assert Workspace(slow.project).deployments() == []


def test_an_engine_that_hangs_in_the_middle(slow: Bench, proxy: Proxy) -> None:
    with slow.starting(1, "-r", "one=4", "-o", "docker.timeout=3") as (child, said):
        proxy.stalls.set()
        try:
            child.wait(timeout=120)
        finally:
            proxy.stalls.clear()
    assert child.returncode == DEPLOY, "".join(said)
    slow.told_once("".join(said), "does not answer in time")
    slow.down()


# Limits of this machine


def test_more_nodes_than_inotify_allows(bench: Bench) -> None:
    """The limit is really lowered, to some more than what is in use."""
    former = INOTIFY.read_text()
    INOTIFY.write_text(str(count_inotify() + 5))
    try:
        said = bench.refused(PREFLIGHT, "inotify", "start", "-f", "docker", "-r", "one=8")
        wanted = re.search(r"fs\.inotify\.max_user_instances\s*=\s*(\d+)", said)
        assert wanted, said
        assert bench.engine.found(OURS) == []
        assert int(wanted[1]) >= count_inotify() + 16
        INOTIFY.write_text(str(max(int(wanted[1]), int(former))))  # others on this machine go on
        bench.start("-r", "one=8")
    finally:
        INOTIFY.write_text(former)
    bench.down()


def count_inotify() -> int:
    """Count this user's inotify instances."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            found += path.readlink() == Path("anon_inode:inotify")
    return found


# Users, and ends of nxc


def test_an_interrupted_start(bench: Bench) -> None:
    with bench.starting(1, "-r", "one=4") as (child, said):
        child.send_signal(signal.SIGINT)
    assert child.returncode == 130, "".join(said)
    bench.told_once("".join(said), "interrupted")
    bench.down()


def test_an_interrupted_up_takes_all_down(bench: Bench) -> None:
    bench.write(rest="testScript = \"one.succeed('sleep 300')\";")
    with subprocess.Popen(
        [NXC, "up", "--test", "-f", "docker"],
        cwd=bench.project,
        env={**os.environ, "DOCKER_HOST": bench.engine.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if "sleep 300" in line:
                break
        child.send_signal(signal.SIGINT)
        said = child.stdout.read()
        assert child.wait(timeout=60) == 130, said
    bench.nothing_left()


def test_a_killed_start_whose_project_is_lost_is_found_by_its_labels(bench: Bench, tmp_path: Path) -> None:
    with bench.starting(2, "-r", "one=4") as (child, _):
        child.kill()
    assert bench.engine.found(OURS)
    elsewhere = Bench(engine=bench.engine, project=tmp_path / "elsewhere")
    elsewhere.project.mkdir()
    elsewhere.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")  # to clean what is there, and no more
    assert elsewhere.nxc("clean", "--yes")[0] == 0
    assert bench.engine.found(OURS), "a deployment that may go on is left alone"
    subprocess.run(["rm", "-rf", bench.project], check=True)
    code, said = elsewhere.nxc("clean")
    assert (code, "web-docker-" in said) == (0, True), said
    assert bench.engine.found(OURS), "nothing is removed before it is asked for"
    code, said = elsewhere.nxc("clean", "--yes")
    assert code == 0, said
    assert bench.engine.found(OURS) == []
