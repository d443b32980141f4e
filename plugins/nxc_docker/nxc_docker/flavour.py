"""The flavour ``docker``: every node is a container with a systemd of its own, in docker or podman."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import evolve

from nxc_core import ConfigError, NxcError, Operation
from nxc_core.model import (
    CLOSURE,
    LAYERS,
    Finding,
    Guest,
    Leftover,
    NodeDocument,
    NodeSpec,
    Plan,
    Resource,
    Role,
)
from nxc_docker import (
    containers,
    engine as engines,
    export,
    failures,
    images,
    launch,
    leftovers as lost,
    wishes,
)
from nxc_docker.check import check_engine, require_room
from nxc_docker.containers import CONTAINER, NETWORK, VOLUME, Found
from nxc_docker.engine import Engine
from nxc_docker.nodes import PACE, Nodes, save_console
from nxc_docker.options import DockerOptions
from nxc_docker.routes import local_subnets

_ELSE = "use the flavour vm or vm-ramdisk"
_FOLDER = "nxc.container.volumes gives it a folder of this machine"


class Docker(Nodes):
    """Containers that need nothing of this machine but its engine."""

    name = "docker"
    accepts = (CLOSURE, LAYERS)
    exports = export.EXPORTS
    options_type = DockerOptions
    gives = frozenset({"net-admin", "namespaced-sysctl", "reboot", "console"})
    lacks: ClassVar[dict[str, str]] = {
        "kernel": f"a container shares this machine's kernel: {_ELSE}",
        "kernel-modules": f"a container shares this machine's kernel and its modules: {_ELSE}",
        "mount": f"a container may not mount file systems: {_FOLDER}, or {_ELSE}",
        "sysctl": f"only network and IPC sysctls are a container's own, this is the machine's: {_ELSE}",
        "shared-dirs": f"a container cannot share folders so: {_FOLDER}, or {_ELSE}",
        "time": f"a container has this machine's clock: {_ELSE}",
    }
    report: ClassVar[tuple[str, ...]] = ("cat", "/run/nxc/ready")

    def __init__(self, options: DockerOptions) -> None:
        super().__init__(options)
        # A privileged node could make a store that it is lent writable, and collect it as garbage.
        if options.self_contained or options.privileged:
            self.accepts = (images.ARCHIVE, LAYERS)

    @property
    def guest(self) -> Guest:
        """A system without kernel, card or sshd of its own: the engine is the way in."""
        return Guest(ssh=False, kernel=False, root="container", seed="mount", lean=self.options.lean)

    def check(self, op: Operation) -> Sequence[Finding]:
        """The engine, its control groups, and for how many nodes there is room."""
        return check_engine(self.options)

    def require(self, op: Operation) -> None:
        """As found by ``check``; that no engine answers is told in its own words."""
        engines.connect(self.options)
        super().require(op)

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
        self.bring_up(plan, [spec.name for spec in plan.nodes], op)

    def bring_up(self, plan: Plan, names: Collection[str], op: Operation) -> None:
        """Make and start the containers of some nodes, and report them."""
        engine = self._engine(op)
        present: dict[str, Found] = {}
        if op.claimed(CONTAINER):
            present = containers.list_containers(engine, plan.deployment, op)
        running = {one.node for one in present.values() if one.state == "running"}
        require_room(len(set(names) - running), engine.profile, lean=self.options.lean)
        launch.say_rights(plan, engine.profile, op)
        prepared = launch.prepare(plan, self.options, engine, op)
        self.pace = PACE * len(plan.nodes)
        wanted = [spec for spec in plan.nodes if spec.name in names]
        room = threading.BoundedSemaphore(engine.profile.width)

        def start(spec: NodeSpec) -> None:
            with room:
                self.watch(spec.name, 0.0, fresh=prepared.start(spec, present, op))

        try:
            op.map(start, wanted)
        except ExceptionGroup as group:
            lost_engine, rest = group.split(failures.EngineLost)
            if lost_engine is None or rest is not None:
                raise
            raise lost_engine.exceptions[0] from None  # all say the same

    def _engine(self, op: Operation) -> Engine:
        """The engine that this deployment began with, whatever the environment says now."""
        held = [one for one in op.claimed() if one.kind in (NETWORK, CONTAINER)]
        urls = [str(one.data["url"]) for one in held if "url" in one.data]
        return engines.connect(self.options, url=urls[0] if urls else None)

    # Giving back: each may be gone already or never have existed.

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        """Remove containers at once, for nothing in them is to be kept; then network and volumes.

        Images stay, for the next deployment; ``nxc clean`` takes them.
        """
        gone = [one for one in resources if one.kind not in (CONTAINER, NETWORK, VOLUME)]
        held = [one for one in resources if one.kind in (CONTAINER, NETWORK, VOLUME)]
        for url in dict.fromkeys(str(one.data.get("url") or "") for one in held):
            engine = engines.connect(self.options, url=url or None)
            here = [one for one in held if str(one.data.get("url") or "") == url]
            gone += self._release(here, engine, op)
        return gone

    def _release(self, held: Sequence[Resource], engine: Engine, op: Operation) -> list[Resource]:
        names = [one.id for one in held if one.kind == CONTAINER]

        def keep_console(found: Found) -> None:
            save_console(found.node, found.id, engine, op)

        away = set(containers.remove_containers(names, engine, op.name, op, keep_console)) if names else set()
        for one in held:
            if one.kind == VOLUME:
                containers.remove_volume(one.id, engine, op.name, op)
        for one in held:  # last, for it is what an engine may refuse
            if one.kind == NETWORK:
                containers.remove_network(one.id, engine, op.name, op)
        return [one for one in held if one.kind != CONTAINER or one.id in away]

    # Beside a deployment

    def export(self, plan: Plan, folder: Path, op: Operation) -> None:
        """Write compose file and images."""
        export.write(
            plan,
            folder,
            cgroup=export.choose_cgroup(self.options.cgroup),
            privileged=self.options.privileged,
            memory=launch.memory(self.options),
            op=op,
        )

    def leftovers(self, op: Operation) -> Sequence[Leftover]:
        """What lost deployments have left in the engine, and images that nothing uses."""
        try:
            return lost.find(engines.connect(self.options))
        except NxcError:
            return ()

    def sweep(self, leftovers: Sequence[Leftover], op: Operation) -> Sequence[Leftover]:
        """Remove them."""
        return lost.sweep(leftovers, engines.connect(self.options), op)


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
