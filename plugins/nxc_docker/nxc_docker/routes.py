"""Which subnets this machine has routes to."""

from __future__ import annotations

import ipaddress
from pathlib import Path

ROUTES = Path("/proc/net/route")


def local_subnets(table: Path = ROUTES) -> list[str]:
    """List the IPv4 destinations of the routing table but the default one."""
    found = []
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return []
    for line in lines:
        words = line.split()
        if len(words) < 8 or words[7] == "00000000":
            continue
        where, mask = (
            ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(words[n]), "little")) for n in (1, 7)
        )
        found.append(str(ipaddress.IPv4Network(f"{where}/{mask}", strict=False)))
    return list(dict.fromkeys(found))
