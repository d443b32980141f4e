"""Talking to nodes: OpenSSH with a pinned host key, or a command prefix."""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from attrs import evolve

from nxc_core import process
from nxc_core.errors import CommandError, DeployError
from nxc_core.gateways import CONNECT_TIMEOUT, share_gateway, through
from nxc_core.model import Endpoint, ExecEndpoint, SshEndpoint
from nxc_core.process import Completed, OnData

LOST = "the connection was lost"
IDLE = 60
"""Seconds that a shared ssh connection stays open unused."""


class Connection(Protocol):
    """A way to run commands on a node as root. ``run`` answers the command's own exit code."""

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float | None = None,
        stdin: bytes | Path | None = None,
        output: Path | None = None,
    ) -> Completed:
        """Run a command; raises CommandError when it fails, is late, or the node cannot be reached."""
        ...

    def put(self, source: Path, target: str) -> None:
        """Copy a file or folder to an absolute path on the node, where tmpfs mounts are seen."""
        ...

    def get(self, source: str, target: Path) -> None:
        """Copy a file or folder from the node."""
        ...

    def shell_argv(self, argv: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the words that open a shell (or ``argv``) on the node, on a terminal."""
        ...

    def close(self) -> None:
        """Let go of what the connection keeps open. It may be used again."""
        ...


class Copying(ABC):
    """Copies through tar at both ends, so that modes survive and tmpfs is seen."""

    cancel: threading.Event | None
    on_data: OnData | None = None
    """Hears what commands write, as it comes, where the connection can tell before their end."""

    @abstractmethod
    def _execute(
        self,
        argv: Sequence[str],
        timeout: float | None,
        stdin: bytes | Path | None,
        output: Path | None,
    ) -> Completed:
        """Run a command on the node; answers whatever its exit code."""

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float | None = None,
        stdin: bytes | Path | None = None,
        output: Path | None = None,
    ) -> Completed:
        """Run a command; raises CommandError when it fails."""
        ended = evolve(self._execute(argv, timeout, stdin, output), argv=tuple(argv))
        if check and ended.code != 0:
            raise process.failure(ended)
        return ended

    def put(self, source: Path, target: str) -> None:
        """Copy a file or folder to the node, in one step from the target's point of view."""
        if not source.exists():
            raise DeployError(f"{source} does not exist", hint="name a file or folder of this machine")
        folder, name = _split(target)
        source = source.absolute()  # so that "." has a name, too
        packed = process.run(
            ("tar", "-C", str(source.parent), "--owner=0", "--group=0", "-cf", "-", source.name), timeout=3600
        ).stdout
        script = (
            'mkdir -p "$1" && t=$(mktemp -d "$1/.nxc-XXXXXX") && tar -C "$t" -xf - '
            '&& rm -rf "$1/$2" && mv "$t/$3" "$1/$2" && rmdir "$t"'
        )
        self.run(("sh", "-c", script, "put", folder, name, source.name), stdin=packed, timeout=3600)

    def get(self, source: str, target: Path) -> None:
        """Copy a file or folder from the node."""
        folder, name = _split(source)
        packed = self.run(("tar", "-C", folder, "-cf", "-", name), timeout=3600).stdout
        target.parent.mkdir(parents=True, exist_ok=True)
        goal = target / name if target.is_dir() else target
        argv = (
            "tar",
            "-C",
            str(goal.parent),
            "--no-same-owner",
            f"--transform=s|^{_escape(name)}|{goal.name}|",
            "-xf",
            "-",
        )
        process.run(argv, stdin=packed, timeout=3600)


def _escape(name: str) -> str:
    return "".join(f"\\{c}" if c in r"\.*[]^$|&/" else c for c in name)


def _split(path: str) -> tuple[str, str]:
    clean = path.rstrip("/")
    folder, _, name = clean.rpartition("/")
    if not clean.startswith("/") or not name:
        raise DeployError(f"{path!r} is not an absolute path on the node", hint="write it from /")
    return folder or "/", name


def spell_path(path: Path) -> str:
    """Spell a path as ssh's options and configuration want it: they split at blanks and expand ``%``."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if any(c.isspace() for c in text) else text


def ssh_options(end: SshEndpoint, *, patience: int = CONNECT_TIMEOUT) -> tuple[str, ...]:
    """Return ssh's options for an endpoint: nobody is asked, and no host key but the pinned one counts.

    ``patience`` in seconds, for the connection itself.
    """
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={spell_path(end.known_hosts)}",
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={end.alias}",
        f"ConnectTimeout={patience}",
        "ServerAliveInterval=10",
        "ServerAliveCountMax=6",
        "LogLevel=ERROR",
        f"Port={end.port}",
        f"User={end.user}",
        f"IdentityFile={spell_path(end.identity)}",
        "IdentitiesOnly=yes",  # a node hears only a few keys, and an agent may have many
    ]
    if end.gateway:
        options.append(f"ProxyCommand={through(end.gateway, patience=patience)}")
    words = [word for option in options for word in ("-o", option)]
    # Nothing of the user's configuration counts, above all no connection that it shares.
    return ("-F", "/dev/null", *words, "-S", str(end.control or "none"))


class SshConnection(Copying):
    """OpenSSH, one shared connection per node that ends by itself when unused."""

    def __init__(self, endpoint: SshEndpoint, cancel: threading.Event | None = None) -> None:
        self.endpoint = endpoint
        self.cancel = cancel

    def _options(self) -> tuple[str, ...]:
        return ssh_options(self.endpoint)

    def _share(self, wanted: Sequence[str], timeout: float) -> None:
        """Open the shared connection unless it is there; raises CommandError where the node is out of reach.

        By a command that ends: of several at once one opens it, and ``ssh -N`` of the others would stay.
        """
        control = self.endpoint.control
        if control is None or control.exists():
            return
        end = time.monotonic() + timeout
        share_gateway(self.endpoint.gateway, timeout=timeout, cancelled=self.cancel)
        sharing = ("-o", "ControlMaster=auto", "-o", f"ControlPersist={IDLE}")
        argv = ("ssh", *self._options(), *sharing, self.endpoint.host, "--", "true")
        try:
            done = process.run(
                argv, check=False, timeout=max(0.0, end - time.monotonic()), cancelled=self.cancel
            )
        except CommandError:
            return  # late: the command connects by itself in what time it has left
        # ssh keeps to itself what a host on the way says where it shares: then the command tells more.
        if done.code == 255 and self._is_lost(done.error_text) and not self.endpoint.gateway:
            raise _lost(wanted, done.error_text)

    def _execute(
        self,
        argv: Sequence[str],
        timeout: float | None,
        stdin: bytes | Path | None,
        output: Path | None,
    ) -> Completed:
        end = None if timeout is None else time.monotonic() + timeout
        self._share(argv, min(timeout or CONNECT_TIMEOUT, CONNECT_TIMEOUT))
        command = ("ssh", *self._options(), self.endpoint.host, "--", shlex.join(argv))
        try:
            done = process.run(
                command,
                check=False,
                timeout=None if end is None else max(0.0, end - time.monotonic()),
                stdin=stdin,
                output=output,
                cancelled=self.cancel,
                on_data=self.on_data,
            )
        except CommandError as late:
            told = f":\n{late.stderr}" if late.stderr else ""
            message = f"`{shlex.join(argv)}` was not done after {timeout:g} s{told}"
            raise CommandError(message, argv=tuple(argv), code=None, stderr=late.stderr) from late
        if done.code == 255 and self._is_lost(done.error_text) and not self._is_shared():
            raise _lost(argv, done.error_text)
        return done

    def _is_shared(self) -> bool:
        """Whether the shared connection still stands; then 255 is what the command itself ended with."""
        control = self.endpoint.control
        if control is None or not control.exists():
            return False
        words = ("ssh", "-F", "/dev/null", "-S", str(control), "-O", "check", self.endpoint.host)
        with contextlib.suppress(CommandError):
            return process.run(words, check=False, timeout=10, cancelled=self.cancel).code == 0
        return False

    def _is_lost(self, told: str) -> bool:
        marks = (
            "ssh:",
            "Connection ",
            "kex_exchange",
            "Host key",
            "Permission denied",
            "mux_client",
            "banner",
            "Timeout, ",
        )
        return not told.strip() or any(mark in told for mark in marks)

    def shell_argv(self, argv: Sequence[str] = ()) -> tuple[str, ...]:
        return (
            "ssh",
            *self._options(),
            "-t",
            self.endpoint.host,
            *(("--", shlex.join(argv)) if argv else ()),
        )

    def close(self) -> None:
        control = self.endpoint.control
        if control is not None and control.exists():
            with contextlib.suppress(CommandError):
                process.run(
                    ("ssh", "-F", "/dev/null", "-S", str(control), "-O", "exit", self.endpoint.host),
                    check=False,
                    timeout=10,
                )
            control.unlink(missing_ok=True)


def _lost(argv: Sequence[str], said: str) -> CommandError:
    told = said.strip().splitlines()
    message = f"{LOST}: {told[-1] if told else 'ssh ended with 255'}"
    return CommandError(message, argv=tuple(argv), code=None, stderr=said)


class ExecConnection(Copying):
    """A command prefix, such as ``nsenter`` or ``docker exec``."""

    def __init__(self, endpoint: ExecEndpoint, cancel: threading.Event | None = None) -> None:
        self.endpoint = endpoint
        self.cancel = cancel

    def _execute(
        self,
        argv: Sequence[str],
        timeout: float | None,
        stdin: bytes | Path | None,
        output: Path | None,
    ) -> Completed:
        command = (*self.endpoint.prefix, *argv)
        return process.run(
            command,
            check=False,
            timeout=timeout,
            stdin=stdin,
            output=output,
            cancelled=self.cancel,
            on_data=self.on_data,
        )

    def shell_argv(self, argv: Sequence[str] = ()) -> tuple[str, ...]:
        return (*self.endpoint.prefix, *(argv or ("/bin/bash", "-l")))

    def close(self) -> None:
        return None


def open_connection(endpoint: Endpoint, cancel: threading.Event | None = None) -> Connection:
    """Return the core's own connection to an endpoint; nothing is opened until it is used.

    When ``cancel`` is set, a command that runs is ended with Interrupted.
    """
    if isinstance(endpoint, SshEndpoint):
        return SshConnection(endpoint, cancel)
    return ExecConnection(endpoint, cancel)


def answers(endpoint: SshEndpoint, *, timeout: float = 2.0) -> bool:
    """Whether an ssh server says its version at the endpoint: far cheaper to ask than a whole login."""
    if endpoint.gateway:
        return True
    end = time.monotonic() + timeout
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=timeout) as link:
            link.settimeout(max(0.05, end - time.monotonic()))
            return link.recv(4) == b"SSH-"
    except OSError:
        return False
