"""A deployment's bridge, and the cable by which this machine reaches it."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path

from nxc_core import CommandError, process
from nxc_core.model import Network

LINK = "nspawn.link"
BRIDGE = "lan"
_ROUTES = Path("/proc/net/route")
_CARDS = Path("/proc/net/dev")
_MOST = 12
"""A route to more than 2^(32-12) addresses says nothing of where a small network may be."""


def link_name(deployment: str) -> str:
    """Return the name of this machine's end of the cable, which holds 15 characters."""
    return f"nxc{hashlib.sha256(deployment.encode()).hexdigest()[:10]}"


def link_alias(deployment: str) -> str:
    """Return what tells our end from a stranger's card of the same name."""
    return f"nxc {hashlib.sha256(deployment.encode()).hexdigest()}"


def card_name(index: int) -> str:
    """Return the keeper's end of a node's cable, which systemd-nspawn names after the machine."""
    return f"vb-{machine_name(index)}"


def machine_name(index: int) -> str:
    """Return a short name that no other node of the deployment has."""
    return f"n{index}"


def keeper_batch(deployment: str, pid: int) -> str:
    """Return what `ip -batch` does in the keeper's network; the end of the cable goes to that of ``pid``."""
    link = link_name(deployment)
    return f"""link set dev lo up
link add name {BRIDGE} type bridge
link set dev {BRIDGE} up
link add name {link} type veth peer name host
link set dev {link} alias "{link_alias(deployment)}"
link set dev host master {BRIDGE} up
link set dev {link} netns {pid}
"""


def host_batch(deployment: str, network: Network) -> str:
    """Return what `ip -batch` does on this machine: the last usable address of the subnet is its own."""
    link = link_name(deployment)
    subnet = ipaddress.ip_network(network.subnet)
    return f"""address replace {subnet[-2]}/{subnet.prefixlen} broadcast + dev {link}
link set dev {link} up
"""


def is_ours(deployment: str) -> bool:
    """Whether this machine's end is there; raises nothing."""
    return link_alias(deployment) in _aliases(link_name(deployment))


def is_strange(deployment: str) -> bool:
    """Whether a card that is not ours has our name."""
    return link_alias(deployment) not in (_aliases(link_name(deployment)) or [link_alias(deployment)])


def _aliases(name: str) -> list[str]:
    """Return what a card is also called, in a list; nothing where there is no such card.

    /sys would tell of the network that it was mounted in.
    """
    if name not in _cards():
        return []
    with contextlib.suppress(CommandError, ValueError):
        told = process.run(("ip", "-json", "link", "show", "dev", name), timeout=30).text
        return [str(card.get("ifalias", "")) for card in json.loads(told)]
    return [""] if name in _cards() else []  # the kernel removes it a while after all that was in its network


def _cards() -> list[str]:
    return [line.partition(":")[0].strip() for line in _CARDS.read_text().splitlines()]


def remove_link(deployment: str) -> bool:
    """Remove this machine's end, and with it the other; true when it is gone."""
    if is_ours(deployment):
        with contextlib.suppress(CommandError):
            process.run(("ip", "link", "delete", "dev", link_name(deployment)), timeout=30)
    return not is_ours(deployment)


def routed(text: str | None = None) -> Iterator[str]:
    """Yield the IPv4 networks that this machine has a route to."""
    lines = (_ROUTES.read_text() if text is None else text).splitlines()
    for line in lines[1:]:
        words = line.split()
        subnet = ipaddress.ip_network(f"{_address(words[1])}/{_address(words[7])}")
        if subnet.prefixlen >= _MOST:
            yield str(subnet)


def _address(word: str) -> str:
    return str(ipaddress.IPv4Address(bytes.fromhex(word)[::-1]))
