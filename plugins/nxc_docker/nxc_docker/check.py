"""What ``nxc doctor`` says of the engine, and what must hold before nodes are started."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from nxc_core import PreflightError
from nxc_core.model import Finding
from nxc_docker import engine as engines
from nxc_docker.engine import Engine
from nxc_docker.options import DockerOptions
from nxc_docker.profile import Profile

INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
SYSTEMD_CGROUP = Path("/sys/fs/cgroup/systemd")
PER_NODE = {True: 2, False: 3}
"""inotify instances that root has in a lean system (PID 1), and in a whole one (logind, too)."""
USUAL_LIMIT = 128
"""inotify instances that Linux lets a user have where nobody has set a limit."""
LEAST_DISK = 512
"""MiB that the images of a small deployment take."""
_LINK = "anon_inode:inotify"


def check_engine(options: DockerOptions) -> Sequence[Finding]:
    """Say whether an engine is here and fit. Never raises."""
    try:
        engine = engines.connect(options)
    except PreflightError as error:
        return [Finding(ok=False, subject="container engine", detail=error.message, hint=error.hint)]
    return [*_check_profile(engine, options), *_check_room(engine.profile, options)]


def _check_profile(engine: Engine, options: DockerOptions) -> Iterator[Finding]:
    profile = engine.profile
    yield Finding(ok=True, subject="container engine", detail=f"{profile.spelled} at {engine.url}")
    if not profile.local:
        yield Finding(ok=True, subject="engine's files", detail="of another machine: node.json is copied")
    if profile.engine == "docker" and profile.rootless and profile.cgroup == 1:
        yield Finding(
            ok=False,
            subject="control groups",
            detail="rootless docker cannot give containers control groups of version 1",
            hint="boot with systemd.unified_cgroup_hierarchy=1, or use docker as root, or podman",
        )
    elif profile.engine == "docker" and profile.cgroup == 1 and profile.local and not SYSTEMD_CGROUP.is_dir():
        yield Finding(
            ok=False,
            subject="control groups",
            detail=f"{SYSTEMD_CGROUP} is not there, which systemd in a container needs with version 1",
            hint=f"mkdir {SYSTEMD_CGROUP} && mount -t cgroup -o none,name=systemd cgroup {SYSTEMD_CGROUP}",
        )
    if options.privileged:
        yield Finding(
            ok=False,
            subject="privileged containers",
            detail="asked for: nodes have all rights over this machine",
            hint="leave out docker.privileged: nxc finds the least that works by itself",
            advice=True,
        )


def _check_room(profile: Profile, options: DockerOptions) -> Iterator[Finding]:
    if not profile.local:
        return
    limit, used = inotify_limit(), inotify_used(0 if not profile.rootless else os.getuid())
    if limit is not None:
        room = max(0, limit - used) // PER_NODE[options.lean]
        yield Finding(
            ok=room >= 2,
            subject="inotify instances",
            detail=f"{used} of {limit} in use: room for {room} nodes",
            hint="" if room >= 2 else _raise_limit(limit, used, 10, options.lean),
            advice=True,
        )
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(profile.root).free >> 20
        yield Finding(
            ok=free >= LEAST_DISK,
            subject="room for images",
            detail=f"{free} MiB free on {profile.root}",
            hint="" if free >= LEAST_DISK else "free some: `nxc clean` shows what is kept",
            advice=True,
        )


def require_room(nodes: int, profile: Profile, *, lean: bool) -> None:
    """Raise PreflightError where so many more nodes would leave systemd without inotify instances.

    Beyond the limit a systemd hangs for ever, half started.
    """
    limit = inotify_limit() if profile.local else None
    if limit is None:
        return
    used = inotify_used(os.getuid() if profile.rootless else 0)
    need = nodes * PER_NODE[lean]
    if used + need > limit:
        raise PreflightError(
            f"{nodes} nodes need about {need} inotify instances; {used} of {limit} are in use",
            hint=_raise_limit(limit, used, nodes, lean),
        )


def _raise_limit(limit: int, used: int, nodes: int, lean: bool) -> str:
    enough = max(limit, USUAL_LIMIT)
    while enough < used + nodes * PER_NODE[lean]:
        enough *= 2
    words = f"raise the limit: sysctl fs.inotify.max_user_instances={enough} (as root)"
    return words if lean else f"{words}, or start lean nodes (-o docker.lean=true)"


def inotify_limit() -> int | None:
    """Return how many instances a user may have; None where it cannot be seen."""
    try:
        return int(INSTANCES.read_text())
    except (OSError, ValueError):
        return None


def inotify_used(user: int) -> int:
    """Count a user's instances, as far as the processes may be looked into."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid == user:
                count += _count(process / "fd")
    return count


def _count(folder: Path) -> int:
    found = 0
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            found += str(entry.readlink()) == _LINK
    return found
