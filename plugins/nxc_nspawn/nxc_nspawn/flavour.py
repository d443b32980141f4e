"""The flavour ``nspawn``: the fastest nodes, systemd containers for root without any engine."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import evolve

from nxc_core import DeployError, Flavour, Operation
from nxc_core.connect import Connection
from nxc_core.model import (
    CLOSURE,
    LAYERS,
    ExecEndpoint,
    Finding,
    Guest,
    Json,
    Node,
    NodeDocument,
    NodeSpec,
    Observation,
    Plan,
    Resource,
    Role,
)
from nxc_nspawn import cgroups, check, inside, keeper, machines, network, wishes
from nxc_nspawn.cgroups import Hierarchies
from nxc_nspawn.keeper import Keeper
from nxc_nspawn.options import NspawnOptions


class NspawnFlavour(Flavour[NspawnOptions]):
    """Stateless: processes are found by their marks, the rest by names that have the deployment's in them."""

    name = "nspawn"
    accepts = (CLOSURE, LAYERS)
    options_type = NspawnOptions
    gives = frozenset({"console", "net-admin", "namespaced-sysctl", "reboot"})
    lacks: ClassVar[dict[str, str]] = {
        "kernel": "nodes share this machine's kernel and may change nothing in it",
        "mount": "nodes have no devices of their own; nxc.container.volumes shows them folders",
        "sysctl": "it would change this machine; those of a network (net.*) each node has of its own",
        "shared-dirs": "nodes have no NFS; a named volume of nxc.container.volumes is a folder they share",
    }
    patience = 120.0

    def deadline(self, op: Operation) -> float:
        """A crowded machine takes longer."""
        crowding = os.getloadavg()[0] / (os.cpu_count() or 1)
        return self.patience * min(max(crowding, 1.0), 4.0)

    @property
    def guest(self) -> Guest:
        """systemd in a container, told who it is by a mounted file."""
        return Guest(ssh=False, kernel=False, root="container", seed="mount", lean=self.options.lean)

    def check(self, op: Operation) -> Sequence[Finding]:
        """Root, programs, kernel, control groups, inotify."""
        return list(check.check_host(lean=self.options.lean))

    def vet(self, roles: Sequence[Role], op: Operation) -> None:
        """Refuse what no container of this kind has."""
        wishes.vet(roles, op)

    def taken(self, op: Operation) -> Collection[str]:
        """Keep off the networks that this machine reaches."""
        return list(network.routed())

    def seed(self, document: NodeDocument) -> NodeDocument:
        """Name no address of a card: systemd-nspawn chooses it, and there is but one."""
        return evolve(document, interfaces=tuple(evolve(card, mac="") for card in document.interfaces))

    # Deploying: claim, create, report. Called again after an interruption, it goes on with what is there.

    def deploy(self, plan: Plan, op: Operation) -> None:
        """Set up what nodes share, then start those that do not run, all by one shell."""
        found = cgroups.find_hierarchies()
        again = bool(op.claimed(machines.MACHINES))
        if again and not machines.end_unnamed(op):
            raise DeployError(
                "what an interrupted start has begun does not end", hint=f"`nxc down {op.name}`"
            )
        running = machines.find(op) if again else {}
        kept = keeper.find(op, found)
        if again and kept is None:
            self._end_all(found, op)  # what still runs is in namespaces that nobody can enter any more
            running = {}
        missing = [spec for spec in plan.nodes if spec.name not in running]
        check.require_inotify(len(missing), lean=self.options.lean)
        kept = kept or keeper.start(plan, op, found)
        op.claim(machines.MACHINES, op.name, rank=2)
        if missing:
            op.check_cancelled()
            running |= self._start(missing, plan, kept, found, op, again=again)
        for spec in plan.nodes:
            op.node(_node(spec, running[spec.name], plan, kept, found))

    def _start(
        self,
        specs: Sequence[NodeSpec],
        plan: Plan,
        kept: Keeper,
        found: Hierarchies,
        op: Operation,
        *,
        again: bool,
    ) -> dict[str, int]:
        if again:
            for spec in specs:
                self._end_one(spec.name, None, kept, op)
        starts = [machines.prepare(plan, spec, kept) for spec in specs]
        return machines.start(starts, kept, op, again=again)

    def _end_one(self, node: str, pid: int | None, kept: Keeper, op: Operation) -> None:
        pids = {} if pid is None else {node: pid}
        if not machines.end(pids, kept.groups.of(node), op):
            raise DeployError(f"{node} does not end", hint="see what its processes wait for")

    def _end_all(self, found: Hierarchies, op: Operation) -> bool:
        return machines.end(None, keeper.groups(op, found).nodes(), op)

    # Giving back: each may be gone already or never have existed.

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        """End the nodes, then the keeper, with which mounts and cards go, then remove the control groups."""
        found = cgroups.find_hierarchies()
        return [resource for resource in resources if self._release(resource, found, op)]

    def _release(self, resource: Resource, found: Hierarchies, op: Operation) -> bool:
        match resource.kind:
            case machines.MACHINES:
                return self._end_all(found, op)
            case keeper.KEEPER:
                return op.stop(resource)
            case network.LINK:
                return network.remove_link(op.name)
            case keeper.CGROUPS:
                tops = list(keeper.groups(op, found).folders.values())
                return machines.end({}, tops, op)
        return False

    # Looking and acting from outside

    def awake(self, node: Node, op: Operation) -> bool:
        """Whether the node knows who it is: a look at a file."""
        return self.told(node, op) is not None

    def told(self, node: Node, op: Operation) -> str | None:
        """The node's report, read from outside: entering it costs three processes."""
        pid = node.facts.get("pid")
        return machines.read_report(pid) if isinstance(pid, int) else None

    def observe(self, node: Node, op: Operation) -> Observation:
        """Whether the node's systemd-nspawn runs."""
        if machines.is_alive(node.name, node.facts.get("pid"), op):
            return Observation(alive=True)
        said = machines.last_words(node.name, op)
        return Observation(alive=False, detail=f"its systemd-nspawn ended{f': {said}' if said else ''}")

    def connect(self, node: Node, op: Operation) -> Connection:
        """Enter the namespaces of whatever boot the node is in."""
        pid, endpoint = node.facts.get("pid"), node.endpoint
        assert isinstance(pid, int) and isinstance(endpoint, ExecEndpoint)
        return inside.Inside(pid if machines.is_alive(node.name, pid, op) else 0, endpoint, op.cancel)

    def console(self, node: str, op: Operation) -> Path:
        """Where a node's console is kept, over all its boots."""
        return machines.log(node, op).with_name(f"{node}.log")

    def crash(self, node: Node, op: Operation) -> None:
        """Cut the power: everything in the node is killed."""
        pid = node.facts.get("pid")
        self._end_one(node.name, pid if isinstance(pid, int) else None, self._keeper(op), op)

    def restart(self, node: Node, plan: Plan, op: Operation) -> None:
        """Boot the node again, with the files that it had."""
        found, kept = cgroups.find_hierarchies(), self._keeper(op)
        (spec,) = (spec for spec in plan.nodes if spec.name == node.name)
        self.crash(node, op)
        pids = machines.start([machines.prepare(plan, spec, kept)], kept, op, again=True)
        op.node(_node(spec, pids[spec.name], plan, kept, found))

    def block(self, node: Node, op: Operation) -> None:
        """Unplug the node's card, until it is plugged in again or the node reboots."""
        if not self.observe(node, op).alive:
            raise DeployError(f"{node.name} is off and has no card to unplug", hint="start() boots it")
        self._plug(node, "down", op)

    def unblock(self, node: Node, op: Operation) -> None:
        """Plug it in again; a node that is off comes up with its card plugged in."""
        if self.observe(node, op).alive:
            self._plug(node, "up", op)

    def _plug(self, node: Node, state: str, op: Operation) -> None:
        card = str(node.facts["card"])
        op.run((*self._keeper(op).enter("net"), "ip", "link", "set", "dev", card, state), timeout=30)

    def _keeper(self, op: Operation) -> Keeper:
        kept = keeper.find(op, cgroups.find_hierarchies())
        if kept is None:
            raise DeployError(
                f"the process that keeps the mounts and the network of {op.name} was killed",
                hint=f"`nxc down {op.name}`, then start again",
            )
        return kept


def _node(spec: NodeSpec, pid: int, plan: Plan, kept: Keeper, found: Hierarchies) -> Node:
    limits = wishes.limits(machines.role_of(plan, spec))
    limited = any(value is not None for value in limits.asked.values())
    unified = found.mounted[cgroups.UNIFIED] if limited and found.version == 2 else None
    facts: dict[str, Json] = {
        "pid": pid,
        "card": network.card_name(spec.index),
        "address": plan.networks[0].members[spec.name][0],
    }
    endpoint = inside.endpoint(pid, kept.groups.limiting(spec.name, limits), unified)
    return Node(name=spec.name, role=spec.role, endpoint=endpoint, facts=facts)
