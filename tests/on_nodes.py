"""What the cases of the vocabulary put on a node, and take away again."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator

from nxc_core.machine import NodeHandle
from nxc_core.machine_power import BOOT_ID, this_system
from nxc_core.model import SshEndpoint

SSH_PORT = 2200


# What the cases use


def has_systemd(node: NodeHandle) -> bool:
    """Whether the node has a systemd of its own, which is not the one of this machine."""
    there = node.execute(f"cat {BOOT_ID}; readlink /proc/self/ns/pid")[1]
    if there.strip() == this_system():
        return False
    return node.execute("[ -d /run/systemd/system ] && command -v systemctl")[0] == 0


@contextlib.contextmanager
def scratch(node: NodeHandle) -> Iterator[str]:
    """Make a folder on the node."""
    folder = f"/tmp/nxc-{secrets.token_hex(4)}"
    node.succeed(f"mkdir {folder}")
    try:
        yield folder
    finally:
        node.execute(f"rm -rf {folder}")


@contextlib.contextmanager
def unit(node: NodeHandle, command: str, *, kind: str) -> Iterator[str]:
    """Run a command as a unit of its own."""
    name = f"nxc-test-{secrets.token_hex(4)}.service"
    node.succeed(f"systemd-run --quiet --no-block --unit={name} --service-type={kind} bash -c '{command}'")
    try:
        yield name
    finally:
        node.execute(f"systemctl stop {name}; systemctl reset-failed {name}")


@contextlib.contextmanager
def listener(node: NodeHandle, *, pause: float = 0.0) -> Iterator[int]:
    """Accept connections on some port of the node, with what is there: systemd, or Python.

    What systemd starts must stay: started again and again, it would make systemd close the socket.
    """
    port = 20000 + secrets.randbelow(10000)
    name = f"nxc-port-{port}"
    if has_systemd(node):
        begin = f"systemd-run --quiet --unit={name} --socket-property=ListenStream={port} sleep infinity"
        end = f"systemctl stop {name}.socket {name}.service"
    else:
        serve = (
            f"import socket, time; s = socket.create_server(('', {port})); [s.accept() for _ in iter(int, 1)]"
        )
        begin = f'echo $$ > /tmp/{name}; exec python3 -c "{serve}"'
        end = f"kill $(cat /tmp/{name}); rm /tmp/{name}"
    node.execute(f"sleep {pause}; {begin}", check_output=False, timeout=600)
    try:
        yield port
    finally:
        node.execute(end)


@contextlib.contextmanager
def neighbour(node: NodeHandle) -> Iterator[tuple[str, int]]:
    """Name another node and a port that it listens on."""
    other = next(one for one in node.running.values() if one.name != node.name)
    if isinstance(node.running.node(other.name).endpoint, SshEndpoint):
        yield other.name, SSH_PORT  # open whatever the role's firewall says
        return
    with listener(other) as port:
        yield other.name, port


def late_port() -> int:
    """Return a port that nobody listens on."""
    return 30000 + os.getpid() % 1000
