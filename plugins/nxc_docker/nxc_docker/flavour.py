"""The flavour ``docker``: every node is a container with a systemd of its own, in docker or podman."""

from __future__ import annotations

import ipaddress
import os
import re
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import evolve

from nxc_core import ConfigError, DeployError, Flavour, NxcError, Operation
from nxc_core.connect import Connection
from nxc_core.model import (
    CLOSURE,
    LAYERS,
    ExecEndpoint,
    Finding,
    Guest,
    Leftover,
    Node,
    NodeDocument,
    NodeSpec,
    NodeState,
    Observation,
    Outcome,
    Plan,
    Resource,
    Role,
)
from nxc_docker import compose, containers, export, failures, images, leftovers, wishes
from nxc_docker import engine as engines
from nxc_docker.check import check_engine, require_room
from nxc_docker.compose import Model
from nxc_docker.connection import EngineConnection
from nxc_docker.containers import CONTAINER, NETWORK, VOLUME, Found
from nxc_docker.engine import Engine
from nxc_docker.options import DockerOptions
from nxc_docker.profile import Profile, flags
from nxc_docker.routes import local_subnets

SHUTDOWN = 30.0
"""Seconds in which a node must have gone down in good order; then its power is cut."""
STARTING = 60.0
PACE = 0.02
"""Seconds per node between looks at booting consoles, so that looking costs a tenth of a processor."""
AWAKE = b"nxc: this is "
CONSOLE_LINES = 20_000
_ELSE = "use the flavour vm or vm-ramdisk"


