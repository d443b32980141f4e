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

    @property
    def of_systems(self) -> tuple[str, ...]:
        """Name those that a systemd inside rules in, and systemd-nspawn looks for itself in; maybe none."""
        return tuple(name for name in (SYSTEMD, UNIFIED) if name in self.mounted)


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
    """The folders of a deployment, by hierarchy; in those of ``systems`` each node has one per boot."""

    folders: Mapping[str, Path]
    version: int
    systems: tuple[str, ...]

    def of_systems(self, node: str) -> tuple[Path, ...]:
        """Name the folders in which a node's system is."""
        return tuple(self.folders[name] / node for name in self.systems)

    def of(self, node: str) -> tuple[Path, ...]:
        """Name all folders that a node may have."""
        return tuple(folder / node for folder in self.folders.values())

    def nodes(self) -> list[Path]:
        """List the folders of all nodes."""
        tops = [folder for folder in self.folders.values() if folder.is_dir()]
        return [path for top in tops for path in top.iterdir() if path.is_dir() and path.name != KEEPER]

    def limiting(self, node: str, limits: Limits) -> tuple[Path, ...]:
        """Name the folders of a node that limit it, beside those of its system."""
        asked = [name for name, value in limits.asked.items() if value is not None]
        return tuple(self.folders[name] / node for name in asked) if self.version == 1 else ()


def own(name: str, found: Hierarchies) -> Groups:
    """Name a deployment's folders at the top of each hierarchy."""
    folders = {kind: top / name for kind, top in found.mounted.items()}
    return Groups(folders=folders, version=found.version, systems=found.of_systems)


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
    return Groups(folders=folders, version=found.version, systems=found.of_systems)


def settle(groups: Groups, keeper: int, *, ours: bool) -> None:
    """Put the keeper into a folder of its own, and let nodes have controllers, which version 2 asks for.

    It lets no folder have both processes and controllers. ``ours`` says that no systemd made the folders.
    """
    for place in groups.of_systems(KEEPER):
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.procs").write_text(str(keeper))
    if groups.version == 2:
        top = groups.folders[UNIFIED]
        for folder in (top.parent, top) if ours else (top,):
            _spread(folder)


def _spread(folder: Path) -> None:
    for name in (*CONTROLLERS, "io", "cpuset"):
        with contextlib.suppress(OSError):  # one that this machine has not
            (folder / "cgroup.subtree_control").write_text(f"+{name}")


def make(node: str, limits: Limits, groups: Groups) -> None:
    """Make a node's folders, with its limits; raises DeployError where a limit cannot be set."""
    folders = (*groups.of_systems(node), *groups.limiting(node, limits))
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    if groups.version == 2:
        _spread(folders[0])
    for kind, file, value in _settings(limits, groups):
        path = groups.folders[kind] / node / file
        try:
            path.write_text(value)
        except OSError as error:
            raise DeployError(
                f"{node} cannot be limited: {path}: {error.strerror}",
                hint="leave nxc.container's limits out, or see which controllers this machine has",
            ) from error


def _settings(limits: Limits, groups: Groups) -> Iterator[tuple[str, str, str]]:
    """Yield hierarchy, file and value."""
    if groups.version == 2:
        quota = limits.cpus and f"{int(limits.cpus * _PERIOD)} {_PERIOD}"
        values = {"memory.max": limits.memory, "cpu.max": quota, "pids.max": limits.pids}
        yield from ((UNIFIED, file, str(value)) for file, value in values.items() if value is not None)
        return
    if limits.memory is not None:
        yield "memory", "memory.limit_in_bytes", str(limits.memory)
    if limits.cpus is not None:
        yield "cpu", "cpu.cfs_period_us", str(_PERIOD)
        yield "cpu", "cpu.cfs_quota_us", str(int(limits.cpus * _PERIOD))
    if limits.pids is not None:
        yield "pids", "pids.max", str(limits.pids)


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
