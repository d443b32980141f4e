"""What a container of each kind promises: the vocabulary, identity, the firewall, and nxc's own way in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.errors import TestFailed
from nxc_core.machine import NodeHandle
from nxc_core.running import Running
from nxc_core.session import Session
from tests.vocabulary import VERBS, Case

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
NXC = Path(sys.executable).with_name("nxc")
NET_ADMIN, SYS_MODULE = 12, 16
PLATFORMS = ["docker", pytest.param("podman", marks=pytest.mark.full), "nspawn"]


@pytest.fixture(scope="module", params=PLATFORMS)
def pair(
    request: pytest.FixtureRequest, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Start a role that fights for its freedom, and two that say little."""
    platform = request.param
    project = tmp_path_factory.mktemp("containers")
    shutil.copy(HERE / "containers.nix", project / "composition.nix")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        if platform != "nspawn":
            patch.setenv("DOCKER_HOST", request.getfixturevalue(f"{platform}_engine").url)
        flavour = "nspawn" if platform == "nspawn" else "docker"
        with Session.open(project).up(project, flavour=flavour) as running:
            yield running


@pytest.fixture
def plain(pair: Running) -> NodeHandle:
    return pair["plain"]


@pytest.fixture
def strict(pair: Running) -> NodeHandle:
    return pair["strict"]


def test_the_system_is_running_with_no_failed_units(pair: Running) -> None:
    for node in pair.values():
        node.wait_until_succeeds("systemctl is-system-running | grep -x running", timeout=300)


def test_systemd_runs_no_generator_that_has_nothing_to_do(plain: NodeHandle) -> None:
    run = plain.succeed("cd /etc/systemd/system-generators && for f in *; do readlink $f; done | sort -u")
    assert run.split() == ["/dev/null"]
    # What is left does its work: an init script is a unit, and an fstab would be read.
    plain.succeed("test -x /usr/lib/systemd/system-generators/systemd-sysv-generator")
    plain.succeed(
        "echo 'none /mnt tmpfs noauto 0 0' >>/etc/fstab; systemctl daemon-reload; systemctl cat mnt.mount"
    )
    plain.succeed("sed -i '$d' /etc/fstab; systemctl daemon-reload; ! systemctl cat mnt.mount")


def test_names_resolve_both_ways(pair: Running) -> None:
    for name, other in (("plain", "strict"), ("strict", "plain")):
        told = pair[name].succeed(f"getent ahostsv4 {other}")
        assert pair.deployment.networks[0].members[other][0] in told
        assert pair[name].succeed("hostname").strip() == name


def test_the_firewall_is_enforced_and_lets_nxc_in(pair: Running) -> None:
    for port in (8080, 8081):
        pair["strict"].succeed(f"systemd-run --unit=at{port} python3 -m http.server {port} -d /etc/nxc-test")
        pair["strict"].wait_for_open_port(port, timeout=60)
    pair["plain"].succeed("curl --max-time 20 -sf http://strict:8080/")
    pair["plain"].fail("curl --max-time 5 -sf http://strict:8081/")


def test_only_a_role_with_a_firewall_may_change_its_network(pair: Running) -> None:
    if pair.flavour.name == "docker":  # systemd-nspawn gives it with every network of its own
        assert not int(capabilities(pair["plain"]), 16) >> NET_ADMIN & 1
    assert int(capabilities(pair["strict"]), 16) >> NET_ADMIN & 1
    for node in pair.values():
        assert not int(capabilities(node), 16) >> SYS_MODULE & 1


def capabilities(node: NodeHandle) -> str:
    return node.succeed("sed -n 's/^CapBnd:\\s*//p' /proc/1/status").strip()


def test_settings_of_the_network_are_applied_in_the_node_alone(strict: NodeHandle, plain: NodeHandle) -> None:
    assert strict.succeed("cat /proc/sys/net/ipv4/ip_forward").strip() == "1"
    assert plain.succeed("readlink /proc/self/ns/net") != strict.succeed("readlink /proc/self/ns/net")


