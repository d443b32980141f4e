"""Machines for kexec: QEMU running an ordinary Debian, each with a loopback address of its own for its ports.

The system is tests/integration/former.nix without nxc's own layer. A firmware reset starts it again, whatever
kernel ran before. Two cards: QEMU's user network, with DHCP and the same address for every machine, and a
network that the machines share, with a static address and no DHCP.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define, field, frozen

from nxc_core.model import Artifact
from nxc_core.session import Session

FORMER = Path(__file__).parent / "integration" / "former.nix"
SSH_PORT = 10022
NODE_PORT = 2200
LAN = "192.168.77"
FAR = "172.29.0.0/16"
"""A network that machines have a route to, by way of the network that they share."""
MEMORY = 1024
SLOW = "no_timer_check mitigations=off"
"""Kernel arguments for an emulated processor, which may be given too little time for the timer's check."""
READY = 600.0
"""Seconds in which a machine must have booted; an idle one takes some fifteen."""
PROMPT = "this is an ordinary Debian"
"""What a console shows when the former system comes up."""
BOOT_ID = "/proc/sys/kernel/random/boot_id"
SSH = shutil.which("ssh") or "/usr/bin/ssh"
"""Also while a test has no PATH."""


@frozen(kw_only=True)
class System:
    """What machines boot from: read-only disks that all of them share."""

    kernel: Path
    initrd: Path
    disks: tuple[tuple[str, Path], ...]
    """Serial number and file of each, lowest layer first."""


def build_system(folder: Path) -> System:
    """Build the ordinary Debian in a new folder, out of the layers that other tests boot, too."""
    folder.mkdir()
    source = folder / "composition.nix"
    source.write_text(FORMER.read_text())
    artifact = Session.open(folder).build(source, flavour="vm", base="debian").artifact
    boot = artifact.roles["former"]
    assert boot.kernel is not None and boot.initrd is not None
    return System(kernel=boot.kernel, initrd=boot.initrd, disks=tuple(_disks(artifact, boot.layers)))


def _disks(artifact: Artifact, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for name in names:
        layer = artifact.layers[name]
        assert layer.squashfs is not None
        if not name.startswith("guest-"):
            yield layer.digest[:20], layer.squashfs


@frozen(kw_only=True)
class Lab:
    """A folder for some machines, with the keys of their user and what that user knows of their host keys."""

    folder: Path
    system: System
    loopback: str
    group: str

    @property
    def key(self) -> Path:
        """The user's private key."""
        return self.folder / "user_key"

    @property
    def known_hosts(self) -> Path:
        """The host keys of the former systems."""
        return self.folder / "known_hosts"

    @property
    def config(self) -> Path:
        """An ssh configuration of the user's own, for ``ssh -F``."""
        return self.folder / "ssh_config"


def make_lab(folder: Path, system: System) -> Lab:
    """Make the folder, a key, and choose addresses at random so that labs do not meet."""
    folder.mkdir()
    group = f"239.7.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
    lab = Lab(
        folder=folder,
        system=system,
        loopback=f"127.{80 + secrets.randbelow(100)}.{secrets.randbelow(256)}",
        group=f"{group}:{20000 + secrets.randbelow(1 << 14)}",
    )
    _make_key(lab.key)
    lab.known_hosts.touch()
    lab.config.write_text(
        f"Host {lab.loopback}.*\n  IdentityFile {lab.key}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {lab.known_hosts}\n  StrictHostKeyChecking yes\n  BatchMode yes\n"
    )
    return lab


def _make_key(path: Path) -> str:
    words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path))
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return path.with_suffix(".pub").read_text().strip()


