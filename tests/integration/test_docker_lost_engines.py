"""Engines that are not there, not for this user, that die, hang or dawdle."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from nxc_core.state import Workspace
from tests.docker_bench import DEPLOY, NXC, PREFLIGHT, TEARDOWN, Bench, make_bench, own
from tests.engines import Engine

__all__ = ["own"]  # fixtures

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(600)]


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
    with proxy.listening() as url, make_bench(docker_engine, tmp_path) as made:
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
    with slow.starting(1, "-r", "one=4", "-o", "docker.timeout=15") as (child, said):
        proxy.stalls.set()
        try:
            child.wait(timeout=120)
        finally:
            proxy.stalls.clear()
    assert child.returncode == DEPLOY, "".join(said)
    slow.told_once("".join(said), "does not answer in time")
    slow.down()
