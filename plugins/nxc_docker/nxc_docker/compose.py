"""What the engine is to run, as one pure model: made of a plan, written as a compose file or as API calls."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml
from attrs import evolve, field, frozen
from docker.types import EndpointConfig, HostConfig, IPAMConfig, IPAMPool, Mount, NetworkingConfig

from nxc_core.errors import ConfigError
from nxc_core.model import CLOSURE, NodeSpec, Plan, Role
from nxc_docker import wishes
from nxc_docker.profile import Flags, wrapped
from nxc_docker.wishes import Bind, Port

SEED = "/nxc/node.json"
"""Where a node finds its identity. In /run a mount point could not be replaced later."""
REGISTRATION = "/nxc/registration"
STORE = "/nix/store"
INIT = "/sbin/init"
STOP_SIGNAL = "SIGRTMIN+3"
STOP_GRACE = 30
"""Seconds that a node may take to shut down."""
COMPOSE_FILE = "docker-compose.yaml"

DEPLOYMENT, FOLDER, NODE, OWNER, ROLE, VERSION = (
    f"nxc.{name}" for name in ("deployment", "folder", "node", "owner", "role", "version")
)
"""Labels. Only what carries both ours of ``DEPLOYMENT`` and ``FOLDER`` is ours."""


@frozen(kw_only=True)
class Service:
    """One node. ``memory`` in bytes; ``cgroupns`` None leaves it to the engine."""

    node: str
    role: str
    name: str
    image: str
    command: tuple[str, ...]
    hostname: str
    address: str
    binds: tuple[Bind, ...] = ()
    tmpfs: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    privileged: bool = False
    sysctls: Mapping[str, str] = field(factory=dict)
    ports: tuple[Port, ...] = ()
    labels: Mapping[str, str] = field(factory=dict)
    environment: Mapping[str, str] = field(factory=dict)
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    cgroupns: Literal["host", "private"] | None = None
    stop_signal: str = STOP_SIGNAL
    tty: bool = True


@frozen(kw_only=True)
class NetworkModel:
    """The network that all nodes are in."""

    name: str
    subnet: str
    gateway: str
    labels: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Model:
    """A deployment as the engine is to see it. ``volumes`` are those that are made for it, and go with it."""

    deployment: str
    network: NetworkModel
    services: tuple[Service, ...]
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(factory=dict)

    def service(self, node: str) -> Service:
        """Return a node's."""
        return next(each for each in self.services if each.node == node)


def model(
    plan: Plan,
    images: Mapping[str, str],
    flags: Flags,
    *,
    folder: Path | None,
    podman: bool = False,
    bind_seed: bool = True,
    memory: int | None = None,
) -> Model:
    """Say what is to run. ``images`` gives each role's tag; ``folder`` is the deployment's, None for a copy.

    Without ``bind_seed`` the identity must be put into the container before it starts. ``memory`` is for
    roles that set none.
    """
    labels = {DEPLOYMENT: plan.deployment, VERSION: version("nxc-docker")}
    if folder is not None:
        labels |= {FOLDER: str(folder), OWNER: owner()}
    network = plan.networks[0]
    services = []
    for spec in plan.nodes:
        role = plan.roles.get(spec.role, Role(name=spec.role))
        wanted = tuple(_owned(bind, plan.deployment) for bind in wishes.volumes(role))
        system, command = _system(plan, spec, flags, podman)
        seed = (Bind(source=str(plan.documents[spec.name]), target=SEED, read_only=True),)
        services.append(
            Service(
                node=spec.name,
                role=spec.role,
                name=f"{plan.deployment}-{spec.name}",
                image=images[spec.role],
                command=command,
                hostname=spec.name,
                address=network.members[spec.name][0],
                binds=(*(seed if bind_seed else ()), *system, *flags.binds, *wanted),
                tmpfs=(*flags.tmpfs, *_wrappers(plan, spec)),
                cap_add=(*flags.cap_add, *_capabilities(role)),
                security_opt=flags.security_opt,
                privileged=flags.privileged,
                sysctls=dict(role.container.sysctls),
                ports=wishes.ports(role),
                labels={**labels, NODE: spec.name, ROLE: spec.role},
                memory=wishes.memory(role) or memory,
                cpus=role.container.cpus,
                pids=role.container.pids,
                cgroupns=flags.cgroupns,
            )
        )
    subnet = ipaddress.IPv4Network(network.subnet)
    return Model(
        deployment=plan.deployment,
        network=NetworkModel(
            name=plan.deployment, subnet=network.subnet, gateway=str(subnet[-2]), labels=labels
        ),
        services=tuple(services),
        volumes=tuple(dict.fromkeys(bind.source for each in services for bind in each.binds if bind.volume)),
        labels=labels,
    )


