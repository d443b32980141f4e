"""Control groups, of version 1, 2 or both: a folder per deployment in each hierarchy, in it one per node."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from nxc_core import DeployError
from nxc_nspawn.wishes import Limits

MOUNTS = Path("/proc/self/mountinfo")
UNIFIED = "unified"
"""The hierarchy of version 2, wherever it is mounted."""
SYSTEMD = "name=systemd"
"""The hierarchy of version 1 in which systemd keeps its units."""
CONTROLLERS = ("memory", "cpu", "pids")
KEEPER = "_keeper"
"""Where a deployment's keeper is: no host name has an underscore."""
_PERIOD = 100_000


@frozen(kw_only=True)
class Hierarchies:
    """Where each hierarchy is mounted, by controller, ``name=systemd`` or ``unified``."""

    mounted: Mapping[str, Path]

    @property
    def version(self) -> int:
        """Version 2 where nothing else is mounted."""
        return 2 if set(self.mounted) == {UNIFIED} else 1

    def of_systems(self) -> tuple[str, ...]:
        """Name those that a systemd inside needs a folder in."""
        return tuple(name for name in (SYSTEMD, UNIFIED) if name in self.mounted)

    def of_limits(self, limits: Limits) -> tuple[str, ...]:
        """Name those by which a node is limited; raises DeployError where one is not there."""
        wanted = dict(zip(CONTROLLERS, (limits.memory, limits.cpus, limits.pids), strict=True))
        asked = [name for name, value in wanted.items() if value is not None]
        if self.version == 2:
            return (UNIFIED,) if asked else ()
        for name in asked:
            if name not in self.mounted:
                raise DeployError(
                    f"nodes cannot be limited: this machine has no control groups for {name}",
                    hint="leave the limit out, or boot with cgroup_enable=memory",
                )
        return tuple(asked)


def find_hierarchies(text: str | None = None) -> Hierarchies:
    """Read which hierarchies are mounted."""
    found: dict[str, Path] = {}
    for line in (MOUNTS.read_text() if text is None else text).splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = Path(before.split()[4])
        if kind == "cgroup2":
            found.setdefault(UNIFIED, place)
        elif kind == "cgroup":
            for option in options.split(","):
                if option in (SYSTEMD, *CONTROLLERS):
                    found.setdefault(option, place)
    return Hierarchies(mounted=found)


@frozen(kw_only=True)
class Groups:
    """The folders of a deployment, by hierarchy."""

    folders: Mapping[str, Path]
    version: int

    def of(self, node: str, hierarchies: Iterable[str]) -> tuple[Path, ...]:
        """Name a node's folders."""
        return tuple(dict.fromkeys(self.folders[name] / node for name in hierarchies))

    def every(self, node: str) -> tuple[Path, ...]:
        """Name all that a node may have."""
        return self.of(node, self.folders)


def own(name: str, found: Hierarchies) -> Groups:
    """Name a deployment's folders at the top of each hierarchy."""
    return Groups(folders={kind: top / name for kind, top in found.mounted.items()}, version=found.version)


def delegated(text: str, unit: str, found: Hierarchies) -> Groups:
    """Read from /proc/PID/cgroup the folders that the systemd of this machine gave to a unit.

    A hierarchy that it keeps no units in has none.
    """
    folders = {}
    for line in text.splitlines():
        _, kinds, path = line.split(":", 2)
        if path.rpartition("/")[2] != unit:
            continue
        for kind in (kinds or UNIFIED).split(","):
            if kind in found.mounted:
                folders[kind] = found.mounted[kind] / path.lstrip("/")
    return Groups(folders=folders, version=found.version)


def make(node: str, limits: Limits, groups: Groups, found: Hierarchies) -> tuple[Path, ...]:
    """Make a node's folders, with its limits; returns those that its processes belong into."""
    limited = found.of_limits(limits)
    for kind in limited:
        if kind not in groups.folders:
            raise DeployError(f"nodes cannot be limited: systemd does not delegate {kind}")
    wanted = groups.of(node, dict.fromkeys((*found.of_systems(), *limited)))
    for folder in wanted:
        folder.mkdir(parents=True, exist_ok=True)
    for kind, file, value in _settings(limits, found.version):
        path = groups.folders[kind] / node / file
        try:
            path.write_text(value)
        except OSError as error:
            raise DeployError(f"{node} cannot be limited: {path}: {error.strerror}") from error
    return wanted


def spread(groups: Groups, *, keeper: int | None = None) -> None:
    """Let the nodes of a deployment have controllers of their own, where version 2 asks for that.

    A folder that systemd delegated holds the ``keeper``, which must first go into one of its own.
    """
    folder = groups.folders.get(UNIFIED)
    if groups.version != 2 or folder is None:
        return
    inner = folder if keeper is None else folder / KEEPER
    inner.mkdir(parents=True, exist_ok=True)
    if keeper is not None:
        (inner / "cgroup.procs").write_text(str(keeper))
    for place in (folder.parent, folder) if keeper is None else (folder,):
        for name in (*CONTROLLERS, "io", "cpuset"):
            with contextlib.suppress(OSError):  # one that this machine has not
                (place / "cgroup.subtree_control").write_text(f"+{name}")


def _settings(limits: Limits, version: int) -> Iterator[tuple[str, str, str]]:
    """Yield hierarchy, file and value."""
    one = version == 1
    if limits.memory is not None:
        yield (
            ("memory", "memory.limit_in_bytes", str(limits.memory))
            if one
            else (
                UNIFIED,
                "memory.max",
                str(limits.memory),
            )
        )
    if limits.cpus is not None:
        quota = int(limits.cpus * _PERIOD)
        if one:
            yield "cpu", "cpu.cfs_period_us", str(_PERIOD)
            yield "cpu", "cpu.cfs_quota_us", str(quota)
        else:
            yield UNIFIED, "cpu.max", f"{quota} {_PERIOD}"
    if limits.pids is not None:
        yield "pids" if one else UNIFIED, "pids.max", str(limits.pids)


def processes(folders: Iterable[Path]) -> set[int]:
    """List the processes in folders and what is below."""
    found: set[int] = set()
    for top in folders:
        for folder, _, _ in os.walk(top):
            with contextlib.suppress(OSError):  # it may go at any time
                found |= {int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()}
    return found - {0}


def kill(folders: Sequence[Path]) -> bool:
    """Kill what is in folders; true when nothing was left to be killed."""
    found = processes(folders)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return not found


def remove(folders: Iterable[Path]) -> bool:
    """Remove folders and what is below, which must be empty of processes; true when they are gone."""
    gone = True
    for top in folders:
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                Path(folder).rmdir()
            except FileNotFoundError:
                continue
            except OSError:  # the kernel is not done with its last process
                gone = False
    return gone
