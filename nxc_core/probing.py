"""Which ssh servers answer: many are asked at once from one thread, far cheaper than a login each."""

from __future__ import annotations

import errno
import ipaddress
import selectors
import socket
import time
from typing import TypeGuard

from attrs import frozen

from nxc_core.model import Endpoint, SshEndpoint

PATIENCE = 2.0
"""Seconds that a server may take to say its version."""


def can_probe(endpoint: Endpoint) -> TypeGuard[SshEndpoint]:
    """Whether an endpoint is reached straight and by address: a name may take long to look up."""
    if not isinstance(endpoint, SshEndpoint) or endpoint.jump:
        return False
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        return False
    return True


@frozen
class _Knock:
    name: str
    link: socket.socket
    end: float


class Prober:
    """Knocks at many ssh servers. Leaving it closes what is open."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._open: dict[str, _Knock] = {}
        self._failed: set[str] = set()

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._open):
            self._close(name)
        self._selector.close()

    def knock(self, name: str, endpoint: SshEndpoint) -> None:
        """Ask whether a server answers; ``turn`` tells, once."""
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        link = socket.socket(family, socket.SOCK_STREAM)
        link.setblocking(False)
        code = link.connect_ex((endpoint.host, endpoint.port))
        if code not in (0, errno.EINPROGRESS):
            link.close()
            self._failed.add(name)
            return
        self._open[name] = _Knock(name, link, time.monotonic() + PATIENCE)
        self._selector.register(link, selectors.EVENT_READ, name)

    def turn(self, timeout: float) -> dict[str, bool]:
        """Wait a moment; returns who has answered, and who is not going to."""
        told = dict.fromkeys(self._failed, False)
        self._failed.clear()
        for key, _ in self._selector.select(0.0 if told else timeout) if self._open else ():
            told[key.data] = self._hear(self._open[key.data].link)
        now = time.monotonic()
        told |= {name: False for name, knock in self._open.items() if name not in told and now > knock.end}
        for name in told:
            self._close(name)
        return told

    def _hear(self, link: socket.socket) -> bool:
        try:
            return link.recv(4) == b"SSH-"
        except OSError:
            return False

    def _close(self, name: str) -> None:
        knock = self._open.pop(name, None)
        if knock is not None:
            self._selector.unregister(knock.link)
            knock.link.close()
