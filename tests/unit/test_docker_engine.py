"""Finding a container engine, what it tells of itself, and what is said where there is none that will do."""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from attrs import evolve

from nxc_core.errors import PreflightError
from nxc_docker import engine, failures
from nxc_docker.engine import find_url, is_local
from nxc_docker.options import DockerOptions
from nxc_docker.profile import Flags, Profile, flags, read_profile, wrapped

VERSION = {"Version": "20.10.24+dfsg1", "ApiVersion": "1.41", "Components": [{"Name": "Engine"}]}
PODMAN = {"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]}
INFO = {
    "Name": socket.gethostname(),
    "CgroupVersion": "1",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "DockerRootDir": "/var/lib/docker",
}
V2 = {**INFO, "CgroupVersion": "2"}


class Daemon(http.server.BaseHTTPRequestHandler):
    """Answers as an engine does, as far as it is asked what it is."""

    answers: dict[str, Any] = {}

    def do_GET(self) -> None:
        found = self.answers.get(self.path.rpartition("/")[2])
        body = json.dumps(found).encode() if isinstance(found, dict) else b"<html>hello</html>"
        self.send_response(200 if found is not None else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "here"

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serve(path: Path, **answers: Any) -> Iterator[str]:
    """Listen on a socket and answer so."""
    handler = type("Handler", (Daemon,), {"answers": answers})
    with socketserver.ThreadingUnixStreamServer(str(path), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("DOCKER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    engine.forget()
    yield
    engine.forget()


# What it says of itself


@pytest.mark.parametrize(
    ("version", "info", "expected"),
    [
        (VERSION, INFO, {"engine": "docker", "version": (20, 10, 24), "api": (1, 41), "cgroup": 1}),
        (
            VERSION,
            {**INFO, "SecurityOptions": ["name=apparmor", "name=rootless"]},
            {"apparmor": True, "rootless": True},
        ),
        (VERSION, {**INFO, "SecurityOptions": ["name=userns"]}, {"remapped": True}),
        (VERSION, {**INFO, "SecurityOptions": None}, {"apparmor": False, "rootless": False}),
        (PODMAN, {**INFO, "CgroupVersion": "v2"}, {"engine": "podman", "cgroup": 2}),
        ({**VERSION, "Version": "28.1.1"}, V2, {"writable_cgroups": True}),
        ({**VERSION, "Version": "27.5"}, V2, {"writable_cgroups": False}),
        (
            {**VERSION, "Version": "28.1"},
            {**V2, "SecurityOptions": ["name=rootless"]},
            {"writable_cgroups": False},
        ),
        ({**PODMAN, "Version": "28.1"}, V2, {"writable_cgroups": False}),
        ({**VERSION, "Version": "dev"}, INFO, {"version": ()}),
    ],
)
def test_an_engine_says_what_it_is(version: Any, info: Any, expected: dict[str, Any]) -> None:
    profile = read_profile(version, info, local=True)
    assert {name: getattr(profile, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "name", "expected"),
    [
        ("unix:///run/docker.sock", socket.gethostname(), True),
        ("unix:///run/docker.sock", "docker-desktop", False),
        ("tcp://127.0.0.1:2375", socket.gethostname(), False),
    ],
)
def test_files_are_ours_only_where_the_engine_lives_here(url: str, name: str, expected: bool) -> None:
    assert is_local(url, {"Name": name}) is expected


# The least that systemd needs

DOCKER = Profile(engine="docker", version=(26, 1), api=(1, 45), cgroup=2)
KINDS = [
    evolve(
        DOCKER,
        engine=name,
        cgroup=cgroup,
        apparmor=apparmor,
        writable_cgroups=writable,
        privileged=all_rights,
    )
    for name in ("docker", "podman")
    for cgroup in (1, 2)
    for apparmor in (True, False)
    for writable in (True, False)
    for all_rights in (True, False)
]


@pytest.mark.parametrize("profile", KINDS, ids=str)
def test_no_engine_gets_the_hosts_cgroups_in_a_namespace_of_their_own(profile: Profile) -> None:
    found = flags(profile)
    if any(bind.source.startswith("/sys/fs/cgroup") for bind in found.binds):
        assert found.cgroupns == "host"
    assert found.privileged is profile.privileged, "all rights are given when asked for, and only then"


def test_flags_are_the_least() -> None:
    assert flags(evolve(DOCKER, engine="podman")) == Flags()
    old = flags(evolve(DOCKER, cgroup=1))
    assert [bind.source for bind in old.binds] == ["/sys/fs/cgroup/systemd"]
    assert (old.cap_add, old.security_opt, old.wrapper) == ((), (), False)
    new = flags(evolve(DOCKER, apparmor=True))
    assert (new.cap_add, new.security_opt) == (("SYS_ADMIN",), ("apparmor=unconfined",))
    assert (new.binds, new.cgroupns, new.wrapper) == ((), "private", True)
    assert flags(DOCKER).security_opt == ()
    newest = flags(evolve(DOCKER, version=(28, 1), writable_cgroups=True))
    assert (newest.cap_add, newest.security_opt) == ((), ("writable-cgroups=true",))
    assert not newest.wrapper


def test_the_wrapper_becomes_init() -> None:
    assert wrapped(("/sbin/init",))[-1] == "/sbin/init"
    assert wrapped(("/sbin/init",))[0] == "/bin/sh"
    nix = wrapped(("/nix/store/abc-nixos/init",))
    assert nix[0] == "/nix/store/abc-nixos/sw/bin/sh", "an empty image has no other shell"


# Finding it


def test_the_address_that_is_asked_for_wins(tmp_path: Path) -> None:
    given = {"DOCKER_HOST": "tcp://there:2375", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert find_url("unix:///mine.sock", given) == "unix:///mine.sock"
    assert find_url("/mine.sock", given) == "unix:///mine.sock"
    assert find_url(None, given) == "tcp://there:2375"


def test_a_socket_that_is_there_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "DEFAULT_SOCKET", str(tmp_path / "no/docker.sock"))
    given = {"XDG_RUNTIME_DIR": str(tmp_path)}
    places = engine.sockets(given)
    assert find_url(None, given) == f"unix://{places[0]}", "nothing is there: the usual place is told"
    (tmp_path / "podman").mkdir()
    with socket.socket(socket.AF_UNIX) as podman, socket.socket(socket.AF_UNIX) as own:
        podman.bind(str(tmp_path / "podman/podman.sock"))
        assert find_url(None, given) == f"unix://{tmp_path}/podman/podman.sock"
        own.bind(str(tmp_path / "docker.sock"))
        assert find_url(None, given) == f"unix://{tmp_path}/docker.sock", "docker comes before podman"


def test_the_docker_context_in_use_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".docker"
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    meta = folder / "contexts" / "meta" / "ca33da5a3e5a1ff3a0a1b3a6a1b1c2e7"
    meta = meta.with_name(__import__("hashlib").sha256(b"lab").hexdigest())
    meta.mkdir(parents=True)
    host = {"Host": "unix:///lab.sock", "SkipTLSVerify": False}
    (meta / "meta.json").write_text(
        json.dumps({"Name": "lab", "Metadata": {}, "Endpoints": {"docker": host}})
    )
    (folder / "config.json").write_text('{"currentContext": "lab"}')
    assert find_url(None, {}) == "unix:///lab.sock"
    assert find_url(None, {"DOCKER_HOST": "unix:///other"}) == "unix:///other"
    with pytest.raises(PreflightError, match="no docker context nowhere"):
        find_url(None, {"DOCKER_CONTEXT": "nowhere"})
    (meta / "meta.json").write_text("{")
    with pytest.raises(PreflightError, match="cannot be read"):
        find_url(None, {})


# Talking to it


def refusal(url: str, **options: Any) -> PreflightError:
    with pytest.raises(PreflightError) as caught:
        engine.connect(DockerOptions(**options), url=url)
    assert caught.value.hint, "no way out is told"
    return caught.value


def test_an_engine_is_asked_once(tmp_path: Path) -> None:
    with serve(tmp_path / "d.sock", version=VERSION, info=INFO) as url:
        found = engine.connect(DockerOptions(url=url))
        assert found.profile.spelled == "docker 20.10.24, cgroup v1"
        assert found.profile.local
        assert found.program == ("docker", "-H", url)
    assert engine.connect(DockerOptions(url=url)) is found, "it was asked again"


def test_podman_is_known_by_its_components(tmp_path: Path) -> None:
    with serve(tmp_path / "p.sock", version=PODMAN, info=INFO) as url:
        assert engine.connect(DockerOptions(url=url)).program == ("podman", "--url", url)


@pytest.mark.parametrize(("least", "spoken"), [("1.12", "1.41"), ("1.44", "1.44"), (None, "1.41")])
def test_an_engine_that_forgot_old_calls_is_spoken_to_as_it_likes(
    tmp_path: Path, least: str | None, spoken: str
) -> None:
    """Docker 29 knows nothing before 1.44."""
    version = {**VERSION, "Version": "29.0.0", "ApiVersion": "1.52", "MinAPIVersion": least}
    with serve(tmp_path / "s", version=version, info=INFO) as url:
        assert engine.connect(DockerOptions(url=url)).api.api_version == spoken


def test_no_socket(tmp_path: Path) -> None:
    told = refusal(f"unix://{tmp_path}/none.sock")
    assert "no such socket" in told.message
    assert "start it" in told.hint


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "old.sock"))
    told = refusal(f"unix://{tmp_path}/old.sock")
    assert "not running" in told.message


def test_a_socket_that_may_not_be_opened(tmp_path: Path) -> None:
    """As another user: root may open everything."""
    tmp_path.chmod(0o755)
    place = tmp_path / "closed.sock"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(place))
        closed.listen()
        place.chmod(0o600)
        script = (
            "import os, sys\n"
            "from nxc_docker import engine, failures\n"
            "from nxc_docker.options import DockerOptions\n"
            "from nxc_core import NxcError\n"
            "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "else: os.chmod(sys.argv[1], 0)\n"
            "try: engine.connect(DockerOptions(), url='unix://' + sys.argv[1])\n"
            "except NxcError as error: print(error, '|', error.hint)\n"
        )
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o001)
        done = subprocess.run(
            (sys.executable, "-c", script, str(place)), capture_output=True, text=True, timeout=60, check=True
        )
    assert "permission denied" in done.stdout
    assert "rootless podman" in done.stdout


