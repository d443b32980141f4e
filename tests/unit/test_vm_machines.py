"""Starting, finding and ending virtual machines, with a stand-in for QEMU that boots nothing."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from attrs import evolve

from nxc_core import state
from nxc_core.errors import ConfigError, DeployError, PreflightError
from nxc_core.model import (
    RAMDISK,
    Artifact,
    Event,
    Interface,
    Network,
    Node,
    NodeDocument,
    NodeSpec,
    NodeState,
    Plan,
    Resource,
    RoleBoot,
    SshEndpoint,
)
from nxc_core.operation import Operation
from nxc_core.state import Journal
from nxc_vm import boot, network, qemu
from nxc_vm.boot import QEMU
from nxc_vm.flavour import VmRamdisk
from nxc_vm.options import RamdiskOptions
from tests.standin_qemu import events, op, stand_in, vm

__all__ = ["events", "op", "stand_in", "vm"]  # fixtures


@pytest.fixture
def plan(tmp_path: Path, op: Operation) -> Plan:
    """Two nodes on one network."""
    for name in ("kernel", "initrd"):
        (tmp_path / name).write_bytes(b"")
    start = RoleBoot(kernel=tmp_path / "kernel", initrd=tmp_path / "initrd", cmdline="nxc.role=one")
    names = ("a", "b")
    lan = Network(name="lan", subnet="10.0.3.0/24", subnet6="fd00::/64", members={})
    documents = {}
    for index, name in enumerate(names):
        documents[name] = tmp_path / f"{name}.json"
        card = Interface(mac=f"52:4e:00:00:00:0{index}", network="lan")
        state.save(
            documents[name],
            NodeDocument(deployment=op.name, instance="i", node=name, role="one", interfaces=(card,)),
            mode=0o600,
        )
    return Plan(
        deployment=op.name,
        artifact=Artifact(kind=RAMDISK, roles={"one": start}),
        nodes=tuple(NodeSpec(name=name, role="one", index=i, machine=name) for i, name in enumerate(names)),
        networks=(lan,),
        documents=documents,
        instances={name: "i" for name in names},
        key=tmp_path / "key",
        known_hosts=tmp_path / "known_hosts",
    )


def port_of(node: Node) -> int:
    assert isinstance(node.endpoint, SshEndpoint)
    return node.endpoint.port


def orders(stand_in: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (stand_in / "orders").read_text().splitlines()]


# Claims


def test_a_port_is_claimed_once_per_node_and_another_when_refused(op: Operation) -> None:
    first = network.claim_port("a", op)
    assert network.claim_port("a", op) == first
    other = network.claim_port("b", op)
    assert other != first
    second = network.claim_port("a", op, refused=[first])
    assert second not in (first, other)
    assert {int(found.id) for found in op.claimed(network.PORT)} == {second, other}


def test_networks_of_two_deployments_differ_and_each_keeps_its_own(op: Operation, tmp_path: Path) -> None:
    lan = network.claim_lan("lan", op)
    assert network.claim_lan("lan", op) == lan
    other = evolve(op, journal=Journal(tmp_path / "other.jsonl"), name="other")
    assert network.claim_lan("lan", other) != lan
    assert lan.group.startswith("239.")


def test_the_card_to_the_host(op: Operation) -> None:
    document = NodeDocument(deployment="d", instance="i", node="n", role="r")
    (card,) = VmRamdisk(RamdiskOptions()).seed(document).interfaces
    assert (card.gateway, card.nameservers) == ("10.0.2.2", ("10.0.2.3",))
    (card,) = VmRamdisk(RamdiskOptions(restrict=True)).seed(document).interfaces
    assert (card.gateway, card.nameservers) == (None, ())


# Life


def test_nodes_start_are_reported_and_given_back(
    vm: VmRamdisk, plan: Plan, op: Operation, stand_in: Path
) -> None:
    vm.deploy(plan, op)
    nodes = op.journal.nodes()
    assert set(nodes) == {"a", "b"}
    assert len({port_of(node) for node in nodes.values()}) == 2
    assert all(vm.observe(node, op).alive for node in nodes.values())
    kinds = sorted(found.kind for found in op.claimed())
    assert kinds == [network.LAN, network.PORT, network.PORT, QEMU, QEMU]
    pids = {found.data["pid"] for found in op.claimed(QEMU)}
    vm.deploy(plan, op)
    assert {found.data["pid"] for found in op.claimed(QEMU)} == pids, "what runs is left alone"
    assert {found.key for found in vm.release(op.claimed(), op)} == {found.key for found in op.claimed()}
    assert not any(vm.observe(node, op).alive for node in nodes.values())
    assert vm.release(op.claimed(), op), "twice is as good as once"
    assert list((op.runtime).iterdir()) == []


def test_releasing_what_never_was(vm: VmRamdisk, op: Operation) -> None:
    never = [Resource(kind=QEMU, id="x"), Resource(kind=network.PORT, id="1"), Resource(kind="later", id="y")]
    assert list(vm.release(never, op)) == never


def test_a_port_that_was_taken_meanwhile(vm: VmRamdisk, plan: Plan, op: Operation, stand_in: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        taken = thief.getsockname()[1]
        op.claim(network.PORT, str(taken), node="a")
        vm.deploy(plan, op)
    assert port_of(op.journal.nodes()["a"]) != taken
    assert str(taken) not in {found.id for found in op.claimed(network.PORT)}
    assert op.journal.outcomes() == {}


def test_qemus_own_words_where_it_does_not_start(plan: Plan, op: Operation, stand_in: Path) -> None:
    VmRamdisk(RamdiskOptions(accelerator="tcg", qemu_args="-bogus")).deploy(plan, op)
    outcomes = op.journal.outcomes()
    assert {outcome.state for outcome in outcomes.values()} == {NodeState.FAILED}
    assert "-bogus: invalid option" in outcomes["a"].cause
    assert op.journal.nodes() == {}


def test_a_panic_is_seen_and_the_machine_paused(
    vm: VmRamdisk, plan: Plan, op: Operation, stand_in: Path
) -> None:
    (stand_in / "says").write_text("Linux version 6.1\nKernel panic - not syncing: no init\n")
    vm.deploy(plan, op)
    seen = vm.observe(op.journal.nodes()["a"], op)
    assert (seen.alive, seen.detail) == (False, "Kernel panic - not syncing: no init")
    assert "stop" in [order["execute"] for order in orders(stand_in)]


def test_power_and_links(vm: VmRamdisk, plan: Plan, op: Operation, stand_in: Path) -> None:
    vm.deploy(plan, op)
    node = op.journal.nodes()["a"]
    vm.block(node, op)
    vm.unblock(node, op)
    links = [order["arguments"] for order in orders(stand_in) if order["execute"] == "set_link"]
    assert links == [{"name": "lan-lan", "up": False}, {"name": "lan-lan", "up": True}]
    vm.crash(node, op)
    seen = vm.observe(node, op)
    assert not seen.alive
    assert "QEMU ended" in seen.detail
    with pytest.raises(DeployError):
        vm.block(node, op)
    vm.restart(node, plan, op)
    assert vm.observe(node, op).alive
    assert port_of(op.journal.nodes()["a"]) == port_of(node)
    assert vm.console("a", op).read_text().count(qemu.BOOT_MARK) == 2


def test_what_qemu_refuses_is_told(op: Operation, vm: VmRamdisk, plan: Plan, stand_in: Path) -> None:
    vm.deploy(plan, op)
    control = next(op.runtime.glob("*.qmp"))
    with pytest.raises(DeployError, match="no such card"):
        qemu.control(control, "set_link", name="lan-none", up=True)


def test_no_more_boot_at_once_than_the_machine_carries(plan: Plan, op: Operation, tmp_path: Path) -> None:
    nodes = tuple(NodeSpec(name=f"n{i}", role="one", index=i, machine="") for i in range(5))
    started: list[list[str]] = []
    for group in boot.in_waves(nodes, 2, op, lambda name, _: tmp_path / name):
        assert len(group) <= 2
        started.append([spec.name for spec in group])
        for spec in group:
            (tmp_path / spec.name).write_text("nxc: this is it\n")
    assert [name for group in started for name in group] == [f"n{i}" for i in range(5)]


def test_a_node_that_never_boots_does_not_hold_up_the_others(
    op: Operation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "SLOT_TIMEOUT", 0.3)
    monkeypatch.setattr(Operation, "alive", lambda self, resource: True)
    nodes = tuple(NodeSpec(name=f"n{i}", role="one", index=i, machine="") for i in range(3))
    assert len(list(boot.in_waves(nodes, 1, op, lambda name, _: tmp_path / name))) == 3


def test_nodes_that_cannot_fit_are_refused(plan: Plan, op: Operation, events: list[Event]) -> None:
    with pytest.raises(PreflightError, match="2 nodes want"):
        VmRamdisk(RamdiskOptions(accelerator="tcg", memory="900g")).deploy(plan, op)
    bare = evolve(plan, artifact=Artifact(kind=RAMDISK))
    with pytest.raises(ConfigError, match="role one"):
        VmRamdisk(RamdiskOptions(accelerator="tcg")).deploy(bare, op)
