"""What a node boots from, read out of an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attrs import frozen

from nxc_core import ConfigError
from nxc_core.model import Plan, RoleBoot

SERIAL = 20
"""Characters of a serial number that a virtio disk holds: so many of a layer's digest."""
STORE_TAG = "nix-store"
"""The name under which a guest mounts this machine's store."""
REGISTRATION = "nxc.registration"
"""The kernel argument that names the file from which a guest fills its Nix database."""
LOGICAL_STORE = Path("/nix/store")


@frozen(kw_only=True)
class Disk:
    """A file that a machine sees as a disk, read-only, so that any number of machines may share it."""

    file: Path
    serial: str


@frozen(kw_only=True)
class Share:
    """A folder of this machine that a guest mounts, read-only. virtiofs has a socket to its daemon."""

    how: Literal["9p", "virtiofs"]
    folder: Path
    tag: str = STORE_TAG
    socket: Path | None = None


@frozen(kw_only=True)
class Media:
    """What one machine boots from."""

    kernel: Path
    initrd: Path
    cmdline: str
    disks: tuple[Disk, ...] = ()
    share: Share | None = None


def loaded(plan: Plan, role: str) -> Media:
    """Return a role's kernel, initrd and arguments; raises ConfigError where the artifact has none."""
    start = _start(plan, role)
    if start.kernel is None or start.initrd is None:
        raise _unusable(f"no kernel and initrd for role {role}")
    return Media(kernel=start.kernel, initrd=start.initrd, cmdline=start.cmdline)


def disks(plan: Plan, role: str) -> tuple[Disk, ...]:
    """Return a role's layers as disks."""
    found = {}
    for name in _start(plan, role).layers:
        layer = plan.artifact.layers.get(name)
        if layer is None or layer.squashfs is None:
            raise _unusable(f"no squashfs of layer {name}")
        serial = layer.digest[:SERIAL]
        found[serial] = Disk(file=layer.squashfs, serial=serial)
    return tuple(found.values())


def store(plan: Plan) -> Path:
    """Return the folder that guests are to have as their store."""
    folder = plan.artifact.files.get("store")
    if folder is None:
        raise _unusable("no store")
    return folder


def registration(plan: Plan) -> str:
    """Return the kernel argument for the store's registration; empty where there is none."""
    file, folder = plan.artifact.files.get("registration"), store(plan)
    if file is None or not file.is_relative_to(folder):
        return ""
    return f"{REGISTRATION}={LOGICAL_STORE / file.relative_to(folder)}"


def _start(plan: Plan, role: str) -> RoleBoot:
    start = plan.artifact.roles.get(role)
    if start is None:
        raise _unusable(f"no role {role}")
    return start


def _unusable(lack: str) -> ConfigError:
    return ConfigError(f"what was built has {lack}", hint="`nxc build` builds it again")