class Docker(Flavour[DockerOptions]):
    """Stateless but for when it last looked: what exists is labelled in the engine, and in the journal."""

    name = "docker"
    accepts = (CLOSURE, LAYERS)
    exports = export.EXPORTS
    options_type = DockerOptions
    gives = frozenset({"net-admin", "namespaced-sysctl", "reboot", "console"})
    lacks: ClassVar[dict[str, str]] = {
        "kernel": f"a container shares this machine's kernel: {_ELSE}",
        "kernel-modules": f"a container shares this machine's kernel and its modules: {_ELSE}",
        "mount": f"a container may not mount file systems: {_ELSE}, or give it the folder by dockerVolumes",
        "sysctl": f"only network and IPC sysctls are a container's own, this is the machine's: {_ELSE}",
        "shared-dirs": f"a container gets folders of this machine by dockerVolumes alone: do so, or {_ELSE}",
        "time": f"a container has this machine's clock: {_ELSE}",
    }
    report: ClassVar[tuple[str, ...]] = ("cat", "/run/nxc/ready")
    patience = 120.0

    def __init__(self, options: DockerOptions) -> None:
        super().__init__(options)
        if options.self_contained:
            self.accepts = (images.ARCHIVE, LAYERS)
        self._since: dict[str, float] = {}
        self._looked: dict[str, float] = {}
        self._pace = PACE

    @property
    def guest(self) -> Guest:
        """A system without kernel, card or sshd of its own: the engine is the way in."""
        return Guest(
            ssh=False, console=None, kernel=False, root="container", seed="mount", lean=self.options.lean
        )

    def check(self, op: Operation) -> Sequence[Finding]:
        """The engine, its control groups, and for how many nodes there is room."""
        return check_engine(self.options)

    def vet(self, roles: Sequence[Role], op: Operation) -> None:
        """Refuse ports, folders and limits that no container can have."""
        wishes.vet(roles)
        if engines.find_url(self.options.url).startswith("unix://"):
            for role in roles:
                _vet_sources(role)

    def taken(self, op: Operation) -> Collection[str]:
        """The subnets of the engine's networks, and what this machine has routes to."""
        engine = engines.connect(self.options)
        with failures.translated("asking the engine for its networks", url=engine.url):
            pools = [
                pool.get("Subnet")
                for network in engine.api.networks()
                for pool in (network.get("IPAM") or {}).get("Config") or ()
            ]
        return [subnet for subnet in pools if subnet] + local_subnets()

    def seed(self, document: NodeDocument) -> NodeDocument:
        """Leave the card to the engine; its network speaks IPv4."""
        hosts = {name: tuple(a for a in found if _is_ipv4(a)) for name, found in document.hosts.items()}
        return evolve(document, interfaces=(), hosts=hosts)

    # Deploying: claim, create, report. Called again after an interruption, it goes on with what is there.

    def deploy(self, plan: Plan, op: Operation) -> None:
        """Send images, make the network, and start a container per node."""
        engine = self._engine(op)
        present = containers.list_containers(engine, plan.deployment, op) if op.claimed(CONTAINER) else {}
        running = [one for one in present.values() if one.state == "running"]
        require_room(len(plan.nodes) - len(running), engine.profile, lean=self.options.lean)
        self._say(plan, engine.profile, op)
        tags = images.ensure(plan, engine, op)
        model = self._model(plan, tags, engine, op)
        self._write_compose(model, plan, tags, engine, op)
        network = containers.make_network(model, engine, op)
        containers.make_volumes(model, engine, op)
        self._pace = PACE * len(plan.nodes)

        def start(spec: NodeSpec) -> None:
            op.check_cancelled()
            self._start(spec, plan, model, network, engine, op, present)

        op.map(start, plan.nodes)

    def _say(self, plan: Plan, profile: Profile, op: Operation) -> None:
        """Say aloud which rights are given beyond the least."""
        op.step(f"using {profile.spelled}", engine=profile.engine)
        if profile.privileged:
            op.step("containers are privileged: they have all rights over this machine", topic="warning")
        if plan.artifact.kind == CLOSURE and not profile.local:
            raise ConfigError(
                "the engine is on another machine, which has not this one's Nix store",
                hint="put the store into the image: -o docker.self_contained=true",
            )
        for role in plan.roles.values():
            wanted = [need.option for need in role.needs if need.need == "net-admin"]
            if wanted:
                op.step(f"role {role.name} gets CAP_NET_ADMIN, for {', '.join(wanted)}")

    def _model(self, plan: Plan, tags: Mapping[str, str], engine: Engine, op: Operation) -> Model:
        """Say what is to run; an engine that only promises writable control groups is tried."""
        profile = engine.profile
        model = self._spell(plan, tags, profile, op, bind_seed=not self._copies(profile))
        if profile.writable_cgroups and not containers.takes_writable_cgroups(
            next(iter(tags.values())), model, engine
        ):
            profile = evolve(profile, writable_cgroups=False)
            model = self._spell(plan, tags, profile, op, bind_seed=not self._copies(profile))
        return model

    def _spell(
        self, plan: Plan, tags: Mapping[str, str], profile: Profile, op: Operation, *, bind_seed: bool
    ) -> Model:
        return compose.model(
            plan,
            tags,
            flags(profile),
            folder=op.dir,
            podman=profile.engine == "podman",
            bind_seed=bind_seed,
            memory=self._memory,
        )

    @property
    def _memory(self) -> int | None:
        return None if self.options.memory is None else wishes.read_size(self.options.memory)

    def _copies(self, profile: Profile) -> bool:
        """Whether node.json is copied in: a mount would show other files, or another owner than root."""
        if self.options.seed != "auto":
            return self.options.seed == "copy"
        mine = os.getuid() == 0 or profile.rootless
        return not profile.local or profile.remapped or not mine

    def _write_compose(
        self, model: Model, plan: Plan, tags: Mapping[str, str], engine: Engine, op: Operation
    ) -> None:
        if self._copies(engine.profile):
            model = self._spell(plan, tags, engine.profile, op, bind_seed=True)
        (op.dir / compose.COMPOSE_FILE).write_text(compose.to_compose(model, op.dir), encoding="utf-8")

    def _start(
        self,
        spec: NodeSpec,
        plan: Plan,
        model: Model,
        network: str,
        engine: Engine,
        op: Operation,
        present: Mapping[str, Found],
    ) -> None:
        service = model.service(spec.name)
        seed = plan.documents[spec.name] if self._copies(engine.profile) else None
        before = present.get(service.name)
        try:
            containers.boot(service, model, network, engine, op, present=before, seed=seed)
        except failures.EngineLost:
            raise
        except DeployError as error:
            cause = f"{error.message} ({error.hint})" if error.hint else error.message
            op.outcome(Outcome(node=spec.name, state=NodeState.FAILED, cause=cause))
            return
        op.node(self._node(spec, service.name, service.address, engine))

    def _node(self, spec: NodeSpec, container: str, address: str, engine: Engine) -> Node:
        prefix = (*engine.program, "exec", "-i", container)
        facts = {"engine": engine.url, "container": container, "address": address}
        return Node(name=spec.name, role=spec.role, endpoint=ExecEndpoint(prefix=prefix), facts=facts)

    # Giving back: each may be gone already or never have existed.

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        """Remove containers at once, for nothing in them is to be kept; then network and volumes.

        Images stay, for the next deployment; ``nxc clean`` takes them.
        """
        gone = [one for one in resources if one.kind not in (CONTAINER, NETWORK, VOLUME)]
        by_url: dict[str, list[Resource]] = {}
        for one in resources:
            if one.kind in (CONTAINER, NETWORK, VOLUME):
                by_url.setdefault(str(one.data.get("url") or ""), []).append(one)
        for url, held in by_url.items():
            gone += self._release(held, engines.connect(self.options, url=url or None), op)
        return gone

    def _release(self, held: Sequence[Resource], engine: Engine, op: Operation) -> list[Resource]:
        names = [one.id for one in held if one.kind == CONTAINER]
        away: set[str] = set()
        if names:
            away |= set(
                containers.remove_containers(
                    names,
                    engine,
                    op.name,
                    op,
                    lambda found: self._save_console(found.node, found.id, engine, op),
                )
            )
        gone = [one for one in held if one.kind == CONTAINER and one.id in away]
        for one in held:
            if one.kind == NETWORK:
                containers.remove_network(one.id, engine, op.name, op)
                gone.append(one)
            if one.kind == VOLUME:
                containers.remove_volume(one.id, engine, op.name, op)
                gone.append(one)
        return gone

    # Looking and acting from outside

    def awake(self, node: Node, op: Operation) -> bool:
        """Whether the console says that the node knows who it is."""
        now = time.monotonic()
        if now - self._looked.get(node.name, 0.0) < self._pace:
            return False
        self._looked[node.name] = now
        try:
            said = containers.logs(_container(node), self._of(node), since=self._since.get(node.name))
        except failures.TROUBLE:
            return True  # asking tells what is wrong
        return AWAKE + node.name.encode() in said

    def observe(self, node: Node, op: Operation) -> Observation:
        """Whether the container runs, and how it ended where it does not."""
        return containers.look(_container(node), self._of(node))

    def connect(self, node: Node, op: Operation) -> Connection | None:
        """Talk through the engine's API."""
        return EngineConnection(self._of(node), _container(node), op.cancel)

    def console(self, node: str, op: Operation) -> Path:
        """Where the console is kept; written anew while the engine has it."""
        known = op.journal.nodes().get(node)
        if known is not None:
            with_engine = self._reachable(known)
            if with_engine is not None:
                self._save_console(node, _container(known), with_engine, op)
        return _log(node, op)

    def _reachable(self, node: Node) -> Engine | None:
        try:
            return self._of(node)
        except NxcError:
            return None

    def _save_console(self, node: str, container: str, engine: Engine, op: Operation) -> None:
        try:
            content = containers.logs(container, engine, tail=CONSOLE_LINES)
        except failures.TROUBLE:
            return  # what was kept before stays
        path = _log(node, op)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(re.sub(rb"\r+\n", b"\n", content))  # the terminal adds a return to systemd's own

    # Power and links

    def crash(self, node: Node, op: Operation) -> None:
        """Kill every process of the node."""
        engine, name = self._of(node), _container(node)
        with failures.translated(f"killing {node.name}", url=engine.url):
            containers.signal(name, "SIGKILL", engine)
        op.wait(f"end of {node.name}", lambda: not self.observe(node, op).alive, timeout=SHUTDOWN)

    def restart(self, node: Node, plan: Plan, op: Operation) -> None:
        """Start the node's container again, its files as they were; one that is gone is made anew."""
        engine, name = self._of(node), _container(node)
        self._start_again(node, engine, op)
        if not self.observe(node, op).alive and name not in containers.list_containers(engine, op.name, op):
            self.deploy(plan, op)
            return
        op.node(node)

    def reboot(self, node: Node, op: Operation) -> None:
        """Tell systemd to go down in good order, and start it again: no container may reboot by itself."""
        engine, name = self._of(node), _container(node)
        with failures.translated(f"shutting down {node.name}", url=engine.url):
            containers.signal(name, compose.STOP_SIGNAL, engine)
        try:
            op.wait(f"shutdown of {node.name}", lambda: not self.observe(node, op).alive, timeout=SHUTDOWN)
        except DeployError:
            self.crash(node, op)
        self._start_again(node, engine, op)

    def _start_again(self, node: Node, engine: Engine, op: Operation) -> None:
        with failures.translated(f"starting {node.name} again", url=engine.url):
            self._since[node.name] = containers.start_again(_container(node), engine)
        self._looked.pop(node.name, None)

    def block(self, node: Node, op: Operation) -> None:
        """Take the node out of its network; the engine still reaches it."""
        engine = self._of(node)
        with failures.translated(f"cutting {node.name} off", url=engine.url):
            containers.unplug(_container(node), self._network(node, op), engine)

    def unblock(self, node: Node, op: Operation) -> None:
        """Put it into its network again, with the same address."""
        engine = self._of(node)
        with failures.translated(f"joining {node.name} again", url=engine.url):
            address = str(node.facts["address"])
            containers.plug(_container(node), self._network(node, op), address, node.name, engine)

    def _network(self, node: Node, op: Operation) -> str:
        return containers.find_network(op.name, self._of(node), op)

    # Beside a deployment

    def export(self, plan: Plan, folder: Path, op: Operation) -> None:
        """Write compose file and images, for machines with control groups as this one's."""
        export.write(
            plan,
            folder,
            cgroup=export.local_cgroup(),
            privileged=self.options.privileged,
            memory=self._memory,
            op=op,
        )

    def leftovers(self, op: Operation) -> Sequence[Leftover]:
        """What lost deployments have left in the engine, and images that nothing uses."""
        try:
            return leftovers.find(engines.connect(self.options))
        except NxcError:
            return ()

    def sweep(self, leftover: Sequence[Leftover], op: Operation) -> Sequence[Leftover]:
        """Remove them."""
        return leftovers.sweep(leftover, engines.connect(self.options), op)

    # Which engine

    def _engine(self, op: Operation) -> Engine:
        """The engine that this deployment began with, whatever the environment says now."""
        urls = [
            str(one.data["url"])
            for one in op.claimed()
            if one.kind in (NETWORK, CONTAINER) and "url" in one.data
        ]
        return engines.connect(self.options, url=urls[0] if urls else None)

    def _of(self, node: Node) -> Engine:
        return engines.connect(self.options, url=str(node.facts["engine"]))


def _container(node: Node) -> str:
    return str(node.facts["container"])


def _log(node: str, op: Operation) -> Path:
    return op.dir / "log" / f"{node}.log"


def _is_ipv4(address: str) -> bool:
    return ipaddress.ip_address(address).version == 4


def _vet_sources(role: Role) -> None:
    for bind in wishes.volumes(role):
        if bind.volume:
            continue
        try:
            Path(bind.source).stat()
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(
                f"role {role.name}: nxc.container.volumes: {bind.source} does not exist on this machine",
                hint="make it, or correct its name",
            ) from None
        except OSError:
            continue  # not ours to look at; the engine may