def test_an_engine_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PROBE_TIMEOUT", 0.5)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen()
        told = refusal(f"unix://{tmp_path}/mute.sock")
    assert "does not answer in time" in told.message


def test_what_is_advised_for_a_slow_engine_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = Daemon.do_GET

    def dawdle(self: Daemon) -> None:
        time.sleep(1)
        with contextlib.suppress(OSError):
            at_once(self)

    monkeypatch.setattr(engine, "PROBE_TIMEOUT", 0.2)
    monkeypatch.setattr(Daemon, "do_GET", dawdle)
    with serve(tmp_path / "slow.sock", version=VERSION, info=INFO) as url:
        assert "docker.timeout" in refusal(url).hint
        assert engine.connect(DockerOptions(timeout=18000), url=url).profile.version == (20, 10, 24)


def test_something_else_listens(tmp_path: Path) -> None:
    with serve(tmp_path / "web.sock", version="page", info="page") as url:
        assert "as one" in refusal(url).message or "no container engine" in refusal(url).message
    with serve(tmp_path / "other.sock") as url:
        assert "does not answer as a container engine does, but with 404" in refusal(url).message


def test_a_machine_that_no_way_leads_to() -> None:
    error = requests.exceptions.ConnectionError(OSError(errno.EHOSTUNREACH, "No route to host"))
    told = failures.explain_connection(error, "tcp://192.0.2.1:2375")
    assert told is not None
    assert "no way leads" in told.message


