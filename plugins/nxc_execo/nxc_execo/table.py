"""The nodes that execo can reach: a private folder per process, for what execo calls as `ssh` and `scp`.

A Host of execo's carries an address, a user, a key and a port; nothing else survives its copying. So a node's
address is its name, and how it is really reached is in the folder of that name.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from attrs import define, field

from nxc_core import connect, paths
from nxc_core.gateways import CONNECT_TIMEOUT, through
from nxc_core.model import Endpoint, SshEndpoint
from nxc_execo import late

TRANSPORT = Path(__file__).parent / "transport"
NODES = "EXECO_NXC_NODES"


@define
class Table:
    """Maps addresses to endpoints, in memory and on disk; one per process, as execo's settings are."""

    folder: Path | None = None
    known: dict[str, Endpoint] = field(factory=dict)

    def add(self, name: str, deployment: str, endpoint: Endpoint) -> str:
        """Make a node known, and return the address for execo: its name, unless another node has that."""
        if self.folder is None:
            self.folder = _install()
        taken = name in self.known and self.known[name] != endpoint
        address = f"{name}.{deployment}" if taken else name
        place = self.folder / address
        place.mkdir(mode=0o700, exist_ok=True)
        if isinstance(endpoint, SshEndpoint):
            control = endpoint.control or self.folder / f"{len(self.known)}.ssh"
            _replace(place / "ssh_config", _spell(address, endpoint, control))
        else:
            _replace(place / "enter", f'exec {shlex.join(endpoint.prefix)} "$@"\n')
        self.known[address] = endpoint
        return address

    def forget(self, addresses: Iterable[str]) -> None:
        """Close what is open to nodes, and forget them."""
        for address in addresses:
            endpoint = self.known.pop(address, None)
            if self.folder is not None:
                shutil.rmtree(self.folder / address, ignore_errors=True)
            if isinstance(endpoint, SshEndpoint):
                connect.open_connection(endpoint).close()


TABLE = Table()


def _install() -> Path:
    """Make the folder, and have execo call the programs beside this module."""
    params = late.load("execo.config").default_connection_params
    folder = Path(tempfile.mkdtemp(prefix="execo-", dir=paths.runtime_dir()))
    atexit.register(_remove, folder, os.getpid())
    os.environ[NODES] = str(folder)
    for program in ("ssh", "scp"):
        ours, former = str(TRANSPORT / program), params.get(program, program)
        if former != ours:
            os.environ[f"EXECO_NXC_{program.upper()}"] = former  # for hosts that are no nodes
        params[program] = ours
    return folder


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(path: Path, text: str) -> None:
    """Write a file in one step: a program may be reading it."""
    fresh = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)


def _spell(address: str, end: SshEndpoint, control: Path) -> str:
    """Spell the configuration of a node: one shared connection, opened by whoever comes first."""
    settings = {
        "HostName": end.host,
        "Port": end.port,
        "User": end.user,
        "IdentityFile": connect.spell_path(end.identity),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": connect.spell_path(end.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": end.alias,
        "UpdateHostKeys": "no",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
        "ConnectTimeout": CONNECT_TIMEOUT,
        "ServerAliveInterval": 10,
        "ServerAliveCountMax": 6,
        "ControlMaster": "auto",
        "ControlPath": connect.spell_path(control),
        "ControlPersist": connect.IDLE,
        **({"ProxyCommand": through(end.gateway)} if end.gateway else {}),
    }
    lines = [f"Host {address}", *(f"  {key} {value}" for key, value in settings.items())]
    return "\n".join(lines) + "\n"
