"""Ports and networks of virtual machines without privileges: forwarded ports and multicast on loopback."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence

from attrs import frozen

from nxc_core import Operation
from nxc_core.model import Interface, Resource

PORT = "vm.port"
LAN = "vm.mcast"

HOST_NETWORK = "host"
"""The card by which the host reaches a node; every node has a QEMU user network of its own."""
HOST_MAC = "52:54:00:6e:78:63"
GUEST_SSH_PORT = 2200


@frozen(kw_only=True)
class Lan:
    """A network of one deployment: a multicast group on the loopback device, which no frame leaves."""

    network: str
    group: str
    port: int


def host_interface(*, restrict: bool) -> Interface:
    """Return the card to the host, with the addresses that QEMU's user network fixes."""
    return Interface(
        mac=HOST_MAC,
        network=HOST_NETWORK,
        addresses=("10.0.2.15/24",),
        gateway=None if restrict else "10.0.2.2",
        nameservers=() if restrict else ("10.0.2.3",),
    )


def claim_lan(network: str, op: Operation) -> Lan:
    """Return the deployment's group and port for a network, chosen at random when it has none yet."""
    for found in op.claimed(LAN):
        if found.data.get("network") == network:
            return _read_lan(found)
    # 239.0.0.0/8 is for private use (RFC 2365); 2^38 choices keep deployments apart without a registry.
    group = f"239.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
    port = 20000 + secrets.randbelow(1 << 14)
    return _read_lan(op.claim(LAN, f"{group}:{port}", network=network))


def _read_lan(claim: Resource) -> Lan:
    group, _, port = claim.id.partition(":")
    return Lan(network=str(claim.data["network"]), group=group, port=int(port))


def claim_port(node: str, op: Operation, *, refused: Sequence[int] = ()) -> int:
    """Return the node's port on this machine, claiming a free one when it has none.

    ``refused`` ports turned out to be someone else's; their claims are given up.
    """
    for found in op.claimed(PORT):
        if found.data.get("node") != node:
            continue
        if int(found.id) not in refused:
            return int(found.id)
        op.journal.release(found)
    taken = {int(found.id) for found in op.claimed(PORT)} | set(refused)
    port = free_port()
    while port in taken:
        port = free_port()
    op.claim(PORT, str(port), node=node)
    return port


def free_port() -> int:
    """Return a port of the loopback device that is free now; another process may take it before QEMU does."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
