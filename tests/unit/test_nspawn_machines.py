"""What nodes are started with, what boots them again, and who they are among processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from attrs import evolve

from nxc_core import spawned
from nxc_core.errors import CommandError, DeployError
from nxc_core.model import (
    CLOSURE,
    LAYERS,
    Artifact,
    Container,
    ExecEndpoint,
    Layer,
    Network,
    NodeSpec,
    Plan,
    Role,
    RoleBoot,
)
from nxc_core.operation import Operation
from nxc_nspawn import inside, keeper, machines
from nxc_nspawn.cgroups import SYSTEMD, Groups, Hierarchies
from nxc_nspawn.keeper import Keeper
from tests.operations import operation_in

SPEC = NodeSpec(name="web1", role="web", index=3, machine="web1")
LAN = Network(
    name="lan", subnet="10.81.7.0/24", subnet6="fd00::/64", members={"web1": ("10.81.7.4", "fd00::4")}
)


@pytest.fixture
def op(tmp_path: Path) -> Operation:
    return operation_in(tmp_path, "dep")


@pytest.fixture
def kept(tmp_path: Path) -> Keeper:
    groups = Groups(folders={SYSTEMD: tmp_path / "groups"}, version=1, systems=(SYSTEMD,))
    return Keeper(pid=os.getpid(), folder=tmp_path / "kept", groups=groups)


def layer(folder: Path, name: str) -> Layer:
    squashfs = folder / f"{name}.squashfs"
    squashfs.write_text(name)
    return Layer(name=name, digest=name, tar=folder / name, squashfs=squashfs)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    layers = {name: layer(tmp_path, name) for name in ("base", "guest", "another")}
    roles = {"web": RoleBoot(layers=("guest", "base")), "idle": RoleBoot(layers=("another",))}
    return Plan(
        deployment="dep",
        artifact=Artifact(kind=LAYERS, roles=roles, layers=layers),
        nodes=(SPEC,),
        networks=(LAN,),
        documents={"web1": tmp_path / "a:b/node.json"},
        instances={"web1": "secret-instance"},
        key=tmp_path / "key",
        known_hosts=tmp_path / "known_hosts",
        roles={"web": Role(name="web")},
    )


def test_only_layers_of_nodes_are_mounted_in_one_order(plan: Plan) -> None:
    assert list(keeper.layers(plan)) == ["base", "guest"]


def test_a_layer_that_was_cleaned_away_is_named(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "guest.squashfs").unlink()
    with pytest.raises(DeployError, match="no squashfs of guest"):
        keeper.layers(plan)


def test_the_uppermost_layer_comes_first(plan: Plan, kept: Keeper) -> None:
    """The role's first layer is its lowest; overlayfs takes them the other way round."""
    assert machines.prepare(plan, SPEC, kept).lower == "layers/0:layers/1"


def test_a_colon_in_a_path_separates_nothing(plan: Plan, kept: Keeper) -> None:
    words = machines.prepare(plan, SPEC, evolve(kept, folder=Path("/run/a:b"))).words
    assert "--bind-ro=/run/a\\:b/nodes/web1/node.json:/nxc/node.json" in words


def test_no_secret_is_on_the_command_line(plan: Plan, kept: Keeper) -> None:
    assert "secret-instance" not in " ".join(machines.prepare(plan, SPEC, kept).words)


def test_settings_of_this_machine_for_a_machine_of_that_name_are_not_read(plan: Plan, kept: Keeper) -> None:
    words = machines.prepare(plan, SPEC, kept).words
    assert {"--settings=no", "--register=no", "--machine=n3", "--hostname=web1", "--boot"} <= set(words)


def test_volumes_are_bound(plan: Plan, kept: Keeper) -> None:
    asked = Container(volumes=("/srv:/srv:ro", "data:/data"))
    start = machines.prepare(evolve(plan, roles={"web": Role(name="web", container=asked)}), SPEC, kept)
    assert "--bind-ro=/srv:/srv" in start.words and f"--bind={kept.folder}/volumes/data:/data" in start.words
    assert start.volumes == ("data",)


def test_a_nixos_system_has_the_store_and_its_own_init(plan: Plan, kept: Keeper, tmp_path: Path) -> None:
    boot = RoleBoot(init="/nix/store/x/init")
    files = {"store": tmp_path / "nix/store", "registration": tmp_path / "registration"}
    artifact = Artifact(kind=CLOSURE, files=files, roles={"web": boot})
    start = machines.prepare(evolve(plan, artifact=artifact), SPEC, kept)
    assert start.lower == "" and start.words[-2:] == ("--", "/nix/store/x/init")
    assert f"--bind-ro={tmp_path}/registration:/nxc/registration" in start.words
    (store,) = (word for word in start.words if word.endswith(":/nix/store"))
    assert not store.startswith("--bind="), "root of a node could write to the store of this machine"


