"""A machine's network cards as its node is to have them: what a lease gives anew, what must carry over."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from nxc_core.model import Interface
from nxc_kexec.facts import Facts

LAN = "lan"
"""The network of the address by which nodes know each other."""
_BUNDLES = ("bridge", "bond", "team", "openvswitch")
_Link = Mapping[str, Any]


@frozen(kw_only=True)
class Card:
    """One card: its own address, and the links whose addresses it is to have (a bridge's or bond's, too)."""

    name: str
    mac: str
    has_carrier: bool
    links: tuple[str, ...]


def carry_over(facts: Facts, address: str = "") -> tuple[Interface, ...]:
    """Return what each card of a machine is to have as a node's; ``address`` tells which is on the ``lan``.

    An address from a lease is kept at once, and asked for again: nobody waits for a server, or for all cards.
    """
    cards = tuple(_cards(facts))
    by_name = {str(link.get("ifname")): link for link in facts.addresses}
    way = _best_default(facts.routes)
    found = []
    for card in cards:
        addresses: list[str] = []
        leased = False
        for name in card.links:
            for one in _addresses(by_name.get(name, {})):
                leased = leased or bool(one.get("dynamic"))
                if one["family"] == "inet" or not one.get("dynamic"):  # the kernel asks routers itself
                    addresses.append(f"{one['local']}/{one['prefixlen']}")
        has_way = way is not None and way.get("dev") in card.links
        if not addresses and not card.has_carrier:
            continue
        found.append(
            Interface(
                mac=card.mac,
                network=LAN if _holds(addresses, address) else card.name,
                addresses=tuple(addresses),
                gateway=str(way["gateway"]) if has_way and way and "gateway" in way else None,
                nameservers=tuple(_resolvers(facts)) if has_way else (),
                dhcp=leased or not addresses,
                routes=tuple(_routes(facts, card.links)),
            )
        )
    return tuple(found)


def _cards(facts: Facts) -> Iterator[Card]:
    """Yield the cards that are hardware; where none is known as such, those that look like it."""
    links = {str(link.get("ifname")): link for link in facts.addresses}
    names = [name for name in facts.cards if name in links] or [
        name
        for name, link in links.items()
        if link.get("link_type") == "ether" and "info_kind" not in link.get("linkinfo", {})
    ]
    taken: set[str] = set()
    for name in sorted(names, key=lambda one: "LOWER_UP" not in links[one].get("flags", ())):
        link = links[name]
        if link.get("link_type") != "ether":
            continue
        chain = [name]
        master = str(link.get("master", ""))
        while master in links and master not in chain:
            kind = links[master].get("linkinfo", {}).get("info_kind")
            if kind not in _BUNDLES or master in taken:
                break
            chain.append(master)
            taken.add(master)
            master = str(links[master].get("master", ""))
        mac = str(link.get("permaddr") or link.get("address", ""))
        yield Card(
            name=name, mac=mac.lower(), has_carrier="LOWER_UP" in link.get("flags", ()), links=tuple(chain)
        )


def _addresses(link: _Link) -> Iterator[Mapping[str, Any]]:
    for one in link.get("addr_info", ()):
        lasting = one.get("scope") == "global" and "local" in one and not one.get("temporary")
        # That of a card to the machine's own controller may be of the link and not say so.
        if lasting and not ipaddress.ip_address(str(one["local"])).is_link_local:
            yield one


def _holds(addresses: Sequence[str], address: str) -> bool:
    return any(one.partition("/")[0] == address for one in addresses)


def _best_default(routes: Sequence[_Link]) -> _Link | None:
    defaults = [route for route in routes if route.get("dst") == "default" and "dev" in route]
    return min(defaults, key=lambda route: int(route.get("metric", 0)), default=None)


def _routes(facts: Facts, links: Sequence[str]) -> Iterator[str]:
    """Yield what else leads somewhere by these links, those to neighbours first: others may go by them."""
    found: list[tuple[bool, str]] = []
    for route in (*facts.routes, *facts.routes6):
        goal = str(route.get("dst", ""))
        if route.get("dev") not in links or route.get("protocol") in ("kernel", "ra") or "type" in route:
            continue
        if goal == "default":
            if route in facts.routes and "gateway" in route:
                continue  # the gateway
            goal = "::/0" if route in facts.routes6 else "0.0.0.0/0"
        goal = _with_prefix(goal)
        if not goal or goal.startswith(("fe80:", "ff")):
            continue
        via = f" via {route['gateway']}" if "gateway" in route else ""
        found.append((bool(via), goal + via))
    for _, text in sorted(found, key=lambda one: one[0]):
        yield text


def _with_prefix(goal: str) -> str:
    try:
        return str(ipaddress.ip_network(goal, strict=False))
    except ValueError:
        return ""


def _resolvers(facts: Facts) -> Iterator[str]:
    for text in dict.fromkeys(facts.nameservers):
        try:
            if not ipaddress.ip_address(text.partition("%")[0]).is_loopback:
                yield text
        except ValueError:
            continue


def own_networks(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield address and network of everything that a node of this machine will have, IPv4 first."""
    for version in (4, 6):
        for interface in carry_over(facts):
            for text in interface.addresses:
                one = ipaddress.ip_interface(text)
                if one.version == version:
                    yield str(one.ip), str(one.network)


def known_networks(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield address and network of every link, the loopback's included."""
    for link in facts.addresses:
        for one in link.get("addr_info", ()):
            if "local" in one and "prefixlen" in one:
                text = f"{one['local']}/{one['prefixlen']}"
                yield str(one["local"]), str(ipaddress.ip_interface(text).network)
