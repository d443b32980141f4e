"""Container engines of our own: a real dockerd or podman service, seen by nobody else, that leaves nothing.

Each lives in namespaces of its own (network, mounts, processes) that one holder keeps open. Ending the holder
ends all that the engine started; it dies with the tests, whatever ends those. Only root can run this.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import select
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import docker
import docker.errors
from attrs import define, field

READY = 90.0
"""Seconds in which an engine must answer."""
CGROUPS = Path("/sys/fs/cgroup")
_HOLD = """
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir -p /var/lib/cni
mount -t tmpfs -o mode=755 tmpfs /var/lib/cni
case "$(stat -f -c %T "$1")" in
  overlay*) mkdir -p "$1/data" && mount -t tmpfs -o mode=711 tmpfs "$1/data" ;;
esac
echo held
while :; do sleep 1000 & wait $!; done
"""
"""What the first process of the namespaces does: podman's places are its own, orphans are reaped."""
_PODMAN = """
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "{folder}/tmp"
[network]
network_config_dir = "{folder}/networks"
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/data"
runroot = "{folder}/run"
"""

Name = Literal["docker", "podman"]


@define(eq=False)
class Engine:
    """A running engine. ``url`` is what DOCKER_HOST takes."""

    name: Name
    folder: Path
    namespaces: Namespaces
    words: Sequence[str] = ()
    service: subprocess.Popen[bytes] | None = None
    cgroup: str = field(factory=lambda: f"nxc-test-{secrets.token_hex(4)}")

    @property
    def path(self) -> Path:
        """Where it listens."""
        return self.folder / f"{self.name}.sock"

    @property
    def url(self) -> str:
        """Where it listens, as a URL."""
        return f"unix://{self.path}"

    def start(self) -> None:
        """Start the service, and return when it answers. Containers of a former service may be there."""
        assert self.service is None or self.service.poll() is not None, "it runs already"
        for stale in (self.path, self.folder / "docker.pid"):
            stale.unlink(missing_ok=True)  # after a kill, the number may be another process now
        (self.folder / "daemon.json").write_text("{}")  # this machine's own does not count
        with (self.folder / "log").open("ab") as log:
            self.service = self.namespaces.spawn(self._argv(), self._environment(), log)
        end = time.monotonic() + READY
        while not self.answers():
            if self.service.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{self.name} does not come up:\n{self.log()}")
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill the service, and it alone: its containers live on, if that engine lets them."""
        assert self.service is not None
        program = "dockerd" if self.name == "docker" else "podman system service"
        for pid, words in self.namespaces.processes().items():
            if words.startswith(program):
                os.kill(pid, 9)
        self.service.wait(timeout=30)

    def answers(self) -> bool:
        """Whether it answers a ping. The SDK would leave a socket open where it does not."""
        with socket.socket(socket.AF_UNIX) as line, contextlib.suppress(OSError):
            line.settimeout(10)
            line.connect(str(self.path))
            line.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in line.recv(4096)
        return False

    def client(self, timeout: int = 120) -> contextlib.closing[docker.DockerClient]:
        """Talk to it."""
        return contextlib.closing(docker.DockerClient(base_url=self.url, timeout=timeout))

    def found(self, label: str) -> list[str]:
        """List containers, networks and volumes with a label, or with a label's value (``name=value``)."""
        wanted: dict[str, Any] = {"label": label}
        with self.client() as client:
            containers = client.api.containers(all=True, filters=wanted)
            networks = client.api.networks(filters=wanted)
            volumes = client.api.volumes(filters=wanted)["Volumes"] or []
        told = [f"container {one['Names'][0].strip('/')} ({one['State']})" for one in containers]
        told += [f"network {one['Name']}" for one in networks]
        return told + [f"volume {one['Name']}" for one in volumes]

    def sweep(self, label: str) -> None:
        """Remove containers, networks and volumes with a label."""
        wanted: dict[str, Any] = {"label": label}
        with self.client() as client:
            for container in client.containers.list(True, filters=wanted):
                with contextlib.suppress(docker.errors.APIError):
                    container.remove(force=True, v=True)
            for network in client.networks.list(filters=wanted):
                with contextlib.suppress(docker.errors.APIError):
                    network.remove()
            for volume in client.volumes.list(filters=wanted):
                with contextlib.suppress(docker.errors.APIError):
                    volume.remove()

    def log(self, lines: int = 40) -> str:
        """Return the last lines that the service wrote."""
        told = (self.folder / "log").read_text(errors="replace")
        return "\n".join(told.splitlines()[-lines:])

    def end(self) -> None:
        """End everything, and remove all of it."""
        self.namespaces.end()
        if self.service is not None:
            self.service.wait(timeout=30)
        self._remove_cgroups()
        shutil.rmtree(self.folder)

    def _argv(self) -> list[str]:
        if self.name == "podman":
            return ["podman", "system", "service", "-t", "0", self.url]
        return [
            *("dockerd", "-H", self.url, "--cgroup-parent", f"/{self.cgroup}"),
            *("--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"),
            *(
                "--pidfile",
                f"{self.folder}/docker.pid",
                "--group",
                "root",
                "--config-file",
                f"{self.folder}/daemon.json",
            ),
        ]

    def _environment(self) -> dict[str, str]:
        foreign = ("DOCKER_", "XDG_RUNTIME_DIR")
        given = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        if self.name == "docker":
            return given
        for name, text in (("containers.conf", _PODMAN), ("storage.conf", _STORAGE)):
            (self.folder / name).write_text(text.format(folder=self.folder))
        (self.folder / "temporary").mkdir(exist_ok=True)
        return given | {
            "TMPDIR": f"{self.folder}/temporary",  # where it forgets what it was sent
            "CONTAINERS_CONF": f"{self.folder}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.folder}/storage.conf",
        }

    def _remove_cgroups(self) -> None:
        """Remove what killed containers have left: the kernel keeps groups until someone removes them."""
        names = [self.cgroup]
        if self.name == "podman":
            known = (path.name for path in (self.folder / "data/overlay-containers").glob("*"))
            names = [f"libpod_parent/libpod-{name}" for name in known if len(name) == 64]
        for name in names:
            for top in (CGROUPS / name, *CGROUPS.glob(f"*/{name}")):
                _remove_group(top)
        for empty in (*CGROUPS.glob("*/libpod_parent/conmon"), *CGROUPS.glob("*/libpod_parent")):
            with contextlib.suppress(OSError):  # another podman's
                empty.rmdir()