def test_kernel_settings_are_made_in_a_namespace_that_lasts(plan: Plan, kept: Keeper) -> None:
    asked = Container(sysctls={"kernel.shmmax": "12345", "net.ipv4.ip_forward": "1"})
    words = machines.prepare(evolve(plan, roles={"web": Role(name="web", container=asked)}), SPEC, kept).words
    assert words[:3] == ("unshare", "--ipc", "--") and "SYSTEMD_NSPAWN_SHARE_NS_IPC=1" in words
    assert ("kernel/shmmax", "12345") in zip(words, words[1:], strict=False)
    assert not any("ip_forward" in word for word in words), "which the node sets itself"


# The shell that boots a node again


def boots(folder: Path, codes: str) -> tuple[int, list[str]]:
    """Run the loop with a program that ends with each of the codes in turn; returns how the loop ended."""
    (folder / "codes").write_text(codes)
    program = 'read -r code rest <codes; echo "$rest" >codes; pwd >>ran; exit "$code"'
    groups = folder / "groups"
    for boot in ("1", "2", "3", "4"):
        (groups / boot).mkdir(parents=True, exist_ok=True)
    argv = ("sh", "-uc", machines._BOOTS, "nxc", str(groups), "", "sh", "-c", program)
    done = subprocess.run(argv, cwd=folder, timeout=30, check=False, capture_output=True)
    ran = (folder / "ran").read_text().splitlines() if (folder / "ran").exists() else []
    return done.returncode, ran


def test_a_node_is_booted_again_as_long_as_it_reboots(tmp_path: Path) -> None:
    code, ran = boots(tmp_path, "133 133 0 0")
    assert code == 0 and len(ran) == 3
    joined = sorted(path.parent.name for path in (tmp_path / "groups").rglob("cgroup.procs"))
    assert joined == ["1", "2", "3"], "each boot is in a control group of its own"


def test_a_node_that_failed_is_not_booted_again(tmp_path: Path) -> None:
    code, ran = boots(tmp_path, "1 0")
    assert code == 1 and len(ran) == 1


def test_nothing_boots_where_its_control_group_cannot_be_entered(tmp_path: Path) -> None:
    """It would rule over the control groups of this machine."""
    (tmp_path / "groups/1/cgroup.procs").mkdir(parents=True)
    code, ran = boots(tmp_path, "0")
    assert code != 0 and ran == []


# Processes


def test_a_node_is_found_by_its_mark_and_its_children_are_not_it(op: Operation) -> None:
    mark = machines.token("web1", op)
    with subprocess.Popen(
        ("sh", "-c", "sleep 1000 & sleep 1000 & wait"), env={**os.environ, spawned.VARIABLE: mark}
    ) as child:
        try:
            op.wait("children", lambda: len(spawned.find_spawned(mark)) == 3, timeout=20)
            assert machines.find(op) == {"web1": child.pid}
            assert machines.is_alive("web1", child.pid, op)
            assert not machines.is_alive("web2", child.pid, op)
        finally:
            assert machines.end(None, [], op)
    assert machines.find(op) == {} and not machines.is_alive("web1", child.pid, op)


def test_one_that_is_about_to_become_a_node_counts_as_alive(op: Operation) -> None:
    with subprocess.Popen(
        ("sleep", "1000"), env={**os.environ, spawned.VARIABLE: machines.token("", op)}
    ) as child:
        try:
            op.wait("mark", lambda: bool(spawned.find_spawned(machines.token("", op))), timeout=20)
            assert machines.is_alive("web1", child.pid, op)
            assert machines.find(op) == {}
        finally:
            child.kill()


def test_what_has_no_node_s_mark_yet_is_ended_before_nodes_are_looked_for(op: Operation) -> None:
    marks = [machines.token(node, op) for node in ("", "web1")]
    argv = ("sleep", "1000")
    begun, node = (subprocess.Popen(argv, env={**os.environ, spawned.VARIABLE: mark}) for mark in marks)
    with begun, node:
        try:
            for mark in marks:
                op.wait("mark", lambda mark=mark: bool(spawned.find_spawned(mark)), timeout=20)  # type: ignore[misc]
            assert machines.end_unnamed(op)
            assert begun.wait(timeout=20) < 0 and machines.find(op) == {"web1": node.pid}
        finally:
            begun.kill()
            node.kill()


def test_a_process_that_ended_and_is_not_buried_is_ending() -> None:
    assert not spawned.is_ending(os.getpid())
    with subprocess.Popen(("sleep", "1000")) as child:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert spawned.is_ending(child.pid)
    assert spawned.is_ending(child.pid)


@pytest.mark.parametrize(("ready", "told"), [("", None), ("c0ff", None), ("c0ffee\n", "c0ffee\nboot\n")])
def test_a_report_that_is_being_written_is_none(
    ready: str, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "leader", lambda pid: pid)
    monkeypatch.setattr(
        machines, "_read_inside", lambda _, file: {machines._READY: ready}.get(file, "boot\n")
    )
    assert machines.read_report(1) == told


def test_no_process_of_this_machine_is_taken_for_a_node_s_first() -> None:
    with subprocess.Popen(("sh", "-c", "sh -c 'sleep 1000 & wait' & wait"), start_new_session=True) as child:
        try:
            assert machines.leader(child.pid) is None
        finally:
            os.killpg(child.pid, 9)
    assert machines.leader(child.pid) is None
    assert machines.read_report(child.pid) is None


