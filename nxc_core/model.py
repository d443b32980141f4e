"""The nouns: frozen documents that pass between the core, bases and flavours. Nothing here acts."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence  # noqa: F401 - attrs resolves Json here
from pathlib import Path
from typing import TypeAlias

from attrs import field, frozen

from nxc_core.composed import (
    CLOSURE as CLOSURE,
    LAYERS as LAYERS,
    NFS_STORE as NFS_STORE,
    RAMDISK as RAMDISK,
    ROOTFS_TAR as ROOTFS_TAR,
    Artifact as Artifact,
    Build as Build,
    BuildRequest as BuildRequest,
    Composition as Composition,
    Container as Container,
    Guest as Guest,
    Json as Json,
    Kind as Kind,
    Layer as Layer,
    Need as Need,
    Role as Role,
    RoleBoot as RoleBoot,
    SeedRoute as SeedRoute,
)


@frozen(kw_only=True)
class Network:
    """A network between nodes. ``members`` gives each node its addresses (IPv4, IPv6 ULA).

    Without a subnet it is the platform's own, whose addresses are as they come.
    """

    name: str
    subnet: str = ""
    subnet6: str = ""
    members: Mapping[str, tuple[str, ...]]


@frozen(kw_only=True)
class Interface:
    """One network card of a node; addresses are with prefix length, as ``10.0.0.2/24``.

    Without ``mac`` it is the only card there is. With ``dhcp`` it asks for what is not given here, and the
    first lease of any card gives it. ``routes`` are spelled ``10.0.0.0/8 via 10.1.0.1``.
    """

    mac: str
    network: str
    addresses: tuple[str, ...] = ()
    gateway: str | None = None
    nameservers: tuple[str, ...] = ()
    dhcp: bool = False
    routes: tuple[str, ...] = ()


@frozen(kw_only=True)
class NodeDocument:
    """A node's identity: ``node.json``, readable by root alone.

    ``hosts`` maps every node's name to its addresses. ``host_key`` is an OpenSSH private key.
    """

    schema: str = "nxc.node/1"
    deployment: str
    instance: str
    node: str
    role: str
    hosts: Mapping[str, tuple[str, ...]] = field(factory=dict)
    interfaces: tuple[Interface, ...] = ()
    host_key: str = field(default="", repr=False)
    authorized_keys: tuple[str, ...] = ()
    parameters: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class Machine:
    """Something that can run a node. Nodes are bound to machines late and may be bound again.

    ``facts`` are the flavour's. Where it gives the addresses, ``names`` among them lists what else the
    machine is called: nodes find it under these names, too.
    """

    name: str
    facts: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class NodeSpec:
    """A node to be: its name, its role, its place in the order, and the machine it is bound to."""

    name: str
    role: str
    index: int
    machine: str


@frozen(kw_only=True)
class Policy:
    """How many ready nodes of each role are enough; by default all of them.

    ``spares`` are machines held beyond what the nodes need; ``retries`` are a node's further tries on the
    same machine, once there is no spare.
    """

    minimum: Mapping[str, int] = field(factory=dict)
    spares: int = 0
    retries: int = 0


@frozen(kw_only=True)
class Plan:
    """One group of nodes to bring up with one flavour.

    ``documents`` are the nodes' node.json files (mode 0600); ``key`` the deployment's private ssh key, there
    where the guest has ssh. ``roles`` says what each role asks. ``all_nodes`` are those of the deployment, of
    which ``nodes`` may be a few; ``machines`` those that a reserving flavour holds and that are fit for use.
    """

    deployment: str
    artifact: Artifact
    nodes: tuple[NodeSpec, ...]
    networks: tuple[Network, ...]
    documents: Mapping[str, Path]
    instances: Mapping[str, str]
    key: Path
    known_hosts: Path
    machines: tuple[Machine, ...] = ()
    parameters: Mapping[str, Json] = field(factory=dict)
    roles: Mapping[str, Role] = field(factory=dict)
    all_nodes: tuple[NodeSpec, ...] = ()
    policy: Policy = Policy()


@frozen(kw_only=True)
class Gateway:
    """A host on the way, which the user's own ssh reaches.

    ``before`` are those on the way to it, as ssh's ProxyJump has them. ``known_hosts`` is a file of host keys
    that counts besides the user's own. All that is behind it shares the connection of the socket ``control``.
    """

    host: str
    user: str = ""
    port: int = 0
    before: str = ""
    known_hosts: Path | None = None
    control: Path | None = None


@frozen(kw_only=True)
class SshEndpoint:
    """Reached by OpenSSH, the host key pinned under ``alias`` in ``known_hosts``."""

    host: str
    port: int
    user: str
    identity: Path
    known_hosts: Path
    alias: str
    control: Path | None = None
    gateway: Gateway | None = None


@frozen(kw_only=True)
class ExecEndpoint:
    """Reached by putting ``prefix`` before the command, as ``nsenter -t 42 -a``."""

    prefix: tuple[str, ...]
    user: str = "root"


Endpoint: TypeAlias = SshEndpoint | ExecEndpoint


@frozen(kw_only=True)
class Node:
    """A node as a driver reports it."""

    name: str
    role: str
    endpoint: Endpoint
    machine: str = ""
    facts: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class Resource:
    """One thing outside nxc, named before it exists. Higher ranks are released first."""

    kind: str
    id: str
    rank: int = 0
    data: Mapping[str, Json] = field(factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """What tells two resources apart."""
        return (self.kind, self.id)


class Status(enum.StrEnum):
    """Of a whole deployment."""

    WAITING = "waiting"
    DEPLOYING = "deploying"
    RUNNING = "running"
    DEGRADED = "degraded"
    FAILED = "failed"
    STOPPED = "stopped"


class NodeState(enum.StrEnum):
    """Of one node."""

    WAITING = "waiting"
    BOOTING = "booting"
    READY = "ready"
    FAILED = "failed"
    LOST = "lost"
    STOPPED = "stopped"


@frozen(kw_only=True)
class Outcome:
    """Where a node has got to, with the cause and the last line seen when that is not ``ready``.

    ``step`` is the one that failed, ``machine`` the one it failed on.
    """

    node: str
    state: NodeState
    cause: str = ""
    last_line: str = ""
    boot_id: str = ""
    machine: str = ""
    step: str = ""


@frozen(kw_only=True)
class Quarantined:
    """A machine that is left out of a deployment, and why."""

    machine: str
    cause: str
    step: str = ""
    last_line: str = ""


@frozen(kw_only=True)
class Group:
    """Roles that share a flavour. A deployment has one group today; hybrid ones will have several."""

    flavour: str
    options: Mapping[str, Json] = field(factory=dict)
    roles: tuple[str, ...] = ()
    build: str = ""


@frozen(kw_only=True)
class Deployment:
    """What ``deployment.json`` says. Options are kept because teardown must talk to the same platform."""

    schema: str = "nxc.deployment/1"
    id: str
    name: str
    composition: Composition
    groups: tuple[Group, ...]
    networks: tuple[Network, ...]
    specs: tuple[NodeSpec, ...]
    instances: Mapping[str, str]
    status: Status = Status.WAITING
    policy: Policy = field(factory=Policy)
    parameters: Mapping[str, Json] = field(factory=dict)
    created: str = ""
    folder: str = ""
    """Where it was made, which tells it from a copy of its folder."""


@frozen(kw_only=True)
class Finding:
    """A line of ``nxc doctor``: with ``ok`` false it stands in the way, unless it is only ``advice``."""

    ok: bool
    subject: str
    detail: str = ""
    hint: str = ""
    advice: bool = False


@frozen(kw_only=True)
class Leftover:
    """Something that a platform still holds for nobody. ``size`` in bytes."""

    what: str
    id: str
    size: int = 0


@frozen(kw_only=True)
class Observation:
    """What a flavour sees of a node from outside: whether it lives, and why and at which step not."""

    alive: bool
    detail: str = ""
    step: str = ""


@frozen(kw_only=True)
class Event:
    """Something worth telling. ``time`` is seconds since the epoch, UTC."""

    time: float
    topic: str
    message: str
    node: str | None = None
    data: Mapping[str, Json] = field(factory=dict)
