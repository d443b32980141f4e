"""Deployments for scripts: started or attached to, their nodes as execo's hosts, and given back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen

from nxc_core import Running, Session, StateError
from nxc_core.model import Json, NodeState, Policy
from nxc_execo import late, project, signals
from nxc_execo.project import Target, Wishes
from nxc_execo.table import TABLE

Host: TypeAlias = Any
"""An ``execo.Host``. Its address is the node's name, which the nodes know, too."""
Quantities: TypeAlias = Mapping[str, int | str | Sequence[str]]
"""Nodes per role: a number, or their names."""
Machines: TypeAlias = str | Sequence[str | Host]
"""A machine file, ``host,host``, or a list of names or hosts."""

_STARTED: dict[str, Deployment] = {}


@frozen(kw_only=True, eq=False)
class Deployment:
    """Nodes that run. ``nodes`` are the ready ones by name, ``roles`` the same by role, in order."""

    running: Running
    nodes: Mapping[str, Host]
    roles: Mapping[str, list[Host]]

    @property
    def id(self) -> str:
        """The deployment's id, as `nxc status` shows it."""
        return self.running.id

    @property
    def hosts(self) -> list[Host]:
        """All ready nodes, in the plan's order."""
        return list(self.nodes.values())

    def give_back(self) -> None:
        """Release everything; Ctrl-C waits until that is done, a second one does not. May be called twice."""
        _give_back([self.id], lambda id: self.running.down(), self)
        _STARTED.pop(self.id, None)


@contextlib.contextmanager
def deployed(
    composition: Path | str | None = None,
    *,
    flavour: str | None = None,
    roles: Quantities | None = None,
    machines: Machines | None = None,
    options: Mapping[str, Mapping[str, Json]] | None = None,
    parameters: Mapping[str, Json] | None = None,
    policy: Policy | None = None,
    base: str | None = None,
    folder: Path | str = ".",
    keep: bool = False,
) -> Iterator[Deployment]:
    """Build and start a composition of its own for a ``with`` block, and give it back whatever happens.

    That holds for exceptions, Ctrl-C and SIGTERM, also while it starts; ``keep`` leaves it. Everything means
    what it means to `nxc start`: what is left out comes from nxc.toml.
    """
    late.load()
    session, target = _settle(composition, flavour, base, options, roles, machines, policy, folder)
    found: Deployment | None = None
    with signals.ending():
        try:
            with signals.stopping(session):
                found = describe(_start(session, target, parameters, fresh=True))
            yield found
        finally:
            if not keep:
                _give_back(session.made, session.down, found)


def start(
    composition: Path | str | None = None,
    *,
    flavour: str | None = None,
    roles: Quantities | None = None,
    machines: Machines | None = None,
    options: Mapping[str, Mapping[str, Json]] | None = None,
    parameters: Mapping[str, Json] | None = None,
    policy: Policy | None = None,
    base: str | None = None,
    folder: Path | str = ".",
    fresh: bool = False,
) -> Deployment:
    """Start a composition as `nxc start` does: what runs already is taken as it is, unless ``fresh``.

    It stays when the script ends: ``give_back()``, or `nxc down`.
    """
    late.load()
    session, target = _settle(composition, flavour, base, options, roles, machines, policy, folder)
    with signals.stopping(session):
        found = describe(_start(session, target, parameters, fresh=fresh))
    _STARTED[found.id] = found
    return found


def attach(id: str | None = None, *, folder: Path | str = ".") -> Deployment:
    """Take what runs already, by its id or the only one of the project; raises StateError if none does."""
    late.load()
    session, _ = project.open_session(Path(folder))
    found = describe(session.attach(id))
    if not found.nodes:
        raise StateError(
            f"{found.id} is {found.running.deployment.status}: none of its nodes runs",
            hint="`nxc status` says why; `nxc start`, or start(), goes on with one that failed",
        )
    return found


def give_back() -> None:
    """Give back all that ``start`` and ``get_oar_job_nodes_nxc`` have started, or found, in this script."""
    for found in list(_STARTED.values()):
        found.give_back()


def describe(running: Running) -> Deployment:
    """Make execo's hosts of the nodes that are ready."""
    make = late.load().Host
    nodes: dict[str, Host] = {}
    roles: dict[str, list[Host]] = {role.name: [] for role in running.deployment.composition.roles}
    for spec in running.deployment.specs:
        if running.outcome(spec.name).state is not NodeState.READY:
            continue
        endpoint = running.node(spec.name).endpoint
        address = TABLE.add(spec.name, running.id, endpoint)
        key, port = getattr(endpoint, "identity", None), getattr(endpoint, "port", None)
        host = make(address, user=endpoint.user, keyfile=str(key) if key else None, port=port)
        nodes[spec.name] = host
        roles.setdefault(spec.role, []).append(host)
    return Deployment(running=running, nodes=nodes, roles=roles)


def _settle(
    composition: Path | str | None,
    flavour: str | None,
    base: str | None,
    options: Mapping[str, Mapping[str, Json]] | None,
    roles: Quantities | None,
    machines: Machines | None,
    policy: Policy | None,
    folder: Path | str,
) -> tuple[Session, Target]:
    """Open the project, and fill in from its settings what was not asked for."""
    wishes = Wishes(
        composition=Path(composition) if composition is not None else None,
        flavour=flavour,
        base=base,
        options=options or {},
        roles=dict(roles or {}),
        machines=machines,
        policy=policy,
    )
    session, settings = project.open_session(Path(folder))
    return session, project.settle(wishes, session, settings)


def _start(
    session: Session,
    target: Target,
    parameters: Mapping[str, Json] | None,
    *,
    fresh: bool,
) -> Running:
    return session.start(
        target.source,
        flavour=target.flavour,
        base=target.base,
        options=target.options,
        roles=target.roles,
        parameters=parameters,
        policy=target.policy,
        fresh=fresh,
        jobs=target.jobs,
    )


def _give_back(ids: Sequence[str], down: Callable[[str], None], found: Deployment | None) -> None:
    """Take down what was made, whether it came up or not; a signal counts when that is done."""
    tell = late.load("execo.log").logger.warning
    with signals.finishing(lambda: tell("nxc: giving the nodes back first (once more: at once)")):
        TABLE.forget([host.address for host in found.nodes.values()] if found else ())
        for id in ids:
            down(id)
