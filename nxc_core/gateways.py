"""Hosts on the way: the user's own ssh leads there, and one connection serves all that is behind it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from nxc_core.commands import Command
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
    """Whether a connection to a host on the way is shared by now."""
    return bool(gateway and gateway.control and gateway.control.exists())


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
