"""Deployments on disk: making one, finding it again, and the plan that a driver is given."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from nxc_core import identity, state
from nxc_core.errors import StateError
from nxc_core.flavour import Flavour
from nxc_core.model import (
    Build,
    Deployment,
    Group,
    Json,
    NodeSpec,
    Outcome,
    Plan,
    Policy,
    Quarantined,
    Status,
)
from nxc_core.state import Journal, Workspace


@frozen(kw_only=True)
class Summary:
    """A deployment as ``nxc status`` shows it; ``trouble`` says why it cannot be read."""

    id: str
    deployment: Deployment | None = None
    outcomes: Mapping[str, Outcome] = field(factory=dict)
    quarantined: Mapping[str, Quarantined] = field(factory=dict)
    bound: bool = False
    """Whether its nodes run on machines that were held for them."""
    machines: Mapping[str, str] = field(factory=dict)
    """Which node has which of them; a node may have none yet."""
    status: Status | None = None
    trouble: str = ""


def describe(
    build: Build,
    driver: Flavour[Any],
    specs: tuple[NodeSpec, ...],
    options: Mapping[str, Json],
    policy: Policy,
    parameters: Mapping[str, Json],
    taken: Collection[str] = (),
) -> Deployment:
    """Name a new deployment and give its nodes addresses, none in a ``taken`` subnet, and instance ids."""
    id = f"{build.composition.name}-{driver.name}-{secrets.token_hex(3)}"
    return Deployment(
        id=id,
        name=build.composition.name,
        composition=build.composition,
        groups=(
            Group(
                flavour=driver.name,
                options=options,
                roles=tuple(role.name for role in build.composition.roles),
                build=build.id,
            ),
        ),
        networks=identity.make_networks(id, specs, taken) if driver.addressing == "nxc" else (),
        specs=specs,
        instances=identity.make_instances(specs),
        policy=policy,
        parameters=parameters,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def create(workspace: Workspace, deployment: Deployment, build: Build) -> None:
    """Make the deployment's folder, with its build and its document."""
    folder = workspace.deployment_dir(deployment.id)
    folder.mkdir(parents=True, mode=0o700)
    (folder / "log").mkdir()
    state.save(folder / "build.json", build)
    mark(workspace, deployment, deployment.status)


def mark(workspace: Workspace, deployment: Deployment, status: Status) -> Deployment:
    """Write down a deployment's status, and where it is."""
    file = workspace.deployment_file(deployment.id)
    deployment = evolve(deployment, status=status, folder=str(file.parent))
    state.save(file, deployment, mode=0o600)  # it has the parameters, which may be secret
    return deployment


def bound(deployment: Deployment, journal: Journal) -> Deployment:
    """Return a deployment with what its journal says: nodes on their machines, the platform's networks."""
    machines, networks = journal.bindings(), journal.networks()
    specs = tuple(evolve(spec, machine=machines.get(spec.name, spec.machine)) for spec in deployment.specs)
    return evolve(deployment, specs=specs, networks=deployment.networks if networks is None else networks)


def make_plan(workspace: Workspace, deployment: Deployment, build: Build, driver: Flavour[Any]) -> Plan:
    """Return what the driver is to bring up; writes keys and node documents where they are missing."""
    folder = workspace.deployment_dir(deployment.id)
    return draw_plan(folder, deployment, build, identity.write_documents(folder, deployment, driver))


def draw_plan(folder: Path, deployment: Deployment, build: Build, documents: Mapping[str, Path]) -> Plan:
    """Return what the driver is to bring up, whose documents and keys are below a folder."""
    return Plan(
        deployment=deployment.id,
        artifact=build.artifact,
        nodes=deployment.specs,
        networks=deployment.networks,
        documents=documents,
        instances=deployment.instances,
        key=folder / "key",
        known_hosts=folder / "known_hosts",
        parameters=deployment.parameters,
        roles={role.name: role for role in deployment.composition.roles},
        all_nodes=deployment.specs,
        policy=deployment.policy,
    )


def find_resumable(
    summaries: Iterable[Summary], build: Build, flavour: str, specs: Sequence[NodeSpec]
) -> tuple[Deployment | None, list[str]]:
    """Find the newest live deployment of the same build and nodes.

    The second value names live deployments of the same composition that are not.
    """
    others = []
    for summary in reversed(list(summaries)):
        known = summary.deployment
        if known is None or known.status is Status.STOPPED or known.name != build.composition.name:
            continue
        if known.groups[0].flavour != flavour or known.composition.source != build.composition.source:
            continue
        same_nodes = {(s.name, s.role) for s in known.specs} == {(s.name, s.role) for s in specs}
        if known.groups[0].build == build.id and same_nodes:
            return known, []
        others.append(known.id)
    return None, others


def live_subnets(summaries: Iterable[Summary]) -> set[str]:
    """Return the subnets of deployments that are not stopped, whether or not they are in use by now."""
    live = [s.deployment for s in summaries if s.deployment and s.status is not Status.STOPPED]
    return {one.subnet for deployment in live for one in deployment.networks if one.subnet}


def find(workspace: Workspace, id: str | None = None, *, stopped: bool = False) -> str:
    """Complete a deployment's id; raises StateError when none or several fit."""
    known = workspace.deployments()
    if id is None:
        fits = [s.id for s in summarise_all(workspace) if stopped or s.status is not Status.STOPPED]
    else:
        fits = [id] if id in known else [one for one in known if one.startswith(id)]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        told = f"there is no deployment {id}" if id else "nothing is deployed in this project"
        raise StateError(told, hint="`nxc status` lists what there is, `nxc start` starts one")
    raise StateError(
        f"{'several deployments fit' if id else 'there are several deployments'}: {', '.join(fits)}",
        hint="name one of them",
    )


def summarise_all(workspace: Workspace) -> list[Summary]:
    """List a project's deployments, oldest first."""
    return [summarise(workspace, id) for id in workspace.deployments()]


def summarise(workspace: Workspace, id: str) -> Summary:
    """Read where a deployment is; raises nothing."""
    try:
        journal = workspace.journal(id)
        deployment = bound(workspace.load(id), journal)
        outcomes = journal.outcomes()
    except FileNotFoundError:
        return Summary(id=id, trouble=f"it was never started (`nxc down {id}` takes away what is left)")
    except (StateError, OSError) as error:
        return Summary(id=id, trouble=str(error))
    return Summary(
        id=id,
        deployment=deployment,
        outcomes=outcomes,
        quarantined=journal.quarantined(),
        bound=bool(journal.bindings() or journal.quarantined()),
        machines=journal.bindings(),
        status=deployment.status,
    )