def test_a_link_in_a_node_leads_to_no_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("its own\n")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real/link").symlink_to("file")
    os.mkfifo(tmp_path / "real/pipe")
    below = str(tmp_path).lstrip("/")
    assert machines._read_inside(os.getpid(), f"{below}/real/file") == "its own\n"
    assert machines._read_inside(os.getpid(), f"{below}/real/pipe") == "", "and nobody is waited for"
    for way in ("folder/file", "real/link"):
        with pytest.raises(OSError, match="[Ll]ink|directory"):
            machines._read_inside(os.getpid(), f"{below}/{way}")


def test_what_systemd_nspawn_said_last_is_told(op: Operation, tmp_path: Path) -> None:
    assert machines.last_words("web1", op) == ""
    (tmp_path / "log").mkdir()
    (tmp_path / "log/web1.nspawn").write_text("first\nFailed to do it.\n\n")
    assert machines.last_words("web1", op) == "Failed to do it."


# The way in


def test_the_way_in_refuses_where_there_is_no_node(tmp_path: Path) -> None:
    """Entering the namespaces of any other process would run the command on this machine."""
    with subprocess.Popen(("sh", "-c", "sh -c 'sleep 1000 & wait' & wait"), start_new_session=True) as other:
        try:
            for pid in (other.pid, 0):  # this process may have engines below it, which are systems, too
                prefix = inside.endpoint(pid, [], None).prefix
                done = subprocess.run(
                    (*prefix, "touch", f"{tmp_path}/touched"), capture_output=True, timeout=30, check=False
                )
                assert done.returncode == inside.DOWN and b"not there" in done.stderr
        finally:
            os.killpg(other.pid, 9)
    assert not (tmp_path / "touched").exists()


def test_a_connection_to_a_node_that_is_off_is_lost() -> None:
    connection = inside.Inside(0, ExecEndpoint(prefix=("false",)))
    with pytest.raises(CommandError, match="the connection was lost") as lost:
        connection.run(("true",))
    assert lost.value.code is None


def test_commands_get_no_variable_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NXC_TEST_SECRET", "hush")
    prefix = inside.endpoint(1, [], None).prefix
    variables = [word.partition("=")[0] for word in prefix if "=" in word and word[0].isupper()]
    assert variables == ["PATH", "HOME", "USER", "LOGNAME"] and "-i" in machines_words(prefix)
    shell = inside.Inside(1, ExecEndpoint(prefix=prefix)).shell_argv()
    assert shell[-2:] == ("bash", "--login") and shell[-3].startswith("TERM=")


def machines_words(prefix: tuple[str, ...]) -> list[str]:
    return prefix[2].split()


def test_rights_that_a_node_has_not_are_dropped() -> None:
    dropped = set(inside._dropped().split(","))
    sys_module, sys_time, net_admin, sys_boot = 16, 25, 12, 22
    assert {f"-cap_{sys_module}", f"-cap_{sys_time}"} <= dropped
    assert not {f"-cap_{net_admin}", f"-cap_{sys_boot}"} & dropped


# With a systemd on this machine


def test_a_scope_is_named_after_the_deployment() -> None:
    assert keeper.scope("web-nspawn-1a2b3c") == "nxc-web-nspawn-1a2b3c.scope"
    assert keeper.scope("odd name/é") == "nxc-odd_name__.scope"


def test_no_name_of_a_control_group_has_a_blank(op: Operation) -> None:
    """The shell that enters them takes them apart there."""
    found = Hierarchies(mounted={SYSTEMD: Path("/sys/fs/cgroup/systemd")})
    (folder,) = keeper.groups(evolve(op, name="my web: two-nspawn-1a2b3c"), found).folders.values()
    assert folder.name == "nxc-my_web__two-nspawn-1a2b3c"


def test_a_scope_delegates_its_control_groups() -> None:
    words = keeper.scope_words("nxc-x.scope")
    assert words[0] == "systemd-run" and words[-1] == "--"
    assert {"--scope", "--unit=nxc-x.scope", "--property=Delegate=yes", "--collect"} <= set(words)
    assert keeper.scope_words("") == ()


def test_delegated_control_groups_are_those_that_were_noted(op: Operation) -> None:
    found = Hierarchies(
        mounted={SYSTEMD: Path("/sys/fs/cgroup/systemd"), "memory": Path("/sys/fs/cgroup/memory")}
    )
    assert keeper.groups(op, found).folders[SYSTEMD] == Path("/sys/fs/cgroup/systemd/nxc-dep")
    claim = op.claim(keeper.CGROUPS, op.name, unit="nxc-dep.scope")
    assert keeper.groups(op, found).folders == {}, "nothing was made yet, so nothing is ours"
    op.note(claim, folders={SYSTEMD: "/sys/fs/cgroup/systemd/machine.slice/nxc-dep.scope"})
    assert keeper.groups(op, found).folders == {
        SYSTEMD: Path("/sys/fs/cgroup/systemd/machine.slice/nxc-dep.scope")
    }
