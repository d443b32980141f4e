"""Machines with an ordinary Debian really taken over by kexec, and given back."""

from __future__ import annotations

import ipaddress
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nxc_core.errors import DeployError, TeardownError
from nxc_core.machine import NodeHandle
from nxc_core.model import NodeState, Status
from nxc_core.running import Running
from nxc_core.session import Session
from tests.kexec_machines import (
    BOOT_ID,
    FAR,
    LAN,
    PROMPT,
    SLOW,
    SSH_PORT,
    Former,
    Lab,
    build_system,
    machines,
    make_lab,
)

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

HERE = Path(__file__).parent
ONE = {"server": 1, "client": 0}


@pytest.fixture(scope="module")
def lab(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("kexec")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        return make_lab(folder / "lab", build_system(folder / "system"))


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Iterator[list[Former]]:
    with machines(lab, 2) as found:
        yield found


@pytest.fixture(scope="module")
def session(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    project = tmp_path_factory.mktemp("project")
    shutil.copy(HERE / "kexec.nix", project / "composition.nix")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        yield Session.open(project)


def start(session: Session, pair: list[Former], cmdline: str = SLOW, **more: Any) -> Running:
    """Start on these machines, which are named in a file."""
    file = pair[0].lab.folder / "machines"
    file.write_text("# lent by the lab\n" + "".join(f"{machine.line}\n" for machine in pair))
    options = {"machines": [str(file)], "known_hosts": str(pair[0].lab.known_hosts), "cmdline": cmdline}
    options |= more.pop("options", {})
    source = session.workspace.project / "composition.nix"
    return session.start(source, flavour="kexec", base="debian", options={"kexec": options}, **more)


@pytest.fixture(scope="module")
def former_boots(pair: list[Former]) -> dict[str, str]:
    return {machine.name: machine.wait() for machine in pair}


@pytest.fixture(scope="module")
def running(session: Session, pair: list[Former], former_boots: dict[str, str]) -> Running:
    return start(session, pair)


@pytest.fixture
def server(running: Running) -> NodeHandle:
    return running["server"]


@pytest.fixture
def client(running: Running) -> NodeHandle:
    return running["client"]


def under(running: Running, pair: list[Former], node: str) -> Former:
    """Return the machine below a node."""
    (found,) = (machine for machine in pair if machine.name == running.node(node).machine)
    return found


def give_back(session: Session, pair: list[Former]) -> None:
    """Take everything down, and wait for the machines."""
    for summary in session.deployments():
        session.down(summary.id)
    for machine in pair:
        machine.wait()


def test_machines_become_nodes(running: Running, pair: list[Former], former_boots: dict[str, str]) -> None:
    assert running.deployment.status is Status.RUNNING
    assert running["server"].succeed("cat /etc/greeting") == "hello from the server\n"
    assert running["client"].succeed("cat /etc/role") == "the client\n"
    assert {running.node(name).machine for name in running} == set(former_boots)
    for name in running:
        assert running[name].succeed("hostname").strip() == name
        assert running[name].succeed(f"cat {BOOT_ID}").strip() not in former_boots.values()
        assert not under(running, pair, name).greets(SSH_PORT), "the former system is gone"


def test_a_node_has_what_its_machine_had(running: Running, pair: list[Former]) -> None:
    """The static card as it was, the other by DHCP once more; nobody told nxc of either."""
    for name in running:
        node, machine = running[name], under(running, pair, name)
        node.wait_until_succeeds("ip -4 route show default | grep -q 'via 10.0.2.2'", timeout=120)
        cards = {card["address"]: card for card in json.loads(node.succeed("ip -j address"))}
        held = {
            mac: [
                f"{one['local']}/{one['prefixlen']}" for one in card["addr_info"] if one["family"] == "inet"
            ]
            for mac, card in cards.items()
        }
        assert held[machine.mac("lan")] == [f"{machine.lan}/24"]
        assert held[machine.mac("user")] == ["10.0.2.15/24"]
        far = next(iter(ipaddress.ip_network(FAR).hosts()))
        assert f"via {LAN}.1 dev" in node.succeed(f"ip route get {far}")
        assert "10.0.2.3" in node.succeed("cat /etc/resolv.conf")


def test_nodes_know_each_other_by_their_machines_addresses(running: Running, pair: list[Former]) -> None:
    (network,) = running.deployment.networks
    for name in running:
        machine = under(running, pair, name)
        assert network.members[name] == (machine.lan,)
        for other in running:
            assert running[other].succeed(f"getent ahostsv4 {name}").split()[0] == machine.lan
            assert running[other].succeed(f"getent ahostsv4 {machine.name}").split()[0] == machine.lan


def test_the_firewall_is_the_role_s(server: NodeHandle, client: NodeHandle) -> None:
    for port in (8080, 8081):
        server.wait_until_succeeds(f"ss -ltn | grep -q :{port}", timeout=60)
    hear = "timeout 20 bash -c 'cat < /dev/tcp/server/{}'"
    assert client.succeed(hear.format(8080)) == "hello from the server\n"
    client.fail(hear.format(8081).replace("20", "5"))


def test_the_identity_is_for_root_alone(running: Running, server: NodeHandle) -> None:
    words = server.succeed("cat /proc/cmdline")
    assert len(words) < 2048 and running.deployment.instances["server"] not in words
    assert server.succeed("stat -c %a /run/nxc /run/nxc/host_key /run/nxc/ready").split() == [
        "700",
        "600",
        "600",
    ]
    document = json.loads(server.succeed("cat /run/nxc/node.json"))
    assert document["instance"] == running.deployment.instances["server"]
    assert server.succeed("findmnt -no FSTYPE /").strip() == "overlay"


@pytest.mark.full
def test_a_node_that_reboots_is_deployed_again(
    running: Running, pair: list[Former], client: NodeHandle
) -> None:
    """It comes back through firmware and its former system, since there is nothing of ours on its disk."""
    machine = under(running, pair, "client")
    boot, powered = client.succeed(f"cat {BOOT_ID}"), machine.said().count(PROMPT)
    client.succeed("touch /root/written")
    client.reboot()
    assert client.succeed(f"cat {BOOT_ID}") != boot
    client.fail("test -e /root/written")
    assert machine.said().count(PROMPT) > powered, "the former system was there meanwhile"
    assert client.succeed("getent ahostsv4 server").split()[0] == under(running, pair, "server").lan


def test_a_machine_that_was_reset_is_not_taken_for_a_node(
    session: Session, running: Running, pair: list[Former]
) -> None:
    machine = under(running, pair, "server")
    machine.reset()
    outcomes = running.look()
    assert outcomes["client"].state is NodeState.READY
    assert outcomes["server"].state is NodeState.LOST
    assert "former system" in outcomes["server"].cause
    again = start(session, pair)
    assert again.id == running.id, "the same deployment goes on, with the node that was lost"
    assert again["server"].succeed("cat /etc/greeting") == "hello from the server\n"


def test_down_gives_the_machines_back(session: Session, running: Running, pair: list[Former]) -> None:
    former = {machine.name: machine.boot_id() for machine in pair}
    running.down()
    assert session.workspace.load(running.id).status is Status.STOPPED
    assert not session.workspace.journal(running.id).outstanding()
    for machine in pair:
        assert machine.wait(unlike=former[machine.name])
        assert machine.run("ls -A /dev/shm; cat /sys/kernel/kexec_loaded").split() == ["0"]
    session.down(running.id)


@pytest.mark.full
def test_a_kernel_that_panics_leads_back_to_the_former_system(session: Session, pair: list[Former]) -> None:
    """The machine reboots through its firmware; that is seen at once, not waited for."""
    give_back(session, pair)
    began = time.monotonic()
    with pytest.raises(DeployError) as refused:
        start(session, pair[:1], cmdline=f"{SLOW} init=/bin/false panic=1", roles=ONE)
    assert time.monotonic() - began < 280, "it is seen before the deadline of 300 s"
    assert "server" in refused.value.message
    assert "returned to its former system" in refused.value.message
    assert "Attempted to kill init" in pair[0].said()
    boot = pair[0].wait()
    give_back(session, pair)
    assert pair[0].wait() == boot, "what is in its former system by now is not rebooted"
    assert pair[0].run("ls -A /dev/shm; cat /sys/kernel/kexec_loaded").split() == ["0"]


@pytest.mark.full
def test_a_machine_that_hangs_is_named_and_kept(session: Session, pair: list[Former]) -> None:
    """Its processor stands still: no node, no former system, and not given back before someone helps."""
    give_back(session, pair)
    with pytest.raises(DeployError) as refused:
        start(session, pair[:1], cmdline=f"{SLOW} init=/bin/false panic=0", roles=ONE, options={"boot": 60})
    assert "server" in refused.value.message and "60 s" in refused.value.message
    (summary,) = (one for one in session.deployments() if one.status is Status.FAILED)
    with pytest.raises(TeardownError) as kept:
        session.down(summary.id)
    assert pair[0].name in kept.value.message
    pair[0].reset()
    session.down(summary.id)
    assert not session.workspace.journal(summary.id).outstanding()