@define(kw_only=True, eq=False)
class Former:
    """One machine: its number tells its addresses and hardware addresses."""

    lab: Lab
    number: int
    memory: int = MEMORY
    cards: tuple[str, ...] = ("user", "lan")
    extra: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """What it calls itself; nxc is not told."""
        return f"former{self.number}"

    @property
    def host(self) -> str:
        """The address at which the user reaches it."""
        return f"{self.lab.loopback}.{self.number}"

    @property
    def lan(self) -> str:
        """Its address on the network that the machines share."""
        return f"{LAN}.{10 + self.number}"

    @property
    def folder(self) -> Path:
        """Where its console and its identity are."""
        return self.lab.folder / self.name

    @property
    def line(self) -> str:
        """Its line in a machine file."""
        return f"lab@{self.host}:{SSH_PORT} key={self.lab.key} name={self.name}"

    def mac(self, card: str) -> str:
        """Return the hardware address of a card."""
        return f"52:54:00:{('user', 'lan', 'spare').index(card):02x}:6b:{self.number:02x}"

    # Power

    def start(self) -> None:
        """Power it on; its host key is known to the user from now on."""
        if not self.folder.exists():
            self._make_identity()
        with (self.folder / "qemu.log").open("ab") as log:
            self.process = subprocess.Popen(
                # It dies with the tests, whatever ends those.
                ("setpriv", "--pdeathsig", "KILL", *self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """Pull the plug."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def reset(self) -> None:
        """Press the reset button, and return when the former system is there again."""
        before = self.said().count(PROMPT)
        self.order("system_reset")
        self.order("cont")
        self._await(lambda: self.said().count(PROMPT) > before, "its console does not show its former system")
        self.wait()

    def order(self, name: str, **arguments: object) -> None:
        """Give QEMU an order: ``stop`` hangs the machine, ``cont`` lets it go on."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(30)
            line.connect(str(self.folder / "qmp"))
            stream = line.makefile("rwb")
            stream.readline()
            for order, given in (("qmp_capabilities", {}), (name, arguments)):
                stream.write(json.dumps({"execute": order, "arguments": given}).encode() + b"\n")
                stream.flush()
                while "event" in (answer := json.loads(stream.readline())):
                    pass
                assert "return" in answer, answer

    def _make_identity(self) -> None:
        self.folder.mkdir()
        public = _make_key(self.folder / "host_key")
        with self.lab.known_hosts.open("a") as known:
            known.write(f"[{self.host}]:{SSH_PORT} {' '.join(public.split()[:2])}\n")
        (self.folder / "hostname").write_text(f"{self.name}\n")
        (self.folder / "authorized_keys").write_text(self.lab.key.with_suffix(".pub").read_text())
        texts = {
            "user": "DHCP=ipv4\nIPv6AcceptRA=no\n",
            "lan": f"Address={self.lan}/24\nIPv6AcceptRA=no\n[Route]\nDestination={FAR}\nGateway={LAN}.1\n",
            "spare": "",
        }
        for card in self.cards:
            match = f"[Match]\nMACAddress={self.mac(card)}\n"
            (self.folder / f"{card}.network").write_text(f"{match}[Network]\n{texts[card]}")

    def _command(self) -> Iterator[str]:
        system = self.lab.system
        layers = ",".join(serial for serial, _ in system.disks)
        arguments = f"console=ttyS0 {SLOW} quiet nxc.layers={layers}"
        yield from ("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,tb-size=128", "-cpu", "qemu64")
        yield from ("-m", f"{self.memory}M", "-nodefaults", "-no-user-config", "-display", "none")
        yield from (
            "-chardev",
            f"file,id=console,path={self.console},append=on",
            "-serial",
            "chardev:console",
        )
        yield from ("-qmp", f"unix:{self.folder}/qmp,server=on,wait=off")
        yield from ("-kernel", str(system.kernel), "-initrd", str(system.initrd), "-append", arguments)
        for number, (serial, file) in enumerate(system.disks):
            place = f"file.driver=file,file.filename={file},file.locking=off"
            yield from ("-blockdev", f"node-name=disk{number},driver=raw,read-only=on,{place}")
            yield from ("-device", f"virtio-blk-pci,drive=disk{number},serial={serial}")
        for card in self.cards:
            yield from ("-netdev", self._network(card))
            yield from ("-device", f"virtio-net-pci,netdev={card},mac={self.mac(card)},romfile=")
        for name in ("hostname", "host_key", "authorized_keys", *(f"{card}.network" for card in self.cards)):
            yield from ("-fw_cfg", f"name=opt/former/{name},file={self.folder / name}")
        yield from self.extra

    def _network(self, card: str) -> str:
        if card != "user":
            return f"socket,id={card},mcast={self.lab.group},localaddr=127.0.0.1"
        ports = ((SSH_PORT, 22), (NODE_PORT, NODE_PORT))
        forwards = ",".join(f"hostfwd=tcp:{self.host}:{outer}-:{inner}" for outer, inner in ports)
        return f"user,id=user,ipv6=off,{forwards}"

    # The former system, as its user sees it

    @property
    def console(self) -> Path:
        """Its serial console, over all boots."""
        return self.folder / "console"

    def said(self) -> str:
        """Return its console's text."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def ssh(
        self, *words: str, stdin: bytes | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command as its user, by nothing but OpenSSH."""
        place = ("-p", str(SSH_PORT), "-o", "ConnectTimeout=30", f"lab@{self.host}")
        argv = (SSH, "-F", str(self.lab.config), *place, *words)
        return subprocess.run(argv, input=stdin or b"", capture_output=True, timeout=timeout, check=False)

    def run(self, *words: str, stdin: bytes | None = None, timeout: float = 60) -> str:
        """Run a command that must succeed, and return what it prints."""
        done = self.ssh(*words, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"{words}: {done.stderr.decode(errors='replace')}"
        return done.stdout.decode()

    def boot_id(self) -> str:
        """Return the boot id, or nothing where the former system does not answer."""
        if not self.greets(SSH_PORT):
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = self.ssh("cat", BOOT_ID, timeout=60)
            if done.returncode == 0:
                return done.stdout.decode().strip()
        return ""

    def greets(self, port: int) -> bool:
        """Whether an sshd answers on one of its ports; that QEMU takes a connection proves nothing."""
        with contextlib.suppress(OSError), socket.create_connection((self.host, port), timeout=10) as line:
            return line.recv(4).startswith(b"SSH")
        return False

    def wait(self, *, unlike: str = "") -> str:
        """Wait until the former system answers, and return its boot id; not the one of an earlier boot."""
        found = ""

        def is_back() -> bool:
            nonlocal found
            found = self.boot_id()
            return found not in ("", unlike)

        self._await(is_back, "its former system does not come up")
        return found

    def _await(self, probe: Callable[[], bool], complaint: str) -> None:
        end = time.monotonic() + READY
        while not probe():
            alive = self.process is not None and self.process.poll() is None
            assert alive, f"{self.name}: {self.qemu_said()}"
            assert time.monotonic() < end, f"{self.name}: {complaint}:\n{self.said()[-2000:]}"
            time.sleep(0.2)

    def qemu_said(self) -> str:
        """Return what QEMU itself wrote."""
        return (self.folder / "qemu.log").read_text(errors="replace")


@contextlib.contextmanager
def machines(lab: Lab, count: int, memory: int = MEMORY) -> Iterator[list[Former]]:
    """Power machines on, wait for all, and pull their plugs in the end."""
    found = [Former(lab=lab, number=number, memory=memory) for number in range(1, count + 1)]
    try:
        for machine in found:
            machine.start()
        for machine in found:
            machine.wait()
        yield found
    finally:
        for machine in found:
            machine.stop()
