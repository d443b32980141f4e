"""Carrying a deployment to where there is no nxc: all that it needs, in one folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from nxc_core import deploying, identity, paths
from nxc_core.errors import ConfigError, Interrupted, NxcError, PluginError, UsageError
from nxc_core.flavour import Exporting, Flavour
from nxc_core.model import Build, Deployment
from nxc_core.operation import Operation
from nxc_core.plugins import Plugins
from nxc_core.teardown import release_all


def check_flavour(plugins: Plugins, driver: Flavour[Any]) -> None:
    """Raise ConfigError for a flavour that cannot export, naming those that can."""
    if isinstance(driver, Exporting):
        return
    able = []
    for name in plugins.flavours:
        with contextlib.suppress(NxcError):
            if isinstance(plugins.flavour(name), Exporting):
                able.append(name)
    raise ConfigError(
        f"flavour {driver.name} cannot export",
        hint=f"these can: {', '.join(able)}" if able else "no flavour that is installed can",
    )


def check_folder(folder: Path) -> None:
    """Raise UsageError unless the folder is empty, or can be made."""
    if folder.is_dir():
        if any(folder.iterdir()):
            raise UsageError(
                f"{folder} is not empty", hint="name a new or an empty folder: nothing is overwritten"
            )
    elif folder.exists() or folder.is_symlink():
        raise UsageError(
            f"{folder} is not a folder",
            hint="the folder comes first, as in `nxc export -f docker DIR COMPOSITION`",
        )


def find_taken(driver: Flavour[Any], op: Operation) -> Collection[str]:
    """Ask which subnets are taken here, where it may be tried first; without the platform, none are known."""
    try:
        return driver.taken(op)
    except Interrupted:
        raise
    except NxcError:
        return ()


@contextlib.contextmanager
def emptied_on_failure(folder: Path) -> Iterator[None]:
    """Make a folder; whatever goes wrong, what was written there goes, and so do folders that were made."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made: {error.strerror}", hint="name a folder of yours"
        ) from error
    check_folder(folder)
    try:
        yield
    except BaseException:
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        for one in made:
            with contextlib.suppress(OSError):
                one.rmdir()
        raise


def write(
    plugins: Plugins, driver: Flavour[Any], deployment: Deployment, build: Build, folder: Path, op: Operation
) -> None:
    """Write node documents (0600, in a folder of mode 0700), and let the driver add what it needs.

    The operation's folder is a temporary one: what the driver claims is released before this returns.
    """
    if not isinstance(driver, Exporting):
        raise PluginError(f"flavour {driver.name} cannot export")
    paths.private(op.runtime)
    try:
        with emptied_on_failure(folder):
            plan = deploying.draw_plan(
                folder, deployment, build, identity.write_documents(folder, deployment, driver)
            )
            op.step(f"exporting {len(plan.nodes)} nodes for {driver.name}", topic="export")
            driver.export(plan, folder, op)
            op.check_cancelled()
    finally:
        release_all(plugins, deployment, op)
        shutil.rmtree(op.runtime, ignore_errors=True)