def owner() -> str:
    """Name this user on this machine: an engine may be shared, and others' folders are not seen from here."""
    return f"{os.getuid()}@{socket.gethostname()}"


def _owned(bind: Bind, deployment: str) -> Bind:
    """Name a volume by its deployment, so that two of them do not share it."""
    return evolve(bind, source=f"{deployment}-{bind.source}") if bind.volume else bind


def _capabilities(role: Role) -> tuple[str, ...]:
    return ("NET_ADMIN",) if any(each.need == "net-admin" for each in role.needs) else ()


def _wrappers(plan: Plan, spec: NodeSpec) -> tuple[str, ...]:
    """Where NixOS puts its set-user-id programs: below /run, where engines let nothing be run."""
    boot = plan.artifact.roles.get(spec.role)
    return ("/run/wrappers:exec,suid,mode=755",) if boot is not None and boot.init else ()


def _system(
    plan: Plan, spec: NodeSpec, flags: Flags, podman: bool
) -> tuple[tuple[Bind, ...], tuple[str, ...]]:
    """Return what a node's system has of this machine's files, and the command that starts it."""
    boot = plan.artifact.roles.get(spec.role)
    if boot is None:
        raise ConfigError(f"what was built has no role {spec.role}", hint="`nxc build` builds it again")
    init = boot.init or INIT
    binds: tuple[Bind, ...] = ()
    if plan.artifact.kind == CLOSURE:
        binds, init = _store(plan, init, podman)
    return binds, wrapped((init,)) if flags.wrapper else (init,)


def _store(plan: Plan, init: str, podman: bool) -> tuple[tuple[Bind, ...], str]:
    files = plan.artifact.files
    if "store" not in files:
        raise ConfigError("what was built has no store", hint="`nxc build` builds it again")
    store = files["store"]
    binds = [Bind(source=str(store), target=STORE, read_only=True)]
    if "registration" in files:
        binds.append(Bind(source=str(files["registration"]), target=REGISTRATION, read_only=True))
    if not podman:
        return tuple(binds), init
    # podman knows systemd by the command's name
    real = store / Path(init).relative_to(STORE)
    return (*binds, Bind(source=str(real), target=INIT, read_only=True)), INIT


def to_compose(model: Model, folder: Path) -> str:
    """Write a compose file to lie in ``folder``: files below it are named relative to it.

    Of what both docker-compose 1.29 and compose v2 know; the cgroup namespace is the engine's default.
    """
    network: dict[str, Any] = {
        "name": model.network.name,
        "driver": "bridge",
        "ipam": {
            "driver": "default",
            "config": [{"subnet": model.network.subnet, "gateway": model.network.gateway}],
        },
        "labels": dict(model.network.labels),
    }
    document: dict[str, Any] = {
        "services": {each.node: _compose_service(each, folder) for each in model.services},
        "networks": {"lan": network},
    }
    if model.volumes:
        document["volumes"] = {name: {"name": name, "labels": dict(model.labels)} for name in model.volumes}
    text = yaml.safe_dump(_escaped(document), sort_keys=False, allow_unicode=True, width=1000)
    return f"# Written by nxc; start it with: docker-compose up -d\n{text}"


