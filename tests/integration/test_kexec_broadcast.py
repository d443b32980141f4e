"""Broadcasts over real links: namespaces shaped by tbf, real sshd, and what goes wrong on a network."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from attrs import define, field

from nxc_core.commands import Command
from nxc_core.errors import Interrupted
from nxc_core.model import Event
from nxc_kexec.broadcast import Target, broadcast
from tests.relaying import operation
from tests.shaped import Switch, switch

pytestmark = [pytest.mark.live, pytest.mark.root]

PATIENCE = 300.0
MIB = 1 << 20
CORRUPT = """import socket, struct, sys, threading
server = socket.create_server(("127.0.0.1", 999))
print("ready", flush=True)
def carry(a, b, spoil):
    count = 0
    while data := a.recv(1 << 16):
        if spoil and count < 3_000_000 <= count + len(data):
            data = data[:-1] + bytes([data[-1] ^ 1])
        count += len(data)
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
while True:
    one, _ = server.accept()
    port, host = struct.unpack("!2xH4s8x", one.getsockopt(socket.SOL_IP, 80, 16))
    other = socket.socket()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
    other.connect((socket.inet_ntoa(host), port))
    threading.Thread(target=carry, args=(one, other, False), daemon=True).start()
    threading.Thread(target=carry, args=(other, one, True), daemon=True).start()
