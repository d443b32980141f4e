"""What a deployment holds: keeping its build, and releasing all rank by rank, newest rank first."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nxc_core import deploying
from nxc_core.connect import open_connection
from nxc_core.errors import Interrupted, NxcError, StateError, TeardownError
from nxc_core.flavour import Flavour
from nxc_core.model import Build, Deployment, NodeState, Outcome, Resource, Status
from nxc_core.operation import Operation
from nxc_core.plugins import Plugins
from nxc_core.state import Workspace

DAY = 24 * 3600


def take_down(plugins: Plugins, workspace: Workspace, id: str, op: Operation) -> None:
    """Release all that a deployment holds, remove its keys, and write down that it is stopped."""
    folder = workspace.deployment_dir(id)
    with op.alone(folder / "lock", id, patience=10):
        deployment = load_to_release(workspace, id, op)
        if deployment is None:
            shutil.rmtree(folder)  # interrupted before anything was claimed
            return
        for node in op.journal.nodes().values():
            open_connection(node.endpoint).close()  # another process may have left it open
        release_all(plugins, deployment, op)
        for path in (folder / "key", folder / "key.pub"):
            path.unlink(missing_ok=True)
        for gone in (folder / "nodes", folder / "roots", op.runtime):
            shutil.rmtree(gone, ignore_errors=True)
        sweep_runtime(op.runtime.parent)
        op.journal.outcome(*(Outcome(node=spec.name, state=NodeState.STOPPED) for spec in deployment.specs))
        deploying.mark(workspace, deployment, Status.STOPPED)
        op.step(f"{id} is stopped", topic="stopped", deployment=id)


def sweep_runtime(folder: Path) -> None:
    """Remove what deployments have left whose project was thrown away: empty folders, unused for a day."""
    for one in folder.glob(10 * "[0-9a-f]"):  # as an operation's is called
        with contextlib.suppress(OSError):  # it is in use, or gone meanwhile
            if time.time() - one.lstat().st_mtime > DAY:
                one.rmdir()


def load_to_release(workspace: Workspace, id: str, op: Operation) -> Deployment | None:
    """Read a deployment to release it; None when it has no document and claimed nothing.

    Raises StateError when the document cannot be read, with the claims in words to act on.
    """
    try:
        return workspace.load(id)
    except (StateError, FileNotFoundError) as error:
        left = op.journal.outstanding()
        if not left and isinstance(error, FileNotFoundError):
            return None
        message = error.message if isinstance(error, StateError) else f"{error.filename} is gone"
        told = f"; still there: {spell(left)}" if left else ""
        hint = "restore it, or remove these by hand" if left else f"remove {workspace.deployment_dir(id)}"
        raise StateError(f"{message}{told}", hint=getattr(error, "hint", "") or hint) from error


def hold(plugins: Plugins, build: Build, op: Operation) -> None:
    """Have the base keep what the deployment runs on; where it cannot, that is only said."""
    try:
        plugins.base(build.base, build.options).hold(build.artifact, op)
    except Interrupted:
        raise
    except NxcError as error:
        told = f"nothing keeps others from removing what it runs on: {error.message}"
        op.step(told, topic="warning")


def release_all(plugins: Plugins, deployment: Deployment, op: Operation) -> None:
    """Release all outstanding claims. Raises TeardownError with those that are left, in words to act on."""
    if not op.journal.outstanding():
        return
    group = deployment.groups[0]
    try:
        driver = plugins.flavour(group.flavour, group.options)
    except NxcError as error:
        raise TeardownError(
            f"flavour {group.flavour} cannot be used ({error.message}); "
            f"still there: {spell(op.journal.outstanding())}",
            hint="install its plugin and run `nxc down` again, or remove these by hand",
        ) from error
    left: list[Resource] = []
    trouble: list[str] = []
    again = f"run `nxc down {deployment.id}` again; its claims are kept"
    for rank in sorted({resource.rank for resource in op.journal.outstanding()}, reverse=True):
        of_rank = [resource for resource in reversed(op.journal.outstanding()) if resource.rank == rank]
        try:
            kept, why = _release_rank(plugins, driver, of_rank, op)
        except Interrupted:
            held = spell(op.journal.outstanding())
            raise Interrupted(f"interrupted; perhaps still there: {held}", hint=again) from None
        left += kept
        trouble += why
    if left:
        told = f" ({'; '.join(trouble)})" if trouble else ""
        raise TeardownError(
            f"could not release {spell(left)}{told}",
            hint=again,
        )


def _release_rank(
    plugins: Plugins, driver: Flavour[Any], resources: Sequence[Resource], op: Operation
) -> tuple[list[Resource], list[str]]:
    ours = [resource for resource in resources if resource.kind == "folder"]
    gone: set[tuple[str, str]] = set()
    for resource in ours:
        shutil.rmtree(Path(resource.id), ignore_errors=True)
        if not Path(resource.id).exists():
            gone.add(resource.key)
    theirs = [resource for resource in resources if resource.kind != "folder"]
    trouble: list[str] = []
    if theirs:
        try:
            gone |= {resource.key for resource in plugins.teardown(driver, theirs, op)}
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the other ranks go on
            trouble.append(_tell(error))
    try:
        for resource in resources:
            if resource.key in gone:
                op.journal.release(resource)
    except OSError as error:  # a full disk: the other ranks go on, and the next `nxc down` finds these gone
        trouble.append(str(error))
    still = {resource.key for resource in op.journal.outstanding()}
    return [resource for resource in resources if resource.key in still], trouble


def _tell(error: Exception) -> str:
    """Say what is in the way, and how it is got out of it."""
    if isinstance(error, NxcError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return f"{type(error).__name__}: {error}"


def spell(resources: Sequence[Resource]) -> str:
    """Spell claims for a person, with the pid where one is known."""
    return ", ".join(
        f"{r.kind} {r.id}" + (f" (pid {r.data['pid']})" if "pid" in r.data else "") for r in resources
    )
