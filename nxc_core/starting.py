"""Deploying what was built, and writing down what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nxc_core import deploying, paths, state
from nxc_core.errors import DeployError, Interrupted, NxcError, StateError
from nxc_core.flavour import Console, Flavour
from nxc_core.model import Build, Deployment, NodeSpec, Status
from nxc_core.operation import Operation
from nxc_core.running import Running
from nxc_core.teardown import hold
from nxc_core.verdict import judge, not_up, several_failed

if TYPE_CHECKING:
    from nxc_core.session import Session


def find_resumable(
    session: Session, build: Build, flavour: str, specs: Sequence[NodeSpec]
) -> Deployment | None:
    """Find a live deployment of the same build and nodes, and warn of others of the same composition."""
    found, others = deploying.find_resumable(session.deployments(), build, flavour, specs)
    for other in others:
        session.say(
            f"{other} runs another build or other nodes of this composition; another starts beside it"
            f" (`nxc down {other}` removes it)",
            topic="warning",
        )
    return found


def deploy(
    session: Session,
    deployment: Deployment,
    build: Build,
    driver: Flavour[Any],
    *,
    resumed: Running | None = None,
) -> Running:
    """Bring a deployment up, and mark it with what became of it; raises DeployError when it is too little."""
    folder = session.workspace.deployment_dir(deployment.id)
    op = session.operation(folder, deployment.id)
    paths.private(op.runtime)
    with state.locked(folder / "lock", what=deployment.id):
        if resumed is not None:
            if session.workspace.load(deployment.id).status is Status.STOPPED:
                raise StateError(f"{deployment.id} was taken down meanwhile", hint="start again")
            resumed.forget_failures()  # only under the lock: another nxc may be booting these nodes
        deployment = deploying.mark(session.workspace, deployment, Status.DEPLOYING)
        _deploy(session, deployment, build, driver, op)
        deployment = deploying.bound(deployment, op.journal)
        status = judge(deployment, op.journal.outcomes())
        deployment = deploying.mark(session.workspace, deployment, status)
    if status is Status.FAILED:
        outcomes, bad = op.journal.outcomes(), op.journal.quarantined()
        raise not_up(deployment, outcomes, bad, console=keeps_consoles(driver, folder))
    op.step(status.value, topic="deployed", deployment=deployment.id)
    return Running(session, deployment, op)


def keeps_consoles(driver: Flavour[Any], folder: Path) -> bool:
    """Whether `nxc logs` has something to show of a deployment, whose folder this is."""
    return isinstance(driver, Console) or any((folder / "log").glob("*.log"))


def _deploy(
    session: Session, deployment: Deployment, build: Build, driver: Flavour[Any], op: Operation
) -> None:
    def give_up() -> None:
        deploying.mark(session.workspace, deploying.bound(deployment, op.journal), Status.FAILED)

    try:
        plan = deploying.make_plan(session.workspace, deployment, build, driver)
        count = len(plan.nodes)
        told = f"starting {count} node{'' if count == 1 else 's'} on {driver.name}"
        op.step(told, topic="deploy", deployment=deployment.id)
        hold(session.plugins, build, op)
        session.plugins.deploy(driver, plan, op)
    except (Interrupted, KeyboardInterrupt):
        # Status stays "deploying": `nxc start` goes on from the journal.
        raise Interrupted(
            f"interrupted while starting {deployment.id}",
            hint=f"`nxc start` goes on with it, `nxc down {deployment.id}` removes it",
        ) from None
    except NxcError as error:
        give_up()
        if isinstance(error, DeployError):
            error.deployment = deployment.id
        error.hint = error.hint or f"`nxc down {deployment.id}` removes what is left"
        raise
    except ExceptionGroup as group:
        give_up()
        raise (several_failed(deployment, group) or group) from group