def test_an_engine_that_is_too_old(tmp_path: Path) -> None:
    old = {**VERSION, "Version": "19.03.13", "ApiVersion": "1.40"}
    with serve(tmp_path / "old.sock", version=old, info=INFO) as url:
        told = refusal(url)
    assert "19.3.13" in told.message
    assert "20.10" in told.message


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://there", "no engine's address"),
        ("tcp://there", "no engine's address"),
        ("tcp://127.0.0.1:1", "not running"),
        ("tcp://no-such-host.invalid:2375", "not known"),
        ("ssh://no-such-host.invalid", "by ssh"),
    ],
)
def test_wrong_addresses(url: str, words: str) -> None:
    assert words in refusal(url).message


def test_an_engine_behind_ssh_is_reached_by_its_socket() -> None:
    """The SDK's own way has no deadline, and a command waits for ever for the end of its input."""
    assert "ssh://me@there:2222 " in refusal("ssh://me@there:2222/").hint
    assert "DOCKER_HOST=unix://" in refusal("ssh://me@there:2222/").hint


def test_docker_host_is_named_where_it_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/none.sock"
    monkeypatch.setenv("DOCKER_HOST", url)
    with pytest.raises(PreflightError) as caught:
        engine.connect(DockerOptions())
    assert "correct DOCKER_HOST" in caught.value.hint