"""
"""Carries connections where they were meant to go, and changes a bit on the way."""


@define
class Site:
    """A source and machines behind shaped links; what is told, and which commands sent files."""

    switch: Switch
    folder: Path
    image: Path
    events: list[Event] = field(factory=list)
    fed: list[tuple[str, int]] = field(factory=list)

    def targets(self, names: Sequence[str], *, ssh: bool = False) -> list[Target]:
        """Return machines, reached past their links or by ssh over them."""
        return [
            Target(
                name=name,
                address=self.switch.machines[name],
                folder=f"/mnt/{name}",
                run=partial(self.run, name, ssh),
            )
            for name in names
        ]

    def run(self, name: str, ssh: bool, argv: Sequence[str]) -> Command:
        """Return the command that runs words on a machine."""
        if "feed" in argv:
            self.fed.append((name, int(argv[-1])))
        if ssh:
            return Command(argv=(*self.switch.ssh("source", name), "--", shlex.join(argv)))
        return self.switch.command(name, argv)

    def send(self, names: Sequence[str], *, ssh: bool = False, timeout: float = PATIENCE) -> dict[str, str]:
        """Bring the image to machines."""
        op = operation(self.folder, self.events.append)
        return broadcast([self.image], self.targets(names, ssh=ssh), op, timeout=timeout)

    def check(self, names: Sequence[str]) -> None:
        """See that machines have the image and run nothing any more."""
        for name in names:
            assert self.switch.file(name, "image").read_bytes() == self.image.read_bytes(), name
            assert self.there(name) == ["image"]
            self.check_left(name)

    def there(self, name: str) -> list[str]:
        """List what is in a machine's folder."""
        return sorted(path.name for path in self.switch.file(name, "").iterdir())

    def check_left(self, name: str) -> None:
        """See that nothing runs or listens on a machine any more."""
        end = time.monotonic() + PATIENCE
        while self.switch.processes(name) and time.monotonic() < end:
            time.sleep(0.05)
        assert self.switch.processes(name) == []
        assert [where for where in self.switch.listening(name) if not where.endswith(":22")] == []

    def told(self, words: str) -> list[str | None]:
        """List the machines of which something was told."""
        return [event.node for event in self.events if words in event.message]

    def when(self, name: str, size: int, act: Callable[[], object]) -> threading.Thread:
        """Do something once a machine has received that much."""

        def wait() -> None:
            part = self.switch.file(name, "image.part")
            end = time.monotonic() + PATIENCE
            while not (part.exists() and part.stat().st_size >= size) and time.monotonic() < end:
                time.sleep(0.01)
            act()

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Have machines wait for each other, so that each takes its place in the row."""
    monkeypatch.setattr("nxc_kexec.broadcast.GATHER", PATIENCE)
    image = tmp_path / "image"
    image.write_bytes(os.urandom(20 * MIB + 123))
    with switch(tmp_path) as made:
        made.add("source")
        for number in range(4):
            made.add(f"n{number}", rate="80mbit")
        yield Site(made, tmp_path, image)


NAMES = ["n0", "n1", "n2", "n3"]


def test_over_real_ssh_one_copy_leaves(site: Site) -> None:
    site.switch.start_sshd(NAMES)
    for name in NAMES:
        subprocess.run((*site.switch.ssh("source", name), "true"), check=True)
    before = site.switch.sent("source")
    assert not any(site.send(NAMES, ssh=True).values())
    assert site.switch.sent("source") - before < 1.1 * site.image.stat().st_size
    site.check(NAMES)
    assert site.fed == [("n0", 0)]
    before = site.switch.sent("source")
    assert not any(site.send(NAMES, ssh=True).values())
    assert site.switch.sent("source") - before < MIB  # the same again: it is there


def test_a_connection_that_ends_is_opened_again_and_goes_on(site: Site) -> None:
    site.switch.start_sshd(NAMES)
    for name in NAMES:
        subprocess.run((*site.switch.ssh("source", name), "true"), check=True)
    before = site.switch.sent("source")

    def cut() -> None:
        subprocess.run((*site.switch.ssh("source", "n0"), "-O", "exit"), capture_output=True, check=True)

    thread = site.when("n0", 8 * MIB, cut)
    assert not any(site.send(NAMES, ssh=True).values())
    thread.join()
    site.check(NAMES)
    assert site.switch.sent("source") - before < 1.6 * site.image.stat().st_size


def test_a_link_that_corrupts_is_found_and_left(site: Site) -> None:
    """A bit changes on the way into n2: n3 has it, too, from there; nobody takes it for the image."""
    proxy = subprocess.Popen(
        site.switch.enter("n2", ("python3", "-c", CORRUPT)), stdout=subprocess.PIPE, text=True
    )
    try:
        assert proxy.stdout is not None
        assert proxy.stdout.readline() == "ready\n"
        rule = ("OUTPUT", "-p", "tcp", "-d", site.switch.machines["n1"], "-m", "mark", "!", "--mark", "7")
        site.switch.run("n2", "iptables", "-t", "nat", "-A", *rule, "-j", "REDIRECT", "--to-ports", "999")
        assert not any(site.send(NAMES).values())
    finally:
        proxy.kill()
        proxy.wait()
        assert proxy.stdout is not None
        proxy.stdout.close()
    site.check(NAMES)
    assert "n2" in site.told("something else than image from n1")
    assert site.fed == [("n0", 0)]


def test_a_link_that_stalls_is_left(site: Site) -> None:
    def cut() -> None:
        for chain, way in (("INPUT", "-s"), ("OUTPUT", "-d")):
            site.switch.run("n2", "iptables", "-A", chain, way, site.switch.machines["n1"], "-j", "DROP")

    thread = site.when("n2", 4 * MIB, cut)
    assert not any(site.send(NAMES).values())
    thread.join()
    site.check(NAMES)
    assert site.fed == [("n0", 0)]
    assert "n2" in site.told("receives little from n1")


@pytest.mark.full
def test_one_slow_machine_holds_up_nobody(site: Site) -> None:
    """n1 gets a two hundredth of what the others get, and they have all while it has little."""
    site.switch.start_sshd(NAMES)
    for name in NAMES:
        subprocess.run((*site.switch.ssh("source", name), "true"), check=True)
    site.switch.shape("n1", "400kbit")
    causes: dict[str, str] = {}
    thread = threading.Thread(target=lambda: causes.update(site.send(NAMES, ssh=True)))
    thread.start()
    end = time.monotonic() + PATIENCE
    while any(site.there(name) != ["image"] for name in ("n0", "n2", "n3")) and time.monotonic() < end:
        time.sleep(0.05)
    little = site.switch.file("n1", "image.part").stat().st_size
    site.switch.shape("n1", "80mbit")
    thread.join()
    assert little < site.image.stat().st_size / 2
    assert not any(causes.values())
    assert "n1" in site.told("receives little")
    site.check(NAMES)


def test_a_machine_that_others_cannot_reach_is_sent_it_by_us(site: Site) -> None:
    for other in ("n0", "n1", "n3"):
        site.switch.run("n2", "iptables", "-A", "OUTPUT", "-d", site.switch.machines[other], "-j", "REJECT")
        site.switch.run("n2", "iptables", "-A", "INPUT", "-s", site.switch.machines[other], "-j", "REJECT")
    assert not any(site.send(NAMES).values())
    site.check(NAMES)
    assert site.fed == [("n0", 0), ("n2", 0)]
    assert site.told("sending it over ssh") == ["n2"]


def test_a_machine_without_space_is_named_and_left_out(site: Site) -> None:
    site.switch.run("", "mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", "/mnt/n1")
    causes = site.send(NAMES)
    assert {name for name, cause in causes.items() if not cause} == {"n0", "n2", "n3"}
    assert causes["n1"] == f"no space left in /mnt/n1 for image ({site.image.stat().st_size} bytes)"
    site.check(["n0", "n2", "n3"])
    assert site.there("n1") == []


def test_a_first_machine_without_space_is_named_too(site: Site) -> None:
    site.switch.run("", "mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", "/mnt/n0")
    causes = site.send(NAMES)
    assert {name for name, cause in causes.items() if not cause} == {"n1", "n2", "n3"}
    assert causes["n0"] == "no space left in /mnt/n0"
    site.check(["n1", "n2", "n3"])
    site.check_left("n0")


@pytest.mark.full
def test_a_machine_that_dies_leaves_the_others_whole(site: Site) -> None:
    """n1 goes off the network and never comes back, its relay with it."""
    site.switch.start_sshd(NAMES)

    def die() -> None:
        site.switch.run("n1", "ip", "link", "set", "eth0", "down")
        for pid in site.switch.run("", "ip", "netns", "pids", "n1").split():
            os.kill(int(pid), signal.SIGKILL)

    thread = site.when("n1", 4 * MIB, die)
    causes = site.send(NAMES, ssh=True, timeout=60)
    thread.join()
    assert {name for name, cause in causes.items() if not cause} == {"n0", "n2", "n3"}
    assert causes["n1"]
    site.check(["n0", "n2", "n3"])


def test_what_has_arrived_when_all_was_killed_is_not_sent_again(site: Site) -> None:
    """nxc itself is killed in the middle: relays leave by themselves, and the next broadcast goes on."""
    there = [
        (name, site.switch.machines[name], f"/mnt/{name}", site.switch.enter(name, ())) for name in NAMES
    ]
    other = site.folder / "other"
    other.mkdir()
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from nxc_core.commands import Command
from nxc_kexec.broadcast import Target, broadcast
from tests.relaying import operation
def target(name, address, folder, words):
    return Target(name=name, address=address, folder=folder, run=lambda argv: Command(argv=(*words, *argv)))
targets = [target(*one) for one in {there!r}]
broadcast([Path({str(site.image)!r})], targets, operation(Path({str(other)!r})), timeout=300)
"""
    child = subprocess.Popen((sys.executable, "-c", script))
    site.when("n3", 6 * MIB, child.kill).join()
    assert child.wait() == -signal.SIGKILL
    for name in NAMES:
        site.check_left(name)
    assert not any(site.send(NAMES).values())
    site.check(NAMES)
    assert all(offset >= 6 * MIB for _, offset in site.fed)


