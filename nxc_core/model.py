"""The nouns: frozen documents that pass between the core, bases and flavours. Nothing here acts."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NewType, TypeAlias

from attrs import field, frozen

Json: TypeAlias = "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]"

Kind = NewType("Kind", str)
"""What files an artifact holds. An open vocabulary: a name fixes the keys of ``Artifact.files``."""

LAYERS = Kind("layers")
"""Ordered layers per role, each a tar and a squashfs; with a kernel, also what boots from them."""
ROOTFS_TAR = Kind("rootfs-tar")
"""``<role>.tar``: one whole root file system per role."""
RAMDISK = Kind("ramdisk")
"""``kernel`` and ``initrd``: everything in memory, the role chosen by ``RoleBoot.cmdline``."""
CLOSURE = Kind("closure")
"""Store paths of a Nix store, one system per role."""
NFS_STORE = Kind("nfs-store")
"""A small ramdisk whose system lives on a shared Nix store."""

SeedRoute: TypeAlias = Literal["mount", "fw_cfg", "cpio", "push"]


@frozen(kw_only=True)
class Guest:
    """What a flavour needs the system inside to provide; a base translates it."""

    init: bool = True
    ssh: bool = True
    console: str | None = None
    kernel: bool = True
    kernel_modules: tuple[str, ...] = ()
    firmware: bool = False
    root: Literal["container", "tmpfs", "ext4"] = "tmpfs"
    seed: SeedRoute = "mount"
    lean: bool = False
    share: Literal["9p", "virtiofs"] | None = None
    """How a guest of kind ``closure`` reaches the host's store."""


@frozen(kw_only=True)
class Need:
    """A composition's option that asks something of the platform, such as ``kernel`` or ``mount``."""

    need: str
    option: str


@frozen(kw_only=True)
class Container:
    """What a role asks of whatever runs its nodes as containers; machines of their own pass it by.

    ``ports`` and ``volumes`` are spelled as docker does, ``memory`` as ``512m``; ``sysctls`` are those that
    every container has of its own.
    """

    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    memory: str | None = None
    cpus: float | None = None
    pids: int | None = None
    sysctls: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Role:
    """One kind of machine; ``hosts`` names its nodes, or ``count`` says how many there are."""

    name: str
    count: int = 1
    hosts: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    container: Container = Container()

    def names(self) -> tuple[str, ...]:
        """Host names of this role: the given ones, else the role's own, numbered from 1 when several."""
        if self.hosts:
            return self.hosts
        if self.count == 1:
            return (self.name,)
        return tuple(f"{self.name}{n}" for n in range(1, self.count + 1))


@frozen(kw_only=True)
class Composition:
    """What a composition file says that concerns nxc itself; the rest stays with the base."""

    name: str
    base: str
    source: Path
    roles: tuple[Role, ...]
    test_script: str | None = None
    warnings: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(factory=dict)
    """Paths that the test script names and that are elsewhere on this machine, as those of Nix."""


@frozen(kw_only=True)
class Layer:
    """One content-keyed slice of a root file system. ``digest`` is the sha256 of the tar."""

    name: str
    digest: str
    tar: Path
    squashfs: Path | None = None


@frozen(kw_only=True)
class RoleBoot:
    """How one role starts: its layers, lowest first, and where a kernel boots, what the loader needs."""

    layers: tuple[str, ...] = ()
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    init: str | None = None


@frozen(kw_only=True)
class Artifact:
    """What a base made: the files of a kind, and per role how to start it.

    ``layers`` maps the names in ``RoleBoot.layers`` to the layers.
    """

    kind: Kind
    files: Mapping[str, Path] = field(factory=dict)
    roles: Mapping[str, RoleBoot] = field(factory=dict)
    layers: Mapping[str, Layer] = field(factory=dict)

    def paths(self) -> tuple[Path, ...]:
        """Every file this artifact needs, so that cleaning keeps them and a build knows they are there."""
        found = list(self.files.values())
        for boot in self.roles.values():
            found += [path for path in (boot.kernel, boot.initrd) if path is not None]
        for layer in self.layers.values():
            found += [path for path in (layer.tar, layer.squashfs) if path is not None]
        return tuple(dict.fromkeys(found))


@frozen(kw_only=True)
class BuildRequest:
    """What is asked of a base."""

    composition: Composition
    kind: Kind
    guest: Guest
    system: str = "x86_64-linux"
    jobs: int = 2


@frozen(kw_only=True)
class Build:
    """A finished build. ``id`` digests what was made, the guest included; ``fingerprint`` its sources.

    ``reason`` says why this base was taken.
    """

    id: str
    composition: Composition
    base: str
    guest: Guest
    artifact: Artifact
    fingerprint: str = ""
    reason: str = ""
    options: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class Network:
    """A network between nodes. ``members`` gives each node its addresses (IPv4, IPv6 ULA)."""

    name: str
    subnet: str
    subnet6: str
    members: Mapping[str, tuple[str, ...]]


@frozen(kw_only=True)
class Interface:
    """One network card of a node; addresses are with prefix length, as ``10.0.0.2/24``.

    Without ``mac`` it is the only card there is.
    """

    mac: str
    network: str
    addresses: tuple[str, ...] = ()
    gateway: str | None = None
    nameservers: tuple[str, ...] = ()


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
    """Something that can run a node. Nodes are bound to machines late and may be bound again."""

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
class Plan:
    """One group of nodes to bring up with one flavour.

    ``documents`` are the nodes' node.json files (mode 0600); ``key`` the deployment's private ssh key, there
    where the guest has ssh. ``roles`` says what each role asks.
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
    jump: str | None = None


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
    """Where a node has got to, with the cause and the last line seen when that is not ``ready``."""

    node: str
    state: NodeState
    cause: str = ""
    last_line: str = ""
    boot_id: str = ""


@frozen(kw_only=True)
class Group:
    """Roles that share a flavour. A deployment has one group today; hybrid ones will have several."""

    flavour: str
    options: Mapping[str, Json] = field(factory=dict)
    roles: tuple[str, ...] = ()
    build: str = ""


@frozen(kw_only=True)
class Policy:
    """How many ready nodes are enough; by default all of them."""

    minimum: Mapping[str, int] = field(factory=dict)
    spares: int = 0
    retries: int = 0


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
    """What a flavour sees of a node from outside: whether it lives, and why not."""

    alive: bool
    detail: str = ""


@frozen(kw_only=True)
class Event:
    """Something worth telling. ``time`` is seconds since the epoch, UTC."""

    time: float
    topic: str
    message: str
    node: str | None = None
    data: Mapping[str, Json] = field(factory=dict)
