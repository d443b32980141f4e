"""What all flavours of virtual machines share: QEMU as an ordinary user, no daemon of nxc's own."""

from __future__ import annotations

import contextlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

from attrs import evolve

from nxc_core import DeployError, Flavour, Operation
from nxc_core.identity import alias
from nxc_core.model import (
    Finding,
    Guest,
    Json,
    Node,
    NodeDocument,
    NodeSpec,
    NodeState,
    Observation,
    Outcome,
    Plan,
    Resource,
    SshEndpoint,
)
from nxc_core.paths import shorten
from nxc_core.state import load
from nxc_vm import accelerator, boot, network, qemu, share
from nxc_vm.boot import QEMU
from nxc_vm.check import check_host, require_host
from nxc_vm.media import Media
from nxc_vm.memory import Appetite, check_memory, choose_memory
from nxc_vm.options import MachineOptions

Options = TypeVar("Options", bound=MachineOptions)


class VirtualMachines(Flavour[Options]):
    """Stateless: machines, ports and multicast groups are in the journal, found again by any process."""

    gives = frozenset(
        {
            *("kernel", "kernel-modules", "mount", "net-admin", "sysctl", "namespaced-sysctl"),
            *("time", "console", "reboot"),
        }
    )
    patience = 90.0
    appetite: ClassVar[Appetite]

    @abstractmethod
    def media(self, plan: Plan, spec: NodeSpec, op: Operation) -> Media:
        """Return what a node boots from; raises ConfigError where the artifact has it not."""

    @property
    def guest(self) -> Guest:
        """A whole system with its own kernel, on virtio, told who it is by QEMU."""
        return Guest(
            ssh=True,
            console="ttyS0",
            kernel_modules=("virtio_pci", "virtio_net", "qemu_fw_cfg"),
            root="tmpfs",
            seed="fw_cfg",
            lean=self.options.lean,
        )

    def check(self, op: Operation) -> Sequence[Finding]:
        """QEMU, its version, and which accelerator will be used."""
        return check_host(self.options, op)

    def require(self, op: Operation) -> None:
        """Ask for QEMU, and for KVM where it is wanted; whether KVM works is tried with the node's kernel."""
        require_host(self.options)

    def deadline(self, op: Operation) -> float:
        """Emulation is some five times slower, and suffers from whatever else the machine does."""
        if any(found.data.get("accelerator") == "kvm" for found in op.claimed(QEMU)):
            return self.patience
        crowding = os.getloadavg()[0] / (os.cpu_count() or 1)
        return 3 * self.patience * min(max(crowding, 1.0), 4.0)

    def seed(self, document: NodeDocument) -> NodeDocument:
        """Add the card by which this machine reaches the node."""
        card = network.host_interface(restrict=self.options.restrict)
        return evolve(document, interfaces=(*document.interfaces, card))

    # Deploying: claim, create, report. Called again after an interruption, it goes on with what is there.

    def deploy(self, plan: Plan, op: Operation) -> None:
        """Start a QEMU per node, no more booting at once than this machine carries."""
        verdict = self._accelerator(plan, op)
        wanted = {spec.name: self._memory(self.media(plan, spec, op)) for spec in plan.nodes}
        check_memory(wanted, self.appetite, op)
        lans = [network.claim_lan(one.name, op) for one in plan.networks]
        limit = boot.at_once(verdict.name, self.options.cores)

        def start(spec: NodeSpec) -> None:
            self._start(plan, spec, lans, verdict.name, op)

        for group in boot.in_waves(plan.nodes, limit, op, self.console):
            op.map(start, group)

    def _accelerator(self, plan: Plan, op: Operation) -> accelerator.Verdict:
        kernel = self.media(plan, plan.nodes[0], op).kernel
        verdict = accelerator.choose(self.options.accelerator, kernel, op)
        op.step(f"using {verdict.name}: {verdict.reason}", accelerator=verdict.name)
        return verdict

    def _start(
        self, plan: Plan, spec: NodeSpec, lans: Sequence[network.Lan], accelerated: str, op: Operation
    ) -> None:
        """Start one node's QEMU unless it runs, and report the node or why it cannot boot."""
        op.check_cancelled()
        launch = self._launch(plan, spec, lans, accelerated, op)
        try:
            launch = boot.power_on(launch, op)
        except DeployError as error:
            op.outcome(Outcome(node=spec.name, state=NodeState.FAILED, cause=error.message))
            return
        op.node(self._node(plan, spec, launch, op))

    def _launch(
        self, plan: Plan, spec: NodeSpec, lans: Sequence[network.Lan], accelerated: str, op: Operation
    ) -> qemu.Launch:
        """Gather what a node is started with; its port is claimed."""
        media = self.media(plan, spec, op)
        document = load(plan.documents[spec.name], NodeDocument)
        macs = {card.network: card.mac for card in document.interfaces}
        return qemu.Launch(
            deployment=plan.deployment,
            node=spec.name,
            media=media,
            document=plan.documents[spec.name],
            console=self.console(spec.name, op),
            control=self._control(spec.name, op),
            port=network.claim_port(spec.name, op),
            lans={macs[lan.network]: lan for lan in lans if lan.network in macs},
            accelerator=accelerated,
            memory=self._memory(media),
            cores=self.options.cores,
            restrict=self.options.restrict,
            lean=self.options.lean,
            extra=self.options.qemu_args,
        )

    def _memory(self, media: Media) -> int:
        return choose_memory(self.options, media.initrd, self.appetite)

    def _node(self, plan: Plan, spec: NodeSpec, launch: qemu.Launch, op: Operation) -> Node:
        endpoint = SshEndpoint(
            host="127.0.0.1",
            port=launch.port,
            user="root",
            identity=plan.key,
            known_hosts=plan.known_hosts,
            alias=alias(plan.deployment, spec.name),
            control=op.runtime / f"{shorten(spec.name)}.ssh",
        )
        facts: dict[str, Json] = {
            "accelerator": launch.accelerator,
            "memory": launch.memory,
            "cores": launch.cores,
        }
        return Node(name=spec.name, role=spec.role, endpoint=endpoint, facts=facts)

    # Giving back: each may be gone already or never have existed.

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        """End the machines; ports and multicast groups are only numbers and go with their claims."""

        def end(resource: Resource) -> bool:
            node = str(resource.data.get("node", ""))
            if resource.kind == share.DAEMON:
                return share.stop(resource, share_socket(node, op), op)
            if resource.kind != QEMU:
                return True
            control = self._control(node, op)
            with contextlib.suppress(OSError, ValueError, DeployError):
                qemu.control(control, "quit", timeout=2)
            gone = op.stop(resource)
            control.unlink(missing_ok=True)
            return gone

        ended = op.map(end, resources)
        return [resource for resource, gone in zip(resources, ended, strict=True) if gone]

    # Looking and acting from outside

    def observe(self, node: Node, op: Operation) -> Observation:
        """Whether QEMU runs and the guest has not said that it failed."""
        if not op.alive(self._machine(node, op)):
            said = qemu.complaint(boot.qemu_log(op, node.name))
            return Observation(alive=False, detail=f"its QEMU ended{f': {said}' if said else ''}")
        cause = self._lost_share(node.name, op) or qemu.cause_of_death(self.console(node.name, op))
        if not cause:
            return Observation(alive=True)
        # A panicked kernel spins on its processor for ever.
        with contextlib.suppress(OSError, ValueError, DeployError):
            qemu.control(self._control(node.name, op), "stop", timeout=2)
        return Observation(alive=False, detail=cause)

    def _lost_share(self, node: str, op: Operation) -> str:
        for daemon in op.claimed(share.DAEMON):
            if daemon.data.get("node") == node and not op.alive(daemon):
                return (
                    f"its virtiofsd ended: {share.last_words(boot.daemon_log(op, node)) or 'without a word'}"
                )
        return ""

    def console(self, node: str, op: Operation) -> Path:
        """Where the serial console of a node is kept, over all its boots."""
        return boot.console(op, node)

    def crash(self, node: Node, op: Operation) -> None:
        """Pull the plug: QEMU ends without a word to the guest."""
        machine = self._machine(node, op)
        op.stop(machine, grace=1)
        op.wait(f"end of {node.name}", lambda: not op.alive(machine), timeout=60)

    def restart(self, node: Node, plan: Plan, op: Operation) -> None:
        """Start the node's QEMU again: the same as deploying it."""
        (spec,) = (spec for spec in plan.nodes if spec.name == node.name)
        lans = [network.claim_lan(one.name, op) for one in plan.networks]
        self._start(plan, spec, lans, self._accelerator(plan, op).name, op)

    def block(self, node: Node, op: Operation) -> None:
        """Unplug the node's cards on every network of the deployment; the host still reaches it."""
        self._link(node, op, up=False)

    def unblock(self, node: Node, op: Operation) -> None:
        """Plug them in again."""
        self._link(node, op, up=True)

    def _link(self, node: Node, op: Operation, *, up: bool) -> None:
        for claim in op.claimed(network.LAN):
            card = qemu.card_id(str(claim.data["network"]))
            try:
                qemu.control(self._control(node.name, op), "set_link", name=card, up=up)
            except (OSError, ValueError) as error:
                raise DeployError(
                    f"{node.name}: its QEMU does not answer ({error})", hint="see `nxc status`"
                ) from error

    def _machine(self, node: Node, op: Operation) -> Resource:
        return Resource(kind=QEMU, id=boot.machine_id(op.name, node.name))

    def _control(self, node: str, op: Operation) -> Path:
        return op.runtime / f"{shorten(node)}.qmp"


def share_socket(node: str, op: Operation) -> Path:
    """Where a node's virtiofsd listens."""
    return op.runtime / f"{shorten(node)}.fs"
