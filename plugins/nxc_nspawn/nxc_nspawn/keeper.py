"""The keeper: one sleeping process per deployment, in whose namespaces all is that the nodes share.

The layers are mounted there once for all nodes, the bridge is there, and each node's root. When the last
process in it has ended, the kernel takes everything away: mounts, loop devices and cards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from attrs import frozen

from nxc_core import DeployError, Operation
from nxc_core.model import Plan, Resource
from nxc_core.paths import private
from nxc_core.spawned import is_spawned
from nxc_nspawn import cgroups, network
from nxc_nspawn.cgroups import Groups, Hierarchies

CGROUPS = "nspawn.cgroups"
KEEPER = "nspawn.keeper"
SYSTEMD = Path("/run/systemd/system")
"""Where this is, a systemd rules over the control groups of this machine."""
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "dumb"}
START_TIMEOUT = 60.0

_KEEP = """
cd "$1"; batch=$2; shift 2
mount -n -t tmpfs -o mode=0700 nxc "$PWD"
cd "$PWD"
# Where systemd-nspawn keeps things by a machine's name, which is another one's in another deployment.
mkdir -p /run/systemd/nspawn
mount -n -t tmpfs -o mode=0700 nxc /run/systemd/nspawn
# systemd-nspawn makes cards' addresses from this machine's id, which one that never booted systemd lacks.
if [ -e /etc/machine-id ] && ! grep -qxE '[0-9a-f]{32}' /etc/machine-id; then
  tr -d - </proc/sys/kernel/random/uuid >machine-id
  mount -n --bind machine-id /etc/machine-id
fi
mkdir layers nodes volumes
number=0
for layer; do
  mkdir "layers/$number"
  mount -n -t squashfs -o ro,loop "$layer" "layers/$number"
  number=$((number + 1))
done
printf '%s' "$batch" | ip -batch -
: >ready
exec sleep infinity
"""
# A slave, so that what this machine unmounts is not kept mounted here.
_UNSHARE = ("unshare", "--mount", "--net", "--propagation", "slave", "--", "sh", "-euc", _KEEP, "nxc")


@frozen(kw_only=True)
class Keeper:
    """A keeper that lives. ``folder`` is where its mounts are, as its namespace sees it."""

    pid: int
    folder: Path
    groups: Groups

    @property
    def seen(self) -> Path:
        """The folder as it is seen from here."""
        return Path(f"/proc/{self.pid}/root{self.folder}")

    def enter(self, *namespaces: str) -> tuple[str, ...]:
        """Return words that run a command in the keeper's namespaces."""
        return ("nsenter", f"--target={self.pid}", *(f"--{name}" for name in namespaces), "--")


def layers(plan: Plan) -> dict[str, Path]:
    """Map the names of all layers to their files, in an order that is the same at every call.

    Raises DeployError where one is missing.
    """
    names = {name for spec in plan.nodes for name in plan.artifact.roles[spec.role].layers}
    found = {}
    for name in sorted(names):
        layer = plan.artifact.layers.get(name)
        if layer is None or layer.squashfs is None or not layer.squashfs.exists():
            raise DeployError(f"what was built has no squashfs of {name}", hint="`nxc build` builds it again")
        found[name] = layer.squashfs
    return found


def find(op: Operation, found: Hierarchies) -> Keeper | None:
    """Return the deployment's keeper, if it lives, and its groups and cards were set up to the end."""
    for claim in op.claimed(KEEPER):
        pid = claim.data.get("pid")
        if not isinstance(pid, int) or not is_spawned(pid, op.token(claim)):
            continue
        keeper = Keeper(pid=pid, folder=Path(str(claim.data["folder"])), groups=groups(op, found))
        if claim.data.get("settled") == pid and (keeper.seen / "ready").exists():
            return keeper
    return None


def start(plan: Plan, op: Operation, found: Hierarchies) -> Keeper:
    """Start a keeper, in place of one that could not be used; returns when it is ready.

    Raises DeployError with its own words when it cannot be set up.
    """
    if network.is_strange(op.name):
        raise DeployError(
            f"the network card {network.link_name(op.name)} is not ours", hint="remove it, or rename it"
        )
    unit = scope(op.name) if SYSTEMD.exists() else ""
    control = op.claim(CGROUPS, op.name, rank=0, unit=unit)
    op.claim(network.LINK, network.link_name(op.name), rank=1)
    claim = op.claim(KEEPER, op.name, rank=1, folder=str(op.runtime / "nspawn"))
    if "pid" in claim.data and not op.stop(claim):
        raise DeployError(f"the keeper of {op.name} does not end", hint=f"see process {claim.data['pid']}")
    network.remove_link(op.name)
    pid = _spawn(plan, claim, unit, op)
    if unit:
        folders = cgroups.delegated(Path(f"/proc/{pid}/cgroup").read_text(), unit, found).folders
        op.note(control, folders={kind: str(folder) for kind, folder in folders.items()})
    keeper = Keeper(pid=pid, folder=Path(str(claim.data["folder"])), groups=groups(op, found))
    cgroups.settle(keeper.groups, pid, ours=not unit)
    op.run(("ip", "-batch", "-"), stdin=network.host_batch(op.name, plan.networks[0]).encode(), timeout=60)
    op.note(claim, settled=pid)  # what a crash leaves half done is begun anew
    return keeper


def _spawn(plan: Plan, claim: Resource, unit: str, op: Operation) -> int:
    """Start the process and wait until it sleeps; returns its pid."""
    folder, log = Path(str(claim.data["folder"])), op.dir / "nspawn.log"
    private(folder.parent)
    private(folder)
    log.unlink(missing_ok=True)
    batch = network.keeper_batch(op.name, os.getpid())
    argv = (*scope_words(unit), *_UNSHARE, str(folder), batch, *map(str, layers(plan).values()))
    spawned = op.spawn(KEEPER, op.name, argv, log=log, env=ENVIRONMENT, rank=1)
    pid = int(cast("int", spawned.data["pid"]))
    ready, token = Path(f"/proc/{pid}/root{folder}/ready"), op.token(spawned)

    op.wait(
        "set-up of mounts and network",
        lambda: ready.exists() or not is_spawned(pid, token),
        timeout=START_TIMEOUT,
    )
    if not ready.exists():
        said = log.read_text(errors="replace").strip().splitlines()
        raise DeployError(f"mounts and network cannot be set up: {said[-1] if said else 'no word why'}")
    return pid


def groups(op: Operation, found: Hierarchies) -> Groups:
    """Return the deployment's control groups, whether they are there or not."""
    for claim in op.claimed(CGROUPS):
        noted = claim.data.get("folders") or {}
        if claim.data.get("unit") and isinstance(noted, Mapping):
            folders = {kind: Path(str(path)) for kind, path in noted.items()}
            return Groups(folders=folders, version=found.version, systems=found.of_systems)
    return cgroups.own(plain(op.name), found)


def plain(deployment: str) -> str:
    """Return a deployment's name for what takes no blanks; its random end still tells it from others."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"nxc-{deployment}")


# With a systemd on this machine


def scope(deployment: str) -> str:
    """Return the name of the unit in which a deployment's processes are."""
    return f"{plain(deployment)}.scope"


def scope_words(unit: str) -> tuple[str, ...]:
    """Return words that start a command in a unit of its own, whose control groups are left to it."""
    if not unit:
        return ()
    properties = ("--property=Delegate=yes", "--property=TasksMax=infinity")
    return (
        "systemd-run",
        "--scope",
        "--quiet",
        "--collect",
        "--slice=machine.slice",
        f"--unit={unit}",
        *properties,
        "--",
    )
