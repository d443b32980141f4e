"""What a booted role promises: the vocabulary, identity, isolation, and nxc's own way in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.errors import TestFailed
from nxc_core.machine import NodeHandle
from nxc_core.running import Running
from nxc_core.session import Session
from tests.processes import command_lines
from tests.vocabulary import VERBS, Case

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def pair(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Boot a role that fights for its freedom, and one that says nothing at all."""
    project = tmp_path_factory.mktemp("machines")
    shutil.copy(HERE / "machines.nix", project / "composition.nix")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        session = Session.open(project)
        with session.up(project / "composition.nix", flavour="vm-ramdisk") as running:
            yield running


@pytest.fixture
def plain(pair: Running) -> NodeHandle:
    return pair["plain"]


@pytest.fixture
def strict(pair: Running) -> NodeHandle:
    return pair["strict"]


def test_the_system_is_running_with_no_failed_units(pair: Running) -> None:
    for node in pair.values():
        node.wait_until_succeeds("systemctl is-system-running | grep -x running", timeout=180)


def test_root_has_its_rights_and_the_clock_is_utc_and_right(plain: NodeHandle) -> None:
    assert plain.succeed("stat -c '%a %u %g' /").split() == ["755", "0", "0"]
    assert plain.succeed("date +%Z").strip() == "UTC"
    before = time.time()
    told = float(plain.succeed("date +%s.%N"))
    after = time.time()
    assert before - 5 <= told <= after + 5  # it was read from a clock of seconds, and is emulated
    assert "C.UTF-8" in plain.succeed("locale 2>/dev/null | grep LC_CTYPE")


def test_names_resolve_both_ways_over_both_protocols(pair: Running) -> None:
    pair["plain"].succeed("ping -c 1 -W 5 strict || getent hosts strict")
    for name, other in (("plain", "strict"), ("strict", "plain")):
        told = pair[name].succeed(f"getent ahosts {other}")
        network = pair.deployment.networks[0]
        for address in network.members[other]:
            assert address in told
        assert pair[name].succeed("hostname").strip() == name


def test_the_firewall_is_enforced_and_lets_nxc_in(pair: Running) -> None:
    pair["strict"].succeed("systemd-run --unit=open python3 -m http.server 8080 --directory /etc/nxc-test")
    pair["strict"].succeed("systemd-run --unit=shut python3 -m http.server 8081 --directory /etc/nxc-test")
    pair["strict"].wait_for_open_port(8080, timeout=60)
    pair["strict"].wait_for_open_port(8081, timeout=60)
    pair["plain"].succeed("curl --max-time 20 -sf http://strict:8080/")
    pair["plain"].fail("curl --max-time 5 -sf http://strict:8081/")


def test_nxc_gets_in_where_the_role_forbids_ssh_to_root(strict: NodeHandle) -> None:
    strict.succeed("sshd -T | grep -x 'permitrootlogin no'")
    strict.succeed("systemctl is-active nxc-sshd.service")


def test_users_groups_and_keys_are_there(strict: NodeHandle) -> None:
    assert strict.succeed("id -u alice").strip() == "1234"
    assert "lab" in strict.succeed("id -Gn alice").split()
    assert strict.succeed("getent passwd alice").strip().endswith("/home/alice:/bin/bash")
    assert "ssh-ed25519" in strict.succeed(
        "cat /etc/ssh/authorized_keys.d/alice ~alice/.ssh/authorized_keys 2>/dev/null || true"
    )
    assert strict.succeed("stat -c %U ~alice").strip() == "alice"


def test_kernel_settings_are_applied(strict: NodeHandle) -> None:
    assert strict.succeed("sysctl -n vm.swappiness").strip() == "7"
    strict.succeed("lsmod | grep ^dummy")
    assert "nxc.test=1" in strict.succeed("cat /proc/cmdline")


def test_units_variables_files_and_tmpfiles(strict: NodeHandle) -> None:
    strict.wait_for_unit("brick.service")
    strict.wait_for_file("/run/brick/done", timeout=60)
    assert strict.succeed("cat /run/brick/done").strip() == "prepared greeted"
    assert strict.succeed("bash -lc 'echo $NXC_TEST'").strip() == "variable"
    assert strict.succeed("stat -c %a /etc/nxc-test/secret").strip() == "600"
    assert strict.succeed("stat -c %a /var/lib/brick").strip() == "750"
    assert strict.succeed("date +%Z -d @0").strip() in ("CET", "UTC")


def test_every_node_keeps_its_identity_from_others(pair: Running) -> None:
    for node in pair.values():
        assert node.succeed("stat -c %a /run/nxc/node.json").strip() == "600"
    folder = pair.session.workspace.deployment_dir(pair.id)
    keys = {json.loads((folder / "nodes" / name / "node.json").read_text())["host_key"] for name in pair}
    assert len(keys) == len(pair)


def test_no_secret_is_on_a_command_line(pair: Running) -> None:
    folder = pair.session.workspace.deployment_dir(pair.id)
    secret = (folder / "key").read_text().splitlines()[1]
    instances = set(pair.deployment.instances.values())
    for words in command_lines().values():
        assert secret not in words
        assert not any(instance in words for instance in instances)


def test_two_deployments_see_no_frame_of_each_other(pair: Running, cached: Path, tmp_path: Path) -> None:
    """The same addresses on both: if a frame crossed, ARP would tell."""
    shutil.copy(HERE / "machines.nix", tmp_path / "composition.nix")
    session = Session.open(tmp_path)
    pair["plain"].execute("nohup timeout 300 tcpdump -nn -i any -w /run/seen.pcap >/dev/null 2>&1 &")
    lan = (
        pair["plain"]
        .succeed("ip -o link show | grep -o '^[0-9]*: [^:@]*' | cut -d' ' -f2 | grep -v '^lo$'")
        .split()
    )
    counters = {
        card: pair["plain"].succeed(f"cat /sys/class/net/{card}/statistics/rx_packets") for card in lan
    }
    with session.up(
        tmp_path / "composition.nix", flavour="vm-ramdisk", roles={"strict": 0, "plain": 1}
    ) as other:
        address = other.deployment.networks[0].members["plain"][0]
        network = other.deployment.networks[0].subnet.rpartition(".")[0]
        for last in range(200, 210):
            other["plain"].execute(f"ping -c 1 -W 1 {network}.{last}")
        other["plain"].execute("ping -b -c 3 -W 1 255.255.255.255; ip neigh")
        told = pair["plain"].succeed("tcpdump -nn -e -r /run/seen.pcap 2>/dev/null || true")
        assert address not in told
        mac = json.loads((session.workspace.deployment_dir(other.id) / "nodes/plain/node.json").read_text())
        for card in mac["interfaces"]:
            if card["network"] == "lan":
                assert card["mac"] not in told
    assert counters


def test_ssh_config_works_with_plain_ssh(pair: Running, tmp_path: Path) -> None:
    nxc = Path(sys.executable).with_name("nxc")
    project = pair.session.workspace.project
    told = subprocess.run(
        [nxc, "-C", project, "ssh-config", pair.id], capture_output=True, text=True, timeout=60, check=True
    )
    config = tmp_path / "config"
    config.write_text(told.stdout)
    done = subprocess.run(
        ["ssh", "-F", str(config), "plain", "hostname"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "plain", done.stderr


@pytest.mark.parametrize("case", VERBS, ids=lambda case: case.name)
def test_every_verb_in_success_and_in_time_out(case: Case, pair: Running) -> None:
    node = pair["plain"]
    case.ok(node)
    if case.late is not None:
        with pytest.raises(TestFailed):
            case.late(node)
