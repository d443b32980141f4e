"""What a role asks of its containers, read from how docker spells it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal, cast

from attrs import frozen

from nxc_core.errors import ConfigError
from nxc_core.model import Role

_PORT = re.compile(
    r"(?:(?P<ip>\[[^]]+\]|\d+(?:\.\d+){3}):)?(?:(?P<host>\d+(?:-\d+)?)?:)?(?P<inside>\d+(?:-\d+)?)(?:/(?P<protocol>\w+))?"
)
_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_SIZE = re.compile(r"(\d+)([kmgt]?)i?b?", re.IGNORECASE)
_LEAST_MEMORY = 6 << 20
"""What docker itself takes for the least."""


@frozen(kw_only=True)
class Bind:
    """A file or folder of the engine's machine in a container; with ``volume``, one that the engine keeps."""

    source: str
    target: str
    read_only: bool = False
    volume: bool = False


@frozen(kw_only=True)
class Port:
    """A port of a container that the engine's machine passes on; without ``host`` at a free one."""

    inside: int
    host: int | None = None
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    address: str = ""

    @property
    def text(self) -> str:
        """As docker spells it."""
        host = f"{self.host}:" if self.host is not None else ":" if self.address else ""
        return f"{f'{self.address}:' if self.address else ''}{host}{self.inside}/{self.protocol}"


def ports(role: Role) -> tuple[Port, ...]:
    """Return the ports a role asks for; raises ConfigError for what is none."""
    found: list[Port] = []
    for text in role.container.ports:
        found += _ports(text, role.name)
    return tuple(found)


def _ports(text: str, role: str) -> list[Port]:
    match = _PORT.fullmatch(text.strip())
    if match is None:
        raise _wrong(role, "ports", text, "spell it as docker does: 8080:80, 127.0.0.1:5353:53/udp, or 80")
    protocol = match["protocol"] or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise _wrong(role, "ports", text, "the protocol is tcp, udp or sctp")
    if match["ip"]:
        try:
            ipaddress.ip_address(match["ip"].strip("[]"))
        except ValueError as error:
            raise _wrong(role, "ports", text, f"{error}") from None
    inside, host = _range(match["inside"]), _range(match["host"]) if match["host"] else None
    if not inside or (host is not None and len(host) != len(inside)):
        raise _wrong(role, "ports", text, "ports are 1 to 65535; two ranges have the same length")
    return [
        Port(
            inside=port,
            host=host[n] if host is not None else None,
            protocol=cast("Literal['tcp', 'udp', 'sctp']", protocol),
            address=match["ip"] or "",
        )
        for n, port in enumerate(inside)
    ]


def _range(text: str) -> range:
    """Read ``80`` or ``80-85``; empty where that is no range of ports."""
    first, _, last = text.partition("-")
    found = range(int(first), int(last or first) + 1)
    return found if found and found[0] >= 1 and found[-1] <= 65535 else range(0)


def volumes(role: Role) -> tuple[Bind, ...]:
    """Return the folders a role asks for, named ones as they are; raises ConfigError for what is none."""
    return tuple(_volume(text, role.name) for text in role.container.volumes)


def _volume(text: str, role: str) -> Bind:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not target or mode not in ("", "ro", "rw"):
        raise _wrong(
            role, "volumes", text, "spell it as docker does: /here:/there, /here:/there:ro, name:/there"
        )
    if not target.startswith("/") or target.rstrip("/") == "" or ".." in PurePosixPath(target).parts:
        raise _wrong(role, "volumes", text, "the place in the node is an absolute path, not /")
    named = not source.startswith("/")
    if named and not _VOLUME.fullmatch(source):
        raise _wrong(
            role, "volumes", text, "what is mounted is an absolute path of this machine, or a volume's name"
        )
    return Bind(source=source, target=target, read_only=mode == "ro", volume=named)


def memory(role: Role) -> int | None:
    """Return the bytes a role may take; raises ConfigError for what is no size."""
    text = role.container.memory
    if text is None:
        return None
    try:
        return read_size(text)
    except ValueError as error:
        raise _wrong(role.name, "memory", text, str(error)) from None


def read_size(text: str) -> int:
    """Return the bytes that ``512m`` or ``2g`` says; raises ValueError for what is no size."""
    match = _SIZE.fullmatch(text.strip())
    size = int(match[1]) << (10 * " kmgt".index(match[2].lower() or " ")) if match else 0
    if size < _LEAST_MEMORY:
        raise ValueError("give a size of at least 6m, as 512m or 2g")
    return size


def vet(roles: Sequence[Role]) -> None:
    """Raise ConfigError, naming role and option, for what no container could be given."""
    taken: list[tuple[Port, str]] = []
    for role in roles:
        volumes(role)
        memory(role)
        if role.container.cpus is not None and role.container.cpus <= 0:
            raise _wrong(role.name, "cpus", str(role.container.cpus), "give a number above 0, as 1.5")
        if role.container.pids is not None and role.container.pids <= 0:
            raise _wrong(role.name, "pids", str(role.container.pids), "give a number above 0")
        for port in ports(role):
            if port.host is None:
                continue
            if len(role.names()) > 1:
                raise _wrong(
                    role.name,
                    "ports",
                    port.text,
                    f"the role has {len(role.names())} nodes, the port of this machine can be one's only: "
                    f"write {port.inside} for a free one each",
                )
            before = next((name for one, name in taken if _meet(one, port)), None)
            if before is not None:
                raise _wrong(role.name, "ports", port.text, f"role {before} has that port of this machine")
            taken.append((port, role.name))


def _meet(one: Port, other: Port) -> bool:
    """Whether both are the same port of the machine, at least at one of its addresses."""
    if (one.host, one.protocol) != (other.host, other.protocol):
        return False
    if one.address == other.address or not (one.address and other.address):
        return True
    first, second = (ipaddress.ip_address(each.address.strip("[]")) for each in (one, other))
    return first.version == second.version and (
        first == second or first.is_unspecified or second.is_unspecified
    )


def _wrong(role: str, option: str, value: str, hint: str) -> ConfigError:
    return ConfigError(f"role {role}: nxc.container.{option}: {value!r} cannot be had", hint=hint)
