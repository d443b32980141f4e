"""Which subnets this machine has routes to."""

from __future__ import annotations

import ipaddress
from pathlib import Path

ROUTES = Path("/proc/net/route")
WIDEST = 8
"""Prefix length of the widest route that says where a network is: those of VPNs halve all addresses."""


def local_subnets(table: Path = ROUTES) -> list[str]:
    """List the IPv4 destinations of the routing table but those that are anywhere."""
    found = []
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return []
    for line in lines:
        words = line.split()
        if len(words) < 8:
            continue
        where, mask = (
            ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(words[n]), "little")) for n in (1, 7)
        )
        subnet = ipaddress.IPv4Network(f"{where}/{mask}", strict=False)
        if subnet.prefixlen >= WIDEST:
            found.append(str(subnet))
    return list(dict.fromkeys(found))