def _escaped(value: Any) -> Any:
    """Double every dollar, which a compose file takes for a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return value


def _compose_service(service: Service, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {
        "image": service.image,
        "container_name": service.name,
        "hostname": service.hostname,
        "command": list(service.command),
        "tty": service.tty,
        "stop_signal": service.stop_signal,
        "stop_grace_period": f"{STOP_GRACE}s",
        "networks": {"lan": {"ipv4_address": service.address}},
        "volumes": [_compose_mount(bind, folder) for bind in service.binds],
        "tmpfs": list(service.tmpfs),
        "cap_add": list(service.cap_add),
        "security_opt": list(service.security_opt),
        "privileged": service.privileged,
        "sysctls": dict(service.sysctls),
        "ports": [port.text for port in service.ports],
        "environment": dict(service.environment),
        "mem_limit": service.memory,
        "cpus": service.cpus,
        "pids_limit": service.pids,
        "labels": dict(service.labels),
    }
    return {key: value for key, value in found.items() if value}


def _compose_mount(bind: Bind, folder: Path) -> dict[str, Any]:
    source = bind.source
    if not bind.volume and Path(source).is_relative_to(folder):
        source = f"./{Path(source).relative_to(folder)}"
    found: dict[str, Any] = {
        "type": "volume" if bind.volume else "bind",
        "source": source,
        "target": bind.target,
    }
    return {**found, "read_only": True} if bind.read_only else found


def to_create(
    service: Service, model: Model, api_version: str, *, network: str | None = None
) -> dict[str, Any]:
    """Return the arguments for the SDK's ``create_container``.

    The network must be there; its id in ``network`` tells it from others of its name.
    """
    net = network or model.network.name
    host = HostConfig(
        version=api_version,
        network_mode=net,
        mounts=[_mount(bind) for bind in service.binds],
        tmpfs=dict(_options(each) for each in service.tmpfs),
        cap_add=list(service.cap_add),
        security_opt=list(service.security_opt),
        privileged=service.privileged,
        sysctls=dict(service.sysctls),
        port_bindings=_published(service),
        mem_limit=service.memory,
        nano_cpus=round(service.cpus * 10**9) if service.cpus else None,
        pids_limit=service.pids,
        cgroupns=service.cgroupns,
    )
    endpoint = EndpointConfig(version=api_version, aliases=[service.node], ipv4_address=service.address)
    return {
        "image": service.image,
        "name": service.name,
        "hostname": service.hostname,
        "command": list(service.command),
        "detach": True,
        "tty": service.tty,
        "stop_signal": service.stop_signal,
        "stop_timeout": STOP_GRACE,
        "environment": dict(service.environment),
        "labels": dict(service.labels),
        "ports": [(port.inside, port.protocol) for port in service.ports],
        "host_config": host,
        "networking_config": NetworkingConfig({net: endpoint}),  # type: ignore[arg-type]  # its stub lacks the name
        "use_config_proxy": False,
    }


def _mount(bind: Bind) -> Mount:
    kind: Literal["volume", "bind"] = "volume" if bind.volume else "bind"
    return Mount(target=bind.target, source=bind.source, type=kind, read_only=bind.read_only)


def _options(tmpfs: str) -> tuple[str, str]:
    """Split ``target:options``."""
    target, _, options = tmpfs.partition(":")
    return target, options


def _published(service: Service) -> dict[int | str, list[tuple[str, int | None]]]:
    found: dict[int | str, list[tuple[str, int | None]]] = {}
    for port in service.ports:
        key = f"{port.inside}/{port.protocol}"
        found.setdefault(key, []).append((port.address.strip("[]"), port.host))
    return found


def to_network(model: Model) -> dict[str, Any]:
    """Return the arguments for the SDK's ``create_network``."""
    network = model.network
    pool = IPAMPool(subnet=network.subnet, gateway=network.gateway)
    return {
        "name": network.name,
        "driver": "bridge",
        "check_duplicate": True,
        "ipam": IPAMConfig(driver="default", pool_configs=[pool]),
        "labels": dict(network.labels),
    }