def test_users_units_files_and_tmpfiles(strict: NodeHandle) -> None:
    strict.wait_for_unit("brick.service")
    assert strict.succeed("cat /var/lib/brick/done").strip() == "made"
    assert strict.succeed("stat -c '%a %U' /var/lib/brick").split() == ["750", "alice"]
    assert strict.succeed("id -u alice").strip() == "1234"
    assert strict.succeed("stat -c %a /etc/nxc-test/secret").strip() == "600"


def test_a_node_sees_its_own_processes_and_identity_alone(pair: Running) -> None:
    for node in pair.values():
        assert "pytest" not in node.succeed("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        told = json.loads(node.succeed("cat /nxc/node.json"))
        assert (told["node"], told["instance"]) == (node.name, pair.deployment.instances[node.name])
        assert node.succeed("stat -Lc '%a %u' /nxc/node.json").split() == ["600", "0"]
        node.fail("echo changed >> /nxc/node.json")


def begin_exec(pair: Running, *command: str) -> subprocess.Popen[bytes]:
    """Begin to run a command on the plain node, as a user would."""
    project = pair.session.workspace.project
    argv = [str(NXC), "-C", str(project), "exec", "-d", pair.id, "plain", "--", *command]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def await_end(node: NodeHandle, command: str) -> None:
    """Wait until nothing runs in the node whose command line has these words."""
    pattern = f"[{command[0]}]{command[1:]}"
    node.wait_until_fails(f"cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep '{pattern}'", timeout=60)


def test_output_is_shown_as_it_comes(pair: Running, plain: NodeHandle) -> None:
    plain.succeed("mkfifo /run/gate")
    script = "echo first; echo aside >&2; read -r word </run/gate; echo $word; exit 3"
    with begin_exec(pair, "sh", "-c", script) as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline() == b"first\n"
        assert running.stderr.readline() == b"aside\n"
        plain.succeed("echo second >/run/gate")
        assert running.stdout.readline() == b"second\n"
        assert running.wait(timeout=60) == 3
    plain.succeed("rm /run/gate")


def test_ctrl_c_ends_the_command_in_the_node_too(pair: Running, plain: NodeHandle) -> None:
    with begin_exec(pair, "sh", "-c", "echo begun; sleep 86399; echo over") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"begun\n"
        os.killpg(running.pid, signal.SIGINT)
        assert b"over" not in running.stdout.read()
        assert running.wait(timeout=60) != 0
    await_end(plain, "sleep 86399")


def test_a_command_that_nobody_hears_any_more_ends(pair: Running, plain: NodeHandle) -> None:
    with begin_exec(pair, "yes", "endlessly") as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline() == b"endlessly\n"
        running.stdout.close()
        assert running.stderr.read() == b""
        running.wait(timeout=60)
    await_end(plain, "yes endlessly")


def test_nxc_gets_in_from_another_process(pair: Running) -> None:
    project = pair.session.workspace.project
    for name in pair:
        done = subprocess.run(
            [NXC, "-C", project, "exec", "-d", pair.id, name, "hostname"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, f"{name}\n"), done.stderr


def test_what_is_copied_to_a_tmpfs_arrives(plain: NodeHandle, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("told\n")
    plain.copy_from_host(tmp_path / "note", "/run/nxc-test-note")
    assert plain.succeed("findmnt -no FSTYPE -T /run/nxc-test-note; cat /run/nxc-test-note").split() == [
        "tmpfs",
        "told",
    ]
    plain.copy_from_vm("/run/nxc-test-note", tmp_path / "back")
    assert (tmp_path / "back" / "nxc-test-note").read_text() == "told\n"


@pytest.mark.parametrize("case", VERBS, ids=lambda case: case.name)
def test_every_verb_in_success_and_in_time_out(case: Case, pair: Running) -> None:
    node = pair["plain"]
    assert case.serves(node), f"{case.name} cannot work on {pair.flavour.name}"
    case.ok(node)
    if case.late is not None:
        with pytest.raises(TestFailed):
            case.late(node)
