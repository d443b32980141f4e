"""Machines as network namespaces, each behind a link of its own to one switch. Root only; leaves nothing.

One holder keeps a mount and a network namespace (the switch); the machines' are named inside, so that all of
it goes with the holder. Every machine has a folder in memory and, on request, a real sshd.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import field, frozen

from nxc_core.commands import Command

_HOLD = """
mount -t tmpfs tmpfs /run && mkdir -p /run/netns /run/sshd && mount -t tmpfs tmpfs /mnt
ip link add br0 type bridge && ip link set br0 up && ip link set lo up
echo held
while :; do sleep 1000 & wait $!; done
"""
_SSHD = """Port 22
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
PermitRootLogin prohibit-password
"""


@frozen(kw_only=True)
class Switch:
    """The holder, and what is known of the machines behind it."""

    holder: subprocess.Popen[str]
    folder: Path
    machines: dict[str, str] = field(factory=dict)
    """Addresses by name."""
    daemons: list[subprocess.Popen[bytes]] = field(factory=list)

    def enter(self, name: str, argv: Sequence[str]) -> tuple[str, ...]:
        """Return the words that run a command on a machine, with its files and its network."""
        where = ("nsenter", "-t", str(self.holder.pid), "-m", "-n", "--")
        return (*where, *(("ip", "netns", "exec", name) if name else ()), *argv)

    def run(self, name: str, *argv: str, check: bool = True) -> str:
        """Run a command on a machine; without a name on the switch."""
        done = subprocess.run(self.enter(name, argv), capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{argv} on {name or 'the switch'}: {done.stderr}")
        return done.stdout

    def add(self, name: str, *, rate: str = "", size: str = "600m") -> str:
        """Add a machine whose link carries ``rate`` in both directions; returns its address."""
        number = len(self.machines) + 1
        address = self.machines[name] = f"10.77.0.{number}"
        port = f"p{number}"
        self.run("", "ip", "netns", "add", name)
        self.run("", "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        self.run("", "ip", "link", "set", port, "master", "br0", "up")
        for card in ("lo", "eth0"):
            self.run(name, "ip", "link", "set", card, "up")
        self.run(name, "ip", "address", "add", f"{address}/24", "dev", "eth0")
        if rate:
            self.shape(name, rate)
        self.run("", "mkdir", "-p", f"/mnt/{name}")
        self.run("", "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", f"/mnt/{name}")
        return address

    def shape(self, name: str, rate: str) -> None:
        """Give a machine's link another speed."""
        words = ("root", "tbf", "rate", rate, "burst", "128kb", "latency", "100ms")
        number = list(self.machines).index(name) + 1
        self.run(name, "tc", "qdisc", "replace", "dev", "eth0", *words)
        self.run("", "tc", "qdisc", "replace", "dev", f"p{number}", *words)

    def command(self, name: str, argv: Sequence[str]) -> Command:
        """Return the command that runs words on a machine, past its link."""
        return Command(argv=self.enter(name, argv))

    def file(self, name: str, path: str) -> Path:
        """Return a path in a machine's folder as seen from outside."""
        return Path(f"/proc/{self.holder.pid}/root/mnt/{name}/{path}")

    def sent(self, name: str) -> int:
        """Return how many bytes have left a machine so far, headers and all."""
        return int(self.run(name, "cat", "/sys/class/net/eth0/statistics/tx_bytes"))

    def processes(self, name: str) -> list[str]:
        """List the command lines of what runs on a machine, its sshd left out."""
        found = []
        for pid in self.run("", "ip", "netns", "pids", name).split():
            with contextlib.suppress(OSError):
                words = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if words and "sshd" not in words:
                    found.append(words)
        return found

    def listening(self, name: str) -> list[str]:
        """List the addresses that something listens on on a machine."""
        return [line.split()[3] for line in self.run(name, "ss", "-Htln").splitlines()]

    # ssh

    def start_sshd(self, names: Sequence[str]) -> None:
        """Run a real sshd on machines; ``ssh`` gets there."""
        for key in ("host", "key"):
            if not (self.folder / key).exists():
                words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key))
                subprocess.run(words, check=True)
        (self.folder / "sshd_config").write_text(_SSHD.format(folder=self.folder))
        host = (self.folder / "host.pub").read_text()
        known = "".join(f"{self.machines[name]} {host}" for name in names)
        (self.folder / "known_hosts").write_text(known)
        for name in names:
            sshd = ("/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "sshd_config"))
            argv = self.enter(name, ("setpriv", "--pdeathsig", "KILL", *sshd))
            with (self.folder / f"{name}.log").open("wb") as log:
                self.daemons.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        end = time.monotonic() + 30
        while any(not self.listening(name) for name in names):
            assert time.monotonic() < end, "no sshd"
            time.sleep(0.05)

    def ssh(self, source: str, name: str) -> tuple[str, ...]:
        """Return the words of an ssh from one machine to another, which shares one connection."""
        options = ["BatchMode=yes", "LogLevel=ERROR", f"UserKnownHostsFile={self.folder / 'known_hosts'}"]
        options += ["ServerAliveInterval=2", "ServerAliveCountMax=3", "ConnectTimeout=10"]
        options += ["ControlMaster=auto", "ControlPersist=30", f"ControlPath={self.folder / name}.m"]
        words = [word for option in options for word in ("-o", option)]
        key = str(self.folder / "key")
        return self.enter(source, ("ssh", "-F", "none", "-i", key, *words, f"root@{self.machines[name]}"))


@contextlib.contextmanager
def switch(folder: Path) -> Iterator[Switch]:
    """Set up a switch to which machines can be added; keys and sockets go to ``folder``."""
    words = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "sh", "-euc", _HOLD)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as holder:
        made = Switch(holder=holder, folder=folder)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield made
        finally:
            for name in made.machines:
                subprocess.run(
                    ("ssh", "-F", "none", "-S", f"{folder / name}.m", "-O", "exit", "x"),
                    capture_output=True,
                    check=False,
                )
            for daemon in made.daemons:
                daemon.kill()
                daemon.wait()
            for name in made.machines:
                for pid in made.run("", "ip", "netns", "pids", name).split():
                    with contextlib.suppress(ProcessLookupError):
                        subprocess.run(("kill", "-9", pid), check=False, capture_output=True)
            for child in subprocess.run(
                ("pgrep", "-P", str(holder.pid)), capture_output=True, text=True, check=False
            ).stdout.split():
                subprocess.run(("kill", "-9", child), check=False)
            holder.kill()
