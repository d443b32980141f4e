"""Container engines on cgroup v2: machines of Debian 13, booted by nxc; an engine's socket is here by ssh."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import docker
from attrs import frozen

from nxc_core.machine import NodeHandle
from nxc_core.running import Running
from nxc_core.session import Session

COMPOSITION = Path(__file__).parent / "integration" / "cgroup2.nix"
SOCKETS = {
    "docker": "/run/docker.sock",
    "podman": "/run/podman/podman.sock",
    "rootless-docker": "/run/user/1000/docker.sock",
    "rootless-podman": "/run/user/1000/podman/podman.sock",
}
OPTIONS = {"debian": {"suite": "trixie"}, "vm": {"memory": "3g"}}
ANSWERS = 300.0
"""Seconds in which an engine must answer: it may be emulated, and share a processor with other work."""

Name = Literal["docker", "podman", "rootless-docker", "rootless-podman"]


@frozen(kw_only=True)
class Guest:
    """A machine with an engine. ``url`` is what DOCKER_HOST takes, here."""

    engine: Name
    node: NodeHandle
    url: str

    def client(self) -> contextlib.closing[docker.DockerClient]:
        """Talk to the engine."""
        return contextlib.closing(docker.DockerClient(base_url=self.url, timeout=int(ANSWERS)))

    def found(self, label: str) -> list[str]:
        """List containers, networks and volumes with a label, or with a label's value (``name=value``)."""
        wanted: dict[str, Any] = {"label": label}
        with self.client() as client:
            told = [f"container {one.name}" for one in client.containers.list(True, filters=wanted)]
            told += [f"network {one.name}" for one in client.networks.list(filters=wanted)]
            return told + [f"volume {one.name}" for one in client.volumes.list(filters=wanted)]

    def groups(self) -> set[str]:
        """List the machine's control groups, from the root."""
        told = self.node.succeed("cd /sys/fs/cgroup && find . -type d")
        return {line.removeprefix(".") or "/" for line in told.split()}


@contextlib.contextmanager
def booted(engine: Name, folder: Path) -> Iterator[Guest]:
    """Boot a machine, with its files below ``folder``, and take it down."""
    project = folder / "cgroup2"
    project.mkdir()
    shutil.copy(COMPOSITION, project / "composition.nix")
    role = engine.partition("-")[0]
    roles = {name: int(name == role) for name in ("docker", "podman", "rootless")}
    session = Session.open(project)
    with session.up(
        project / "composition.nix", flavour="vm", base="debian", options=OPTIONS, roles=roles
    ) as running:
        running[role].wait_for_file(SOCKETS[engine], timeout=ANSWERS)
        with _forwarded(running, role, SOCKETS[engine]) as url:
            yield Guest(engine=engine, node=running[role], url=url)


@contextlib.contextmanager
def _forwarded(running: Running, node: str, remote: str) -> Iterator[str]:
    """Have a socket of a node here, through plain ssh; yields its URL when an engine answers."""
    nxc = Path(sys.executable).with_name("nxc")
    project = running.session.workspace.project
    config = subprocess.run(
        [nxc, "-C", project, "ssh-config", running.id], capture_output=True, text=True, timeout=60, check=True
    )
    with tempfile.TemporaryDirectory(prefix="nxc-") as short:  # a socket's path holds 108 bytes
        (Path(short) / "config").write_text(config.stdout)
        here = Path(short) / "engine.sock"
        argv = ["setpriv", "--pdeathsig", "KILL", "ssh", "-q", "-N", "-F", f"{short}/config"]
        argv += ["-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes", "-L", f"{here}:{remote}", node]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as ssh:
            try:
                _wait_for_answer(here, ssh)
                yield f"unix://{here}"
            finally:
                ssh.terminate()


def _wait_for_answer(path: Path, ssh: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + ANSWERS
    while not _answers(path):
        assert ssh.poll() is None, "the socket cannot be had through ssh"
        assert time.monotonic() < end, "the engine does not answer"
        time.sleep(1)


def _answers(path: Path) -> bool:
    """Ask for a sign of life; the SDK would leave a socket open where there is none."""
    with socket.socket(socket.AF_UNIX) as line, contextlib.suppress(OSError):
        line.settimeout(60)
        line.connect(str(path))
        line.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
        return b" 200 " in line.recv(4096)
    return False
