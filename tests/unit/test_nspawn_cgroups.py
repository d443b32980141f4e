"""Control groups: which there are, where a deployment's are, limits, and removing them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nxc_core.errors import DeployError
from nxc_nspawn import cgroups
from nxc_nspawn.cgroups import KEEPER, SYSTEMD, UNIFIED, Groups, Hierarchies
from nxc_nspawn.wishes import Limits

HYBRID = """\
25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:8 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
35 30 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
SECOND = """\
25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
"""
TOP = Path("/sys/fs/cgroup")
ALL = Limits(memory=64 << 20, cpus=0.5, pids=40)


def test_both_versions_are_told_apart() -> None:
    hybrid, second = cgroups.find_hierarchies(HYBRID), cgroups.find_hierarchies(SECOND)
    assert (hybrid.version, second.version) == (1, 2)
    assert hybrid.of_systems == (SYSTEMD, UNIFIED) and second.of_systems == (UNIFIED,)
    assert hybrid.mounted["cpu"] == TOP / "cpu,cpuacct" and second.mounted == {UNIFIED: TOP}
    assert cgroups.find_hierarchies("").of_systems == ()


def test_those_of_this_machine_can_be_read() -> None:
    assert cgroups.find_hierarchies().version in (1, 2)


def test_without_a_systemd_a_deployment_has_folders_at_the_top() -> None:
    groups = cgroups.own("nxc-x", cgroups.find_hierarchies(HYBRID))
    assert groups.of_systems("web") == (TOP / "systemd/nxc-x/web", TOP / "unified/nxc-x/web")
    assert TOP / "memory/nxc-x/web" in groups.of("web")
    assert groups.limiting("web", Limits(memory=1)) == (TOP / "memory/nxc-x/web",)
    assert groups.limiting("web", Limits()) == ()


def test_a_systemd_says_which_folders_it_leaves_to_us() -> None:
    told = (
        "12:cpu,cpuacct:/machine.slice/nxc-x.scope\n3:memory:/machine.slice/nxc-x.scope\n"
        "2:pids:/user.slice/user-0.slice\n1:name=systemd:/machine.slice/nxc-x.scope\n"
        "0::/machine.slice/nxc-x.scope\n"
    )
    groups = cgroups.delegated(told, "nxc-x.scope", cgroups.find_hierarchies(HYBRID))
    assert set(groups.folders) == {"cpu", "memory", SYSTEMD, UNIFIED}
    assert groups.folders["cpu"] == TOP / "cpu,cpuacct/machine.slice/nxc-x.scope"
    second = cgroups.delegated(
        "0::/machine.slice/nxc-x.scope\n", "nxc-x.scope", cgroups.find_hierarchies(SECOND)
    )
    assert second.folders == {UNIFIED: TOP / "machine.slice/nxc-x.scope"}


def groups_in(folder: Path, version: int) -> Groups:
    """Plain folders stand for hierarchies: what is written there stays to be read."""
    kinds = (SYSTEMD, UNIFIED, "memory", "cpu", "pids") if version == 1 else (UNIFIED,)
    found = Hierarchies(mounted={kind: folder / kind for kind in kinds})
    assert found.version == version
    for top in found.mounted.values():
        top.mkdir()
    return cgroups.own("nxc-x", found)


def test_limits_of_version_1_are_in_a_folder_of_each_controller(tmp_path: Path) -> None:
    cgroups.make("web", ALL, groups_in(tmp_path, 1))
    written = {path.name: path.read_text() for path in tmp_path.rglob("web/*")}
    assert written == {
        "memory.limit_in_bytes": str(64 << 20),
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "pids.max": "40",
    }


def test_limits_of_version_2_are_in_the_only_folder(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 2)
    cgroups.make("web", ALL, groups)
    folder = groups.folders[UNIFIED] / "web"
    values = {name: (folder / name).read_text() for name in ("memory.max", "cpu.max", "pids.max")}
    assert values == {"memory.max": str(64 << 20), "cpu.max": "50000 100000", "pids.max": "40"}
    assert groups.limiting("web", ALL) == ()


def test_a_node_without_limits_is_in_no_controller_of_version_1(tmp_path: Path) -> None:
    cgroups.make("web", Limits(), groups_in(tmp_path, 1))
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("web")} == {SYSTEMD, UNIFIED}


def test_a_limit_that_this_machine_cannot_set_is_named(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 2)
    (groups.folders[UNIFIED] / "web/memory.max").mkdir(parents=True)
    with pytest.raises(DeployError, match=r"web cannot be limited: .*memory\.max"):
        cgroups.make("web", Limits(memory=64 << 20), groups)


def test_version_2_has_the_keeper_apart_before_it_spreads_controllers(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 2)
    cgroups.settle(groups, 4711, ours=True)
    top = groups.folders[UNIFIED]
    assert (top / KEEPER / "cgroup.procs").read_text() == "4711"
    assert (top / "cgroup.subtree_control").exists() and (top.parent / "cgroup.subtree_control").exists()


def test_what_systemd_keeps_is_not_written_to(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 2)
    cgroups.settle(groups, 4711, ours=False)
    assert not (groups.folders[UNIFIED].parent / "cgroup.subtree_control").exists()


def test_processes_below_are_killed_and_the_keeper_is_no_node(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 1)
    cgroups.make("web", Limits(), groups)
    (groups.folders[SYSTEMD] / KEEPER).mkdir()
    inner = groups.folders[SYSTEMD] / "web/1/payload"
    inner.mkdir(parents=True)
    with subprocess.Popen(("sleep", "1000")) as child:
        (inner / "cgroup.procs").write_text(f"{child.pid}\n")
        assert groups.folders[SYSTEMD] / KEEPER not in groups.nodes()
        assert cgroups.kill(groups.nodes()) is False
        assert child.wait(timeout=20) == -9
    (inner / "cgroup.procs").write_text("")
    assert cgroups.kill(groups.nodes()) is True


def test_removing_goes_on_where_a_folder_is_busy_and_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "a/busy").mkdir(parents=True)
    (tmp_path / "a/idle/deep").mkdir(parents=True)
    (tmp_path / "a/busy/file").write_text("")
    assert cgroups.remove([tmp_path / "a", tmp_path / "missing"]) is False
    assert not (tmp_path / "a/idle").exists()
    (tmp_path / "a/busy/file").unlink()
    assert cgroups.remove([tmp_path / "a"]) is True and not (tmp_path / "a").exists()
    assert cgroups.remove([tmp_path / "a"]) is True