def test_an_interrupted_broadcast_leaves_nothing_running(site: Site) -> None:
    op = operation(site.folder, site.events.append)
    thread = site.when("n2", 4 * MIB, op.cancel.set)
    with pytest.raises(Interrupted):
        broadcast([site.image], site.targets(NAMES), op, timeout=PATIENCE)
    thread.join()
    for name in NAMES:
        site.check_left(name)
    assert not any(site.send(NAMES).values())
    site.check(NAMES)


def test_a_stranger_on_the_network_learns_nothing(site: Site) -> None:
    """Whoever connects to a relay without its token gets no byte, and is told of."""
    answers: list[str] = []

    def intrude() -> None:
        (where,) = [where for where in site.switch.listening("n0") if not where.endswith(":22")]
        host, _, port = where.rpartition(":")
        code = (
            f"import socket; s = socket.create_connection(({host!r}, {port}), timeout=60);"
            "s.sendall(b'0123456789abcdef image 0\\n'); print(s.recv(10))"
        )
        answers.append(site.switch.run("n3", "python3", "-c", code))

    thread = site.when("n0", 4 * MIB, intrude)
    assert not any(site.send(NAMES[:3]).values())
    thread.join()
    assert answers == ["b''\n"]
    assert site.told(f"turned away a stranger at {site.switch.machines['n3']}") == ["n0"]