@define(eq=False)
class Namespaces:
    """Namespaces that are kept open by a holder, which is the first process in them."""

    holder: subprocess.Popen[bytes]

    @classmethod
    def open(cls, folder: Path) -> Namespaces:
        """Make them; the holder dies with this process."""
        new = ["unshare", "--net", "--mount", "--pid", "--mount-proc", "--propagation", "slave"]
        argv = ["setpriv", "--pdeathsig", "KILL", *new, "--fork", "--kill-child=KILL"]
        with (folder / "log").open("ab") as log:
            holder = subprocess.Popen(
                [*argv, "sh", "-euc", _HOLD, "sh", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert holder.stdout is not None
        if holder.stdout.readline() != b"held\n":
            holder.wait(timeout=30)
            raise AssertionError(f"no namespaces for an engine:\n{(folder / 'log').read_text()}")
        return cls(holder)

    def enter(self, *kinds: str) -> list[str]:
        """Return the words that run a command in them."""
        of = f"/proc/{self.holder.pid}/ns"
        paths = {"net": "net", "mount": "mnt", "pid": "pid_for_children"}
        return ["nsenter", *(f"--{kind}={of}/{paths[kind]}" for kind in kinds), "--"]

    def spawn(
        self, argv: Sequence[str], environment: dict[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a service in all of them."""
        return subprocess.Popen(
            [*self.enter("net", "mount", "pid"), *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )

    def processes(self) -> dict[int, str]:
        """Map the pids of the processes in them, as we see them, to their command lines."""
        ours = Path(f"/proc/{self.holder.pid}/ns/pid_for_children").readlink()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "ns/pid").readlink() == ours:
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = words.decode(errors="replace")
        return found

    def end(self) -> None:
        """End every process in them, and return when none is left: networks and mounts go with the last."""
        (first,) = (pid for pid in self.processes() if _number_inside(pid) == 1)
        watched = os.pidfd_open(first)  # it ends as the last one
        self.holder.kill()
        self.holder.wait(timeout=30)
        if self.holder.stdout is not None:
            self.holder.stdout.close()
        gone, _, _ = select.select([watched], [], [], 30)
        os.close(watched)
        assert gone, "what an engine has started does not end"


def inside(engine: Engine, *argv: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command in the engine's network, where published ports are."""
    words = [*engine.namespaces.enter("net"), *argv]
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)


def load_busybox(engine: Engine) -> str:
    """Import an image of one program, for containers that are not nxc's; returns its id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for name in ("sh", "sleep", "httpd"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    with engine.client() as client:
        told = client.api.import_image_from_data(buffer.getvalue(), repository="nxc-busybox", tag="test")
    return str(json.loads(str(told).splitlines()[-1])["status"])


@contextlib.contextmanager
def dockerd(*words: str) -> Iterator[Engine]:
    """Run dockerd, with more words on its command line."""
    with _engine("docker", words) as engine:
        yield engine


@contextlib.contextmanager
def podman() -> Iterator[Engine]:
    """Run podman's service, which speaks docker's language."""
    with _engine("podman") as engine:
        yield engine


@contextlib.contextmanager
def _engine(name: Name, words: Sequence[str] = ()) -> Iterator[Engine]:
    """Start it in a folder whose sockets have short names; remove all of it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="nxe-"))
    folder.chmod(0o755)
    engine = Engine(name=name, folder=folder, namespaces=Namespaces.open(folder), words=words)
    try:
        engine.start()
        yield engine
    finally:
        engine.end()


def _number_inside(pid: int) -> int:
    """Return the number that a process has in the innermost namespace that it is in; 0 if it has ended."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(next(line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")))
    return 0


def _remove_group(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        end = time.monotonic() + 10
        while Path(folder).exists() and time.monotonic() < end:
            try:
                Path(folder).rmdir()
            except OSError:  # its last processes are still being buried
                time.sleep(0.05)
