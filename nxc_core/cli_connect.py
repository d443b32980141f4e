"""Getting into nodes: a shell on one, several side by side, a configuration for ssh."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxc_core.cli_complete import complete_deployments, complete_targets
from nxc_core.cli_context import Invocation
from nxc_core.cli_nodes import Which, choose_nodes
from nxc_core.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from nxc_core.running import Running


def connect(
    nxc: Invocation,
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NODE|ROLE",
            show_default=False,
            help="All nodes by default. After --, a command in place of a shell.",
            autocompletion=complete_targets,
        ),
    ] = None,
    geometry: Annotated[
        str | None,
        typer.Option(
            "--geometry",
            "-g",
            metavar="PANES",
            help="Columns of panes in tmux: 1+3+2 is three with so many in each, 2*3 is two with three.",
        ),
    ] = None,
    deployment: Which = None,
) -> int:
    """Open a root shell on a node, or several side by side in tmux.

    A command has a terminal, as with ssh -t. In panes that are left over, this machine's shell is run.
    """
    from nxc_core import panes, process

    running = nxc.session(configured=False).attach(deployment)
    names = _choose(running, targets or ())
    columns = panes.read_geometry(geometry) if geometry is not None else panes.choose_geometry(len(names))
    argvs = {name: running.connection(name).shell_argv(nxc.rest) for name in names}
    nxc.pause()
    with nxc.abrupt():
        if len(names) == 1 and geometry is None:
            return process.interact(argvs[names[0]])
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError("several nodes need a terminal", hint="`nxc exec` runs a command on many")
        left = panes.show(f"nxc-{running.id}", argvs, columns, keep=bool(nxc.rest))
    if left is not None:
        nxc.note(f"tmux session {left} goes on: `tmux attach -t {left}`, `tmux kill-session -t {left}`")
    return 0


def _choose(running: Running, targets: Any) -> list[str]:
    if targets:
        return choose_nodes(running, ",".join(targets))
    if len(running) > 1 and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("which node?", hint=f"the nodes of {running.id} are: {', '.join(running)}")
    return list(running)


def ssh_config(
    nxc: Invocation,
    deployment: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            show_default=False,
            help="Which deployment, if several live.",
            autocompletion=complete_deployments,
        ),
    ] = None,
) -> None:
    """Print a configuration for OpenSSH.

    Use it as in: nxc ssh-config >FILE; ssh -F FILE NODE
    """
    from nxc_core.model import SshEndpoint

    running = nxc.session(configured=False).attach(deployment)
    stanzas = []
    for name in running:
        endpoint = running.node(name).endpoint
        if isinstance(endpoint, SshEndpoint):
            stanzas.append(_stanza(name, endpoint))
    if not stanzas:
        raise ConfigError(
            f"no node of {running.id} is reached by ssh", hint="use `nxc connect` and `nxc exec`"
        )
    nxc.tell("\n\n".join(stanzas))


def _stanza(name: str, end: Any) -> str:
    from attrs import evolve

    from nxc_core.connect import spell_path
    from nxc_core.gateways import through

    settings = {
        "HostName": end.host,
        "Port": end.port,
        "User": end.user,
        "IdentityFile": spell_path(end.identity),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": spell_path(end.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": end.alias,
        "StrictHostKeyChecking": "yes",
        **({"ProxyCommand": through(evolve(end.gateway, control=None))} if end.gateway else {}),
    }
    return "\n".join([f"Host {name}", *(f"  {key} {value}" for key, value in settings.items())])
