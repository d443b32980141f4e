"""A machine with several network cards that boots a ramdisk by hand, its identity behind the ramdisk.

Two cards are in user networks of QEMU, which have DHCP; two have a cable and nobody at its other end.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from nxc_core.cpio import Member, write_archive
from nxc_core.model import RoleBoot

ASKED, GIVEN, SILENT, UNLISTED = (f"52:54:00:00:00:0{number}" for number in range(1, 5))
ADDRESS = "10.77.0.5"
PATIENCE = 400.0
"""Seconds in which a machine must have booted; on an idle computer it takes some fifteen."""


@frozen(kw_only=True)
class Hardware:
    """A booted machine, reached by nxc's own way in at the card that got its address from the network."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def console(self) -> str:
        """What the machine has written so far."""
        return (self.folder / "console").read_text(errors="replace")

    def attempt(self, command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run shell on the machine; it may fail."""
        options = ("-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=60")
        known = f"-oUserKnownHostsFile={self.folder}/known_hosts"
        return subprocess.run(
            ("ssh", "-F", "none", "-i", f"{self.folder}/key", *options, known, "-p", str(self.port))
            + ("root@127.0.0.1", command),
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def run(self, command: str, given: str = "") -> str:
        """Run shell that must succeed, and return what it prints."""
        done = self.attempt(command, given)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def addresses(self) -> dict[str, set[str]]:
        """Return the IPv4 addresses of each card, by its hardware address."""
        told: Sequence[Mapping[str, Any]] = json.loads(self.run("ip -json address"))
        return {
            card["address"]: {
                f"{one['local']}/{one['prefixlen']}" for one in card["addr_info"] if one["family"] == "inet"
            }
            for card in told
        }


@contextmanager
def booted(folder: Path, boot: RoleBoot, role: str, *, card: str = "virtio-net-pci") -> Iterator[Hardware]:
    """Boot a role of a ramdisk in a new folder; afterwards the machine is gone."""
    folder.mkdir()
    port = _free_port()
    _make_keys(folder, port)
    _append_identity(folder, boot, make_document(folder, role))
    with subprocess.Popen(_argv(folder, boot, port, card), stderr=subprocess.STDOUT) as process:
        try:
            machine = Hardware(folder=folder, port=port, process=process)
            _await_way_in(machine)
            yield machine
        finally:
            process.kill()


def make_document(folder: Path, role: str) -> dict[str, Any]:
    """Return a node document with three of the four cards."""
    return {
        "schema": "nxc.node/1",
        "instance": "first",
        "node": "server",
        "role": role,
        "hosts": {"server": [ADDRESS], "client": ["10.77.0.6"]},
        "interfaces": [
            {"mac": ASKED, "dhcp": True},
            {"mac": GIVEN, "addresses": [f"{ADDRESS}/24"], "routes": ["10.78.0.0/16 via 10.77.0.1"]},
            {"mac": SILENT, "dhcp": True},
        ],
        "host_key": (folder / "host_key").read_text(),
        "authorized_keys": [(folder / "key.pub").read_text().strip()],
        "parameters": {},
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _make_keys(folder: Path, port: int) -> None:
    for name in ("key", "host_key"):
        argv = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name))
        subprocess.run(argv, check=True)
    public = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")


def _append_identity(folder: Path, boot: RoleBoot, document: Mapping[str, Any]) -> None:
    assert boot.initrd is not None
    shutil.copyfile(boot.initrd, folder / "initrd")
    members = [
        Member(name="nxc", mode=0o40700),
        Member(name="nxc/node.json", mode=0o100600, content=json.dumps(document).encode()),
    ]
    with (folder / "initrd").open("ab") as out:
        assert out.tell() % 4 == 0, "an archive can follow"
        write_archive(out, members)


def _argv(folder: Path, boot: RoleBoot, port: int, card: str) -> list[str]:
    words = f"net.ifnames=0 panic=-1 no_timer_check mitigations=off console=ttyS0,115200 {boot.cmdline}"
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-m", "1024", "-display", "none", "-no-reboot"]
    argv += ["-serial", f"file:{folder}/console", "-kernel", str(boot.kernel), "-initrd", f"{folder}/initrd"]
    argv += ["-append", words]
    networks = {
        ASKED: (card, f"user,hostfwd=tcp:127.0.0.1:{port}-:2200"),
        GIVEN: ("virtio-net-pci", "hubport,hubid=1"),
        SILENT: ("virtio-net-pci", "hubport,hubid=2"),
        UNLISTED: ("virtio-net-pci", "user"),
    }
    for number, (mac, (device, network)) in enumerate(networks.items()):
        argv += ["-netdev", f"{network},id=net{number}"]
        argv += ["-device", f"{device},netdev=net{number},mac={mac}"]
    return argv


def _await_way_in(machine: Hardware) -> None:
    deadline = time.monotonic() + PATIENCE
    while (done := machine.attempt("true")).returncode != 0:
        assert machine.process.poll() is None, machine.console[-3000:]
        assert time.monotonic() < deadline, done.stderr + machine.console[-3000:]
        time.sleep(0.5)
