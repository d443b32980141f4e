"""Many real sshd as machines for kexec: each has an address, namespaces, a boot id, and its own ways to fail.

A machine runs a *former* system: sshd on ``PORT``, in namespaces for mounts, processes and host name. The
`kexec` there is ours: it keeps what it loads as a kernel would, and ``-e`` freezes the machine and boots what
was loaded. The new system is a second sshd, on port 2200, with the keys of the node.json that is found in the
initial ramdisk as a kernel would find it. What RAM held is gone after any boot. Root only.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import os
import queue
import random
import re
import selectors
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from tests import farm_system
from tests.farm_image import Broken, read_initrd

PORT, NODE_PORT = 2022, 2200
After = Literal["node", "former", "panic", "hang"]
"""What a machine does after `kexec -e`: the new system; the former one again; panic; silence."""


@frozen(kw_only=True)
class Behaviour:
    """How a machine is, and how it fails. ``shims`` are shell lines that run before a program of its."""

    user: str = "root"
    sudo: bool = True
    kexec: bool = True
    kexec_disabled: bool = False
    lockdown: bool = False
    memory: int = 16 << 10
    """MiB that it says it has."""
    shared: Path | None = None
    """A folder of this machine that it sees under the same path, as an NFS home."""
    ram_folder: str = "256m"
    """Size of what it keeps in RAM: /run, /dev/shm, /tmp."""
    arch: str = "x86_64"
    shims: Mapping[str, str] = field(factory=dict)
    after: After = "node"
    boot: float = 0.2
    """Seconds from `kexec -e` to the first process of the new system, and from a reset to the former."""


FREEZE = "echo freeze >/mnt/orders; exec sleep infinity"
"""As a shim: the machine hangs, with all its connections, when the program is run."""


class Machine:
    """One machine of a farm. ``log`` tells what happened to it, in order."""

    def __init__(self, farm: Farm, name: str, address: str, behaviour: Behaviour) -> None:
        self.farm, self.name, self.address, self.behaviour = farm, name, address, behaviour
        self.dir = farm.dir / name
        self.log: list[str] = []
        self.boots = 0
        self.fate = 0
        """Counts what makes void whatever was to come."""
        self.boot_id = ""
        self.system: Literal["off", "former", "node", "gone"] = "off"
        self.process: subprocess.Popen[bytes] | None = None

    def line(self, *words: str) -> str:
        """Write the machine as a line of a machine file."""
        host = f"{self.behaviour.user}@{self.address}:{PORT}"
        return " ".join((host, f"key={self.farm.key}", f"name={self.name}", *words))

    def ssh(
        self, *argv: str, port: int = PORT, timeout: float = 60, stdin: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command over plain ssh, outside of nxc."""
        with (stdin or Path(os.devnull)).open("rb") as source:
            return subprocess.run(
                self.ssh_words(*argv, port=port),
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                stdin=source,
            )

    def ssh_words(self, *argv: str, port: int = PORT) -> tuple[str, ...]:
        """Return the words that run a command over plain ssh."""
        options = ("-F", "none", "-p", str(port), "-i", str(self.farm.key), "-o", "BatchMode=yes")
        known = f"UserKnownHostsFile={self.farm.known_hosts}"
        target = f"{'root' if port == NODE_PORT else self.behaviour.user}@{self.address}"
        return ("ssh", *options, "-o", known, "-o", "ConnectTimeout=20", target, "--", *argv)

    @property
    def connections(self) -> int:
        """How many ssh connections were let in to the former system."""
        path = self.dir / "sshd.log"
        return path.read_text().count("Accepted publickey") if path.exists() else 0

    @property
    def loaded(self) -> str | None:
        """The kernel command line of what is loaded for kexec."""
        path = self.dir / "loaded" / "cmdline"
        return path.read_text() if path.exists() else None

    def look(self, path: str) -> Path:
        """Return a path of the running system, seen from outside."""
        assert self.process is not None
        return Path(f"/proc/{_child(self.process.pid)}/root{path}")

    def processes(self) -> list[str]:
        """List the command lines of what runs on the machine, its sshd and first process left out."""
        assert self.process is not None
        found = []
        for entry in self.look("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if words and "sshd" not in words and "first" not in words:
                    found.append(words)
        return found

    # Fate

    def reset(self) -> None:
        """Press the button: the former system comes back through firmware."""
        self.farm.order(self, "reboot")

    def freeze(self) -> None:
        """Hang: every process stops, connections stay and are silent."""
        self.farm.order(self, "freeze")

    def cut(self) -> None:
        """Cut the power: connections end, nothing answers any more."""
        self.farm.order(self, "off")

    def wait(self, what: Callable[[Machine], bool], timeout: float = 120) -> None:
        """Wait until something is true of the machine."""
        end = time.monotonic() + timeout
        while not what(self):
            assert time.monotonic() < end, f"{self.name}: {self.log}"
            time.sleep(0.02)


class Farm:
    """Machines on addresses of the loopback that no other farm has. A context that leaves nothing."""

    def __init__(self, folder: Path) -> None:
        self.dir = folder
        self.net = f"127.{random.randint(16, 250)}.{random.randint(0, 255)}"
        self.machines: dict[str, Machine] = {}
        self.known_hosts = folder / "known_hosts"
        self.key = folder / "user_key"
        self._numbers = iter(range(1, 255))
        self._orders: queue.SimpleQueue[tuple[Machine, str]] = queue.SimpleQueue()
        self._wake, self._waker = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._later: list[tuple[float, int, Machine, str, int]] = []
        self._order = itertools.count()
        self._holes: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, name="farm", daemon=True)

    def __enter__(self) -> Farm:
        self.dir.mkdir(parents=True, exist_ok=True)
        _make_key(self.key)
        self.known_hosts.touch()
        farm_system.copy_kernel(self.dir / "sysctl")
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines.values():
            self.order(machine, "end")
        self._orders.put((Machine(self, "", "", Behaviour()), "stop"))
        os.write(self._waker, b".")
        self._thread.join(300)
        assert not self._thread.is_alive()
        for hole in self._holes:
            hole.close()
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        os.close(self._waker)
        self._selector.close()

    # Machines

    def add(self, name: str, *, wait: bool = True, **behaviour: Any) -> Machine:
        """Make a machine and switch it on; with ``wait``, until its sshd answers."""
        machine = Machine(self, name, f"{self.net}.{next(self._numbers)}", Behaviour(**behaviour))
        farm_system.install(machine.dir, machine.behaviour, self.key.with_suffix(".pub").read_text())
        host_key = machine.dir / "host_key"
        _make_key(host_key)
        public = " ".join(host_key.with_suffix(".pub").read_text().split()[:2])
        with self.known_hosts.open("a") as file:
            file.write(f"[{machine.address}]:{PORT} {public}\n")
        self.machines[name] = machine
        machine.system = "former"
        self.order(machine, "former")
        if wait:
            self.wait()
        return machine

    def wait(self) -> None:
        """Wait until the sshd of every machine that was switched on answers."""
        for machine in self.machines.values():
            machine.wait(lambda one: one.system != "former" or answers(one.address, PORT))

    def write_file(self, path: Path, *names: str) -> Path:
        """Write a machine file with all machines, or those named."""
        path.write_text("".join(self.machines[name].line() + "\n" for name in names or self.machines))
        return path

    def spare_address(self) -> str:
        """Return an address where nobody listens."""
        return f"{self.net}.{next(self._numbers)}"

    def black_hole(self, address: str, port: int) -> None:
        """Let connections to a port be neither taken nor refused: its queue is full."""
        hole = socket.socket()
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind((address, port))
        hole.listen(0)
        self._holes.append(hole)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((address, port))
            self._holes.append(filler)

    def order(self, machine: Machine, what: str) -> None:
        """Let something happen to a machine, in the thread that owns all of them."""
        self._orders.put((machine, what))
        os.write(self._waker, b".")

    # The thread that is the machines' hardware. A machine dies with the thread that started it.

    def _run(self) -> None:
        while True:
            timeout = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
            for key, _ in self._selector.select(timeout):
                data = os.read(key.fd, 4096)
                if key.data is not None:
                    for word in data.decode().split():
                        self._orders.put((key.data, word))
            while not self._orders.empty():
                machine, what = self._orders.get()
                if what == "stop":
                    return
                self._happen(machine, what)
            while self._later and self._later[0][0] <= time.monotonic():
                _, _, machine, what, fate = heapq.heappop(self._later)
                if machine.fate == fate:
                    self._happen(machine, what)

    def _after(self, machine: Machine, seconds: float, what: str) -> None:
        event = (time.monotonic() + seconds, next(self._order), machine, what, machine.fate)
        heapq.heappush(self._later, event)

    def _happen(self, machine: Machine, what: str) -> None:
        machine.log.append(what)
        match what:
            case "former":
                self._boot(machine, "former")
            case "node":
                self._boot_loaded(machine)
            case "freeze":
                self._freeze(machine)
            case "kexec":
                self._freeze(machine)
                follows = {"node": "node", "former": "former", "panic": "panic", "hang": "gone"}
                self._after(machine, machine.behaviour.boot, follows[machine.behaviour.after])
            case "panic":
                self._panic(machine)
            case "gone":
                machine.system = "gone"
                self.black_hole(machine.address, NODE_PORT)
            case "reboot":
                self._stop(machine)
                machine.system = "off"
                self._after(machine, machine.behaviour.boot, "former")
            case "off" | "end":
                self._stop(machine)
                machine.system = "off"

    def _boot(self, machine: Machine, system: Literal["former", "node"], name: str = "") -> None:
        self._stop(machine)
        orders = machine.dir / "orders"
        if not orders.exists():
            os.mkfifo(orders)
            orders.chmod(0o666)
            self._selector.register(os.open(orders, os.O_RDWR | os.O_NONBLOCK), selectors.EVENT_READ, machine)
        if system == "former":
            farm_system.forget_loaded(machine.dir)
        machine.boots += 1
        machine.boot_id = str(uuid.uuid4())
        farm_system.prepare(machine.dir, machine.behaviour, machine.address, system, machine.boot_id)
        with (machine.dir / "console").open("ab") as console:
            machine.process = subprocess.Popen(
                farm_system.boot_words(machine.dir, system, name or machine.name),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        machine.system = system

    def _boot_loaded(self, machine: Machine) -> None:
        """Do as a kernel does with the loaded ramdisk; what it cannot unpack is a panic."""
        try:
            document = json.loads(read_initrd(machine.dir / "loaded" / "initrd")["nxc/node.json"])
        except (Broken, KeyError, OSError, ValueError) as error:
            machine.log.append(f"Kernel panic - not syncing: {error!r}")
            self._panic(machine)
            return
        farm_system.write_identity(machine.dir, document)
        self._boot(machine, "node", document["node"])

    def _panic(self, machine: Machine) -> None:
        """Stay silent, or reboot if the kernel was told so."""
        found = re.search(r"(^| )panic=(-?\d+)", machine.loaded or "")
        if found and int(found[2]) != 0:
            self._after(machine, min(1.0, abs(int(found[2]))), "reboot")
            machine.system = "gone"
        else:
            self._happen(machine, "gone")

    def _freeze(self, machine: Machine) -> None:
        if machine.process is not None and (first := _child(machine.process.pid)):
            os.kill(first, signal.SIGUSR1)

    def _stop(self, machine: Machine) -> None:
        """End a system with all its processes and mounts: they go with its namespaces."""
        machine.fate += 1
        if machine.process is None:
            return
        if first := _child(machine.process.pid):
            os.kill(first, signal.SIGKILL)  # what started it ends when all of it has ended
        else:
            machine.process.kill()
        machine.process.wait()
        machine.process = None


def answers(address: str, port: int) -> bool:
    """Whether an ssh server introduces itself there."""
    try:
        with socket.create_connection((address, port), timeout=2) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def _make_key(path: Path) -> None:
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)), check=True)


def _child(pid: int) -> int:
    """Return the first process of a machine, which is the child of what made its namespaces."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(words[0]) if words else 0
    return 0
