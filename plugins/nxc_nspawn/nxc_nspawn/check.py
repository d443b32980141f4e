"""What ``nxc doctor`` says of systemd-nspawn on this machine, and what stands in the way of so many nodes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
from collections.abc import Iterator
from pathlib import Path

from nxc_core import NxcError, PreflightError, process
from nxc_core.model import Finding
from nxc_nspawn import cgroups

PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
}
MODULES = ("squashfs", "overlay", "loop", "bridge", "veth")
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
SYSCTL = "fs.inotify.max_user_instances"
_MANY = 10
"""Nodes for which there should be room."""
_ELSEWHERE = "or take a flavour for ordinary users: -f vm-ramdisk, or docker where you may use its engine"


def check_host(*, lean: bool) -> Iterator[Finding]:
    """Say whether nodes can be started here. Never raises, changes nothing."""
    root = os.geteuid() == 0
    yield Finding(
        ok=root,
        subject="root",
        detail="" if root else "flavour nspawn is for root alone",
        hint="" if root else f"run nxc as root, {_ELSEWHERE}",
    )
    yield from _check_programs()
    yield from _check_kernel()
    yield _check_groups()
    yield _check_inotify(lean=lean)


def _check_programs() -> Iterator[Finding]:
    for program, package in PROGRAMS.items():
        try:
            path = process.find_program(program, package=package)
        except NxcError as error:
            yield Finding(ok=False, subject=program, detail=error.message, hint=error.hint)
            continue
        if program == "systemd-nspawn":
            yield Finding(ok=True, subject=program, detail=path)


def _check_kernel() -> Iterator[Finding]:
    missing = [name for name in MODULES if not _has_module(name)]
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        missing.append("CONFIG_PROC_CHILDREN")
    yield Finding(
        ok=not missing,
        subject="kernel",
        detail=f"no {', '.join(missing)} in this kernel" if missing else ", ".join(MODULES),
        hint=f"boot a kernel that has them, {_ELSEWHERE}" if missing else "",
    )
    unused = [path for path in Path("/sys/block").glob("loop*") if not (path / "loop").exists()]
    loops = Path("/dev/loop-control").exists() or bool(unused)
    yield Finding(
        ok=loops,
        subject="loop devices",
        detail="made as needed" if loops else "none is free, and /dev/loop-control is not there to make one",
        hint="" if loops else "modprobe loop; a container that nxc runs in must be given the devices",
    )


def _has_module(name: str) -> bool:
    """Whether a file system or driver is there or can be loaded; if nothing tells, it is believed to be."""
    known = Path("/proc/filesystems").read_text().split()
    if name in known or Path(f"/sys/module/{name}").exists():
        return True
    folder = Path("/lib/modules") / platform.release()
    lists = [folder / "modules.builtin", folder / "modules.dep"]
    texts = [path.read_text() for path in lists if path.exists()]
    return not texts or any(f"/{name}.ko" in text for text in texts)


def _check_groups() -> Finding:
    try:
        found = cgroups.find_hierarchies()
    except (OSError, ValueError, IndexError) as error:
        return Finding(ok=False, subject="control groups", detail=str(error), hint="mount /proc")
    tops = [found.mounted[name] for name in found.of_systems]
    closed = [str(top) for top in tops if not os.access(top, os.W_OK)]
    if tops and not closed:
        return Finding(ok=True, subject="control groups", detail=f"version {found.version}")
    return Finding(
        ok=False,
        subject="control groups",
        detail=f"{closed[0]} cannot be written" if closed else "those mounted are of no use to a systemd",
        hint="run nxc outside of a container" if closed else "mount -t cgroup2 none /sys/fs/cgroup",
    )


def appetite(*, lean: bool) -> int:
    """Return the inotify instances that one node takes: systemd's, one more for version 2 of control groups,
    and what services have that a lean node lacks.
    """
    return 1 + cgroups.find_hierarchies().version + (0 if lean else 2)


def _check_inotify(*, lean: bool) -> Finding:
    each = appetite(lean=lean)
    limit = int(INOTIFY.read_text())
    # No more than that: what is tried out is lacking elsewhere meanwhile.
    room = count_free(_MANY * each) // each
    enough = room >= _MANY
    return Finding(
        ok=enough,
        subject="inotify",
        detail=f"room for {room} nodes{' or more' if enough else ''}, of {each} each ({SYSCTL} is {limit})",
        hint="" if enough else f"for more nodes: sysctl {SYSCTL}={max(1024, 2 * limit)}",
        advice=True,
    )


def require_inotify(nodes: int, *, lean: bool) -> None:
    """Raise PreflightError where this machine lets root have too few inotify instances for so many nodes.

    A systemd that gets none stays half booted for ever.
    """
    each = appetite(lean=lean)
    wanted = nodes * each
    free = count_free(wanted)
    if free < wanted:
        limit = int(INOTIFY.read_text())
        raise PreflightError(
            f"{nodes} nodes need {wanted} inotify instances, {free} of {limit} are free",
            hint=f"sysctl {SYSCTL}={limit + 2 * (wanted - free)}, or start at most {free // each} nodes",
        )


def count_free(wanted: int) -> int:
    """Return how many inotify instances can be had, at most so many; it tries, and lets go of them."""
    libc = ctypes.CDLL(None, use_errno=True)
    taken: list[int] = []
    with _room_for_files(wanted + 256):
        try:
            while len(taken) < wanted:
                handle = libc.inotify_init1(os.O_CLOEXEC)
                if handle < 0:
                    # Our own limit of open files says nothing about the machine's.
                    return len(taken) if _is_the_machines(ctypes.get_errno()) else wanted
                taken.append(handle)
        finally:
            for handle in taken:
                os.close(handle)
    return wanted


@contextlib.contextmanager
def _room_for_files(wanted: int) -> Iterator[None]:
    """Let this process have so many files open for a moment, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= wanted:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == unlimited else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _is_the_machines(number: int) -> bool:
    """Whether inotify ran out, and not the files that we may open, which has the same number."""
    if number != errno.EMFILE:
        return True
    try:
        os.close(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
