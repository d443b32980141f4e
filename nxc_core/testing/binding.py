"""Machines and nodes: what a flavour promises whose machines are asked for, or have addresses."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest

from nxc_core import state
from nxc_core.flavour import Flavour, Reserving
from nxc_core.model import NodeDocument, NodeState, Plan, Policy
from nxc_core.operation import Operation
from nxc_core.running import Running
from nxc_core.testing.hooks import FlavourHooks, proof
from nxc_core.testing.workbench import Watch, Workbench


class BindingContract(FlavourHooks):
    """Tests of late binding; they pass by flavours that make their machines themselves."""

    __test__ = False

    def test_each_node_has_a_machine(self, session: Workbench, composition: Path) -> None:
        """Every node runs on the machine that it was bound to, alone, and says so."""
        self._reserves(session)
        with self.up(session, composition) as running:
            held = [machine.name for machine in _machines(running)]
            assert len(set(held)) == len(held), f"machines() names one twice: {held}"
            bound = {spec.name: spec.machine for spec in running.deployment.specs}
            assert len(set(bound.values())) == len(bound), f"nodes share a machine: {bound}"
            assert set(bound.values()) <= set(held), f"nodes are bound to {bound}, held are {held}"
            told = {name: running.node(name).machine for name in running}
            assert told == bound, f"nodes are bound to {bound}, but op.node() was given {told}"

    def test_a_spare_takes_over(self, session: Workbench, composition: Path) -> None:
        """Where a machine dies as its node boots, the node comes up on a spare, and all know where it is."""
        self._reserves(session)
        if not self.spares:
            pytest.skip("say how many `spares` there are to test how one takes over")
        killed: list[tuple[str, str]] = []

        def kill_one(flavour: Flavour[Any], plan: Plan, op: Operation) -> None:
            if not killed:
                node = op.journal.nodes()[plan.nodes[-1].name]
                self.kill(flavour, node, op)
                killed.append((node.name, node.machine))

        mortal = self.open(session.workspace.project, watch=Watch(after_boot=kill_one))
        with self.up(mortal, composition, policy=Policy(spares=1)) as running:
            ((name, machine),) = killed
            bound = running.spec(name).machine
            assert bound != machine, f"{name} is on {machine} still, which died"
            told = running.node(name).machine
            assert told == bound, f"{name} is bound to {bound}, but op.node() was given {told!r}"
            assert machine in running.op.journal.quarantined(), f"{machine} died, and is not left out"
            for one in running:
                instance, _ = proof(running, one)
                assert running.outcome(one).state is NodeState.READY
                assert instance == running.deployment.instances[one], f"{one} answers {instance!r}"
            self._look_at_addresses(running)
        self.nothing_left(session, "after a spare took over, and down")

    def test_addresses_of_the_platform(self, session: Workbench, composition: Path) -> None:
        """Where the platform addresses nodes, each has an address of its own, which all are told."""
        if self.driver(session).addressing != "platform":
            pytest.skip(f"nodes of {self.flavour} are addressed by nxc")
        with self.up(session, composition) as running:
            self._look_at_addresses(running)

    def _look_at_addresses(self, running: Running) -> None:
        if running.flavour.addressing != "platform":
            return
        given = {
            name: tuple(a for network in running.deployment.networks for a in network.members.get(name, ()))
            for name in running
        }
        missing = [name for name, addresses in given.items() if not addresses]
        assert not missing, f"networks() gives no address to {', '.join(missing)}"
        seen: dict[str, str] = {}
        for name, addresses in given.items():
            for address in addresses:
                ipaddress.ip_address(address)
                assert seen.setdefault(address, name) == name, f"{name} and {seen[address]} share {address}"
        for name in running:
            path = running.op.dir / "nodes" / name / "node.json"
            hosts = state.load(path, NodeDocument).hosts
            wrong = [one for one in running if hosts.get(one) != given[one]]
            assert not wrong, f"{name}'s document gives other addresses to {', '.join(wrong)}: {hosts}"

    def _reserves(self, session: Workbench) -> None:
        if not isinstance(self.driver(session), Reserving):
            pytest.skip(f"{self.flavour} makes its machines itself")


def _machines(running: Running) -> Any:
    flavour = running.flavour
    assert isinstance(flavour, Reserving)
    return flavour.machines(running.plan(), running.op)
