"""Flavours that offer more, with a fault each in that. All but the fault is that of ``Generous``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from faulty_flavours import Sound

from nxc_core import ConfigError, Operation
from nxc_core.model import Node, Plan, Resource, Role
from nxc_example import node as node_program
from nxc_example.flavour import PROCESS

NETWORK = "local.network"


class Generous(Sound):
    """No fault: it has networks, reboots, and exports."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        op.claim(NETWORK, plan.deployment)
        (op.cache / "networks").mkdir(parents=True, exist_ok=True)
        (op.cache / "networks" / plan.deployment).write_text(plan.networks[0].subnet)
        super().deploy(plan, op)

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        networks = [found for found in resources if found.kind == NETWORK]
        for found in networks:
            (op.cache / "networks" / found.id).unlink(missing_ok=True)
        return [*networks, *super().release([found for found in resources if found.kind != NETWORK], op)]

    def taken(self, op: Operation) -> Collection[str]:
        return [path.read_text() for path in (op.cache / "networks").glob("*")]

    def reboot(self, node: Node, op: Operation) -> None:
        self.crash(node, op)
        document = str(op.dir / "nodes" / node.name / "node.json")
        argv = (sys.executable, "-I", "-S", node_program.__file__, document, str(node.facts["place"]), "0")
        op.spawn(PROCESS, f"{op.name}-{node.name}", argv, log=self.console(node.name, op), rank=2)

    def export(self, plan: Plan, folder: Path, op: Operation) -> None:
        for spec in plan.nodes:
            shutil.copytree(plan.artifact.files[spec.role], folder / "trees" / spec.name)
        (folder / "README").write_text("run trees/NAME with nodes/NAME/node.json\n")


class Prudish(Generous):
    """Refuses what it could start."""

    def vet(self, roles: Sequence[Role], op: Operation) -> None:
        raise ConfigError(f"role {roles[0].name}: it has a name")


class Babbling(Generous):
    """Answers a network's name, not its subnet."""

    def taken(self, op: Operation) -> Collection[str]:
        return ["lan"]


class Crowded(Generous):
    """Does not say which subnets it has."""

    def taken(self, op: Operation) -> Collection[str]:
        return ()


class Dozy(Generous):
    """Its reboot does nothing."""

    def reboot(self, node: Node, op: Operation) -> None:
        op.node(node)


class Rooted(Generous):
    """Exports links to this machine, and its paths."""

    def export(self, plan: Plan, folder: Path, op: Operation) -> None:
        for spec in plan.nodes:
            (folder / spec.name).symlink_to(plan.artifact.files[spec.role])
        (folder / "README").write_text(f"run with {plan.documents['one']}\n")


class Frank(Generous):
    """Exports copies of node.json that all can read."""

    def export(self, plan: Plan, folder: Path, op: Operation) -> None:
        super().export(plan, folder, op)
        shutil.copyfile(plan.documents["one"], folder / "one.json")


OFFERS: dict[str, type[Generous]] = {
    kind.__name__.lower(): kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Generous)
}
for _name, _kind in OFFERS.items():
    _kind.name = _name
