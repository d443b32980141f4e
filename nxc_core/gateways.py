"""Hosts on the way: the user's own ssh leads there, and one connection serves all that is behind it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from nxc_core import process
from nxc_core.commands import Command
from nxc_core.errors import CommandError
from nxc_core.model import Gateway

IDLE = 120
"""Seconds that a connection to a host on the way stays open unused."""
CONNECT_TIMEOUT = 30
GLOBAL = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
"""Where ssh looks for host keys besides a user's own files, unless its configuration says otherwise."""


def users_own(
    *, known_hosts: Path | None = None, trusted: Sequence[str] = (), patience: int = CONNECT_TIMEOUT
) -> tuple[str, ...]:
    """Return options for the user's own ssh.

    Nothing of theirs changes, nobody is asked, and no key is trusted unseen. ``known_hosts`` counts besides
    ``trusted``, the files for all users that their ssh reads, and their own; ``patience`` in seconds.
    """
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "CheckHostIP=no",  # which writes addresses to their file of host keys; the default until OpenSSH 8.4
        f"ConnectTimeout={patience}",
        "ConnectionAttempts=1",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=6",
        "LogLevel=ERROR",
        "ForwardAgent=no",
        "ClearAllForwardings=yes",
        "ForwardX11=no",  # xauth would run there each time, and lock one file in a home that many share
        "PermitLocalCommand=no",
        "RemoteCommand=none",
        "RequestTTY=no",
    ]
    if known_hosts:  # by the option that the configuration of a host, as of one on the way, hardly ever has
        files = [*(trusted or GLOBAL), str(known_hosts)]
        options.append("GlobalKnownHostsFile=" + " ".join(f'"{file}"' for file in files))
    return tuple(word for option in options for word in ("-o", option))


def is_open(gateway: Gateway | None) -> bool:
    """Whether a connection to a host on the way is shared by now; a killed one has left its socket."""
    if gateway is None or gateway.control is None:
        return False
    with socket.socket(socket.AF_UNIX) as link:
        link.setblocking(False)
        try:
            link.connect(str(gateway.control))
        except BlockingIOError:
            return True  # so many ask for it that its queue is full
        except OSError:
            return False
        return True


def _reach(gateway: Gateway, master: str, patience: int) -> tuple[str, ...]:
    words = ["ssh", *users_own(known_hosts=gateway.known_hosts, patience=patience)]
    if gateway.control:
        words += ["-o", f"ControlMaster={master}", "-o", f"ControlPersist={IDLE}"]
    words += ["-S", str(gateway.control or "none")]
    words += ["-J", gateway.before] if gateway.before else []
    words += ["-p", str(gateway.port)] if gateway.port else []
    words += ["-l", gateway.user] if gateway.user else []
    return tuple(words)


def through(gateway: Gateway, *, patience: int = CONNECT_TIMEOUT) -> str:
    """Return the ``ProxyCommand`` by which ssh comes to what is behind a host on the way."""
    words = shlex.join(_reach(gateway, "auto", patience)).replace("%", "%%")
    return f"{words} -W '[%h]:%p' {shlex.quote(gateway.host)}"  # to some shells these are patterns of files


def open_gateway(gateway: Gateway, *, timeout: float, patience: int = CONNECT_TIMEOUT) -> Command:
    """Open the connection to a host on the way, before many who are behind it ask for one each."""
    return Command(argv=(*_reach(gateway, "yes", patience), "-fN", gateway.host), timeout=timeout)


_FAILED: dict[Gateway, float] = {}


def share_gateway(gateway: Gateway | None, *, timeout: float, cancelled: threading.Event | None) -> None:
    """Open the connection to a host on the way once, where many commands of any process need it now.

    Each would log in there by itself, and an sshd refuses some of ten at once. Where it cannot be opened,
    those who need it find out why.
    """
    if gateway is None or gateway.control is None or is_open(gateway):
        return
    asked = time.monotonic()
    with _alone(gateway.control.parent, asked + timeout, cancelled) as alone:
        left = asked + timeout - time.monotonic()
        if alone and left > 0 and not is_open(gateway) and _FAILED.get(gateway, 0.0) < asked:
            gateway.control.unlink(missing_ok=True)  # else ssh shares nothing, and stays
            command = open_gateway(gateway, timeout=left, patience=max(1, round(left)))
            try:
                process.run(command.argv, timeout=left, cancelled=cancelled)
            except CommandError:
                _FAILED[gateway] = time.monotonic()  # whoever waited meanwhile need not try again


@contextlib.contextmanager
def _alone(folder: Path, end: float, cancelled: threading.Event | None) -> Iterator[bool]:
    """Be the only one who opens connections in a folder; answers whether that is so before ``end``."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        yield _take(lock, end, cancelled)
    finally:
        os.close(lock)


def _take(lock: int, end: float, cancelled: threading.Event | None) -> bool:
    while time.monotonic() < end and not (cancelled and cancelled.is_set()):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False
