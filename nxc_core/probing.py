"""Which ssh servers answer: many are asked at once from one thread, far cheaper than a login each."""

from __future__ import annotations

import errno
import ipaddress
import selectors
import socket
import time
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeGuard

from attrs import frozen

from nxc_core.model import Endpoint, SshEndpoint

PATIENCE = 2.0
"""Seconds that a server may take to say its version."""
AT_ONCE = 0.01
"""Seconds in which most names are known."""


def can_probe(endpoint: Endpoint) -> TypeGuard[SshEndpoint]:
    """Whether an endpoint is reached straight."""
    return isinstance(endpoint, SshEndpoint) and not endpoint.gateway


def _look_up(host: str) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


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
        self._hosts: dict[str, Future[list[str]]] = {}
        self._resolvers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="nxc-resolve")

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._open):
            self._close(name)
        self._selector.close()
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    def knock(self, name: str, endpoint: SshEndpoint) -> None:
        """Ask whether a server answers; ``turn`` tells, once."""
        address = self._resolve(endpoint.host)
        if not address:
            self._failed.add(name)
            return
        try:  # the address as connect(2) wants it, with the card of one that holds on a link alone
            found = socket.getaddrinfo(
                address, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except OSError:
            self._failed.add(name)
            return
        family, _, _, _, place = found[0]
        link = socket.socket(family, socket.SOCK_STREAM)
        link.setblocking(False)
        code = link.connect_ex(place)
        if code not in (0, errno.EINPROGRESS):
            link.close()
            self._failed.add(name)
            return
        self._open[name] = _Knock(name, link, time.monotonic() + PATIENCE)
        self._selector.register(link, selectors.EVENT_READ, name)

    def _resolve(self, host: str) -> str:
        """Return a host's address, each time the next of several; while that is looked up, ''."""
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            pass
        asked = self._hosts.get(host)
        if asked is None or asked.done() and asked.exception() is not None:
            asked = self._hosts[host] = self._resolvers.submit(_look_up, host)
            futures.wait([asked], AT_ONCE)
        if not asked.done() or asked.exception() is not None:
            return ""
        found = asked.result()
        found.append(found.pop(0))
        return found[-1]

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
