"""nspawn keeps the contract of a flavour."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from nxc_core.session import Session
from nxc_nspawn.keeper import plain
from nxc_nspawn.network import link_name
from tests.basic_contract import BasicContract


@pytest.mark.live
@pytest.mark.root
@pytest.mark.timeout(1200)
class TestNspawn(BasicContract):
    """Booting is cheap here, so the plug is pulled around every record of the journal."""

    plugin = "nxc_nspawn.plugin"
    flavour = "nspawn"
    crash_records = ("claim", "note", "node")
    resumes = 4

    # It offers neither: a node reboots by itself, which tests/integration/test_nspawn.py tries.
    test_rebooting = None  # type: ignore[assignment]
    test_exporting = None  # type: ignore[assignment]

    def leftovers(self, session: Session) -> list[str]:
        """Look for what the kernel has: control groups, cards, mounts, loop devices."""
        found = super().leftovers(session)
        for id in session.workspace.deployments():
            # Not by glob, which fails where others' groups go meanwhile.
            folders = (
                (folder, plain(id)) for folder, names, _ in os.walk("/sys/fs/cgroup") if plain(id) in names
            )
            found += [f"control group {folder}/{name}" for folder, name in folders]
            card = Path("/sys/class/net") / link_name(id)
            found += [f"card {card.name}"] if card.exists() else []
        return found + [f"mount {line}" for line in _mounts(session)] + _loops()


def _mounts(session: Session) -> list[str]:
    """List mounts of the project's deployments in any process's view, be it that of a node."""
    folders = [session.workspace.deployment_dir(id) for id in session.workspace.deployments()]
    places = [f" {session.operation(folder, '').runtime}/" for folder in folders]
    places += [f"/{folder.name}/nodes/" for folder in folders]
    return [line for line in _mounted() if any(place in line for place in places)]


def _loops() -> list[str]:
    """List loop devices that hold a layer which nobody has mounted."""
    numbers = {line.split()[2] for line in _mounted()}
    found = []
    for block in Path("/sys/block").glob("loop*"):
        with contextlib.suppress(OSError):  # it has no file, or goes just now
            file, number = (block / "loop/backing_file").read_text(), (block / "dev").read_text().strip()
            if "/nxc/debian/layers/" in file and number not in numbers:
                found.append(f"loop device {block.name} of {file.strip()}")
    return found


def _mounted() -> set[str]:
    """Return the lines of all mount tables of this machine."""
    tables: dict[Path, list[str]] = {}
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it ended, or is none
            space = (process / "ns/mnt").readlink()
            if space not in tables:
                tables[space] = (process / "mountinfo").read_text().splitlines()
    return {line for lines in tables.values() for line in lines}
