"""What nxc doctor says of systemd-nspawn here, and the preflight of many nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nxc_core import process
from nxc_core.errors import PreflightError
from nxc_core.flavour import require
from nxc_nspawn import cgroups, check
from nxc_nspawn.flavour import NspawnFlavour
from nxc_nspawn.options import NspawnOptions

LIMITED = """
import sys
from nxc_nspawn import check
from nxc_core.errors import PreflightError
print(check.count_free(100))
try:
    check.require_inotify(20, lean=True)
except PreflightError as error:
    print(error.message, "|", error.hint)
check.require_inotify(2, lean=True)
"""


def test_an_ordinary_user_is_sent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PreflightError) as refused:
        require(check.check_host(lean=True))
    assert "root" in refused.value.message
    assert "vm-ramdisk" in refused.value.hint and "docker" in refused.value.hint


def test_a_missing_program_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(process, "find_program", _missing("systemd-nspawn"))
    with pytest.raises(PreflightError) as refused:
        require(check.check_host(lean=True))
    assert "systemd-nspawn" in refused.value.message and "systemd-container" in refused.value.hint


def _missing(name: str) -> object:
    find = process.find_program

    def find_program(asked: str, *, package: str = "") -> str:
        if asked == name:
            raise PreflightError(f"{asked} is not installed", hint=f"install the Debian package {package}")
        return find(asked, package=package)

    return find_program


def test_a_kernel_without_squashfs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    known = check._has_module
    monkeypatch.setattr(check, "_has_module", lambda name: name != "squashfs" and known(name))
    (found,) = (one for one in check._check_kernel() if one.subject == "kernel")
    assert not found.ok and "squashfs" in found.detail and found.hint


def test_control_groups_must_be_there_and_ours_to_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nothing = cgroups.Hierarchies(mounted={})
    monkeypatch.setattr(cgroups, "find_hierarchies", lambda: nothing)
    assert not check._check_groups().ok
    closed = cgroups.Hierarchies(mounted={cgroups.UNIFIED: tmp_path / "missing"})
    monkeypatch.setattr(cgroups, "find_hierarchies", lambda: closed)
    found = check._check_groups()
    assert not found.ok and "cannot be written" in found.detail
    usable = cgroups.Hierarchies(mounted={cgroups.UNIFIED: tmp_path})
    monkeypatch.setattr(cgroups, "find_hierarchies", lambda: usable)
    assert check._check_groups().ok


def test_a_stock_node_takes_more_than_a_lean_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, mounted in ((1, cgroups.SYSTEMD), (2, cgroups.UNIFIED)):
        found = cgroups.Hierarchies(mounted={mounted: Path("/")})
        monkeypatch.setattr(cgroups, "find_hierarchies", lambda found=found: found)
        assert check.appetite(lean=True) == 1 + version
        assert check.appetite(lean=False) == 3 + version


def test_counting_takes_nothing_away() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert check.count_free(3) == 3
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_more_nodes_than_inotify_has_room_for_are_refused() -> None:
    """The limit is really lowered, in a user namespace of its own."""
    argv = ("unshare", "--user", "--map-root-user", "sh", "-c")
    lower = 'echo 12 >/proc/sys/user/max_inotify_instances && exec "$0" -c "$1"'
    done = subprocess.run(
        (*argv, lower, sys.executable, LIMITED), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    counted, told = done.stdout.splitlines()
    assert counted == "12"
    assert "20 nodes need" in told and "12 of" in told and f"sysctl {check.SYSCTL}=" in told


def test_options_and_guest_say_what_is_asked() -> None:
    lean, stock = NspawnFlavour(NspawnOptions()), NspawnFlavour(NspawnOptions(lean=False))
    assert lean.guest.lean and not stock.guest.lean
    assert not lean.guest.ssh and not lean.guest.kernel and lean.guest.root == "container"
    assert {"kernel", "mount", "sysctl", "shared-dirs"} <= set(lean.lacks)
    assert not set(lean.lacks) & lean.gives
