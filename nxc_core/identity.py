"""Who is who in a deployment: keys, instance ids, addresses, and the node.json documents."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from nxc_core import process, state
from nxc_core.errors import ConfigError, PluginError, PreflightError
from nxc_core.flavour import Flavour
from nxc_core.model import Composition, Deployment, Interface, Network, NodeDocument, NodeSpec, Plan, Role

POOLS = ("10.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
"""Where subnets are taken from, in this order."""
FEW_NODES, MOST_NODES = 250, 65_000
"""So many nodes get a /24, and so many a /16."""
_HOST = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


def distribute(
    composition: Composition, wanted: Mapping[str, int | Sequence[str]] | None = None
) -> tuple[NodeSpec, ...]:
    """Name the nodes of every role, in order; ``wanted`` overrides counts or names per role.

    Raises ConfigError for an unknown role, a bad or doubled host name, or no node at all.
    """
    roles = {role.name: role for role in composition.roles}
    for name in wanted or {}:
        if name not in roles:
            raise ConfigError(
                f"there is no role {name} in {composition.source}", hint=f"its roles are: {', '.join(roles)}"
            )
    specs: list[NodeSpec] = []
    owner: dict[str, str] = {}
    for role in (_redistributed(role, (wanted or {}).get(role.name)) for role in roles.values()):
        for name in role.names() if role.count or role.hosts else ():
            if not _LABEL.fullmatch(name):
                raise ConfigError(
                    f"{name!r} (role {role.name}) is not a host name",
                    hint="use lower-case letters, digits and inner hyphens, at most 63",
                )
            if name in owner:
                raise ConfigError(
                    f"two nodes are called {name} (roles {owner[name]} and {role.name})",
                    hint=f"give other names, as in -r {role.name}=a,b",
                )
            owner[name] = role.name
            specs.append(NodeSpec(name=name, role=role.name, index=len(specs), machine=name))
    if not specs:
        raise ConfigError(
            "the role distribution gives no node at all", hint="give at least one, as in -r node=1"
        )
    return tuple(specs)


def _redistributed(role: Role, wanted: int | Sequence[str] | None) -> Role:
    if wanted is None:
        return role
    if isinstance(wanted, int):
        if wanted < 0:
            raise ConfigError(f"role {role.name}: {wanted} nodes cannot be", hint="give a number from 0")
        return evolve(role, count=wanted, hosts=())
    return evolve(role, count=len(wanted), hosts=tuple(wanted))


def redistribute(
    composition: Composition, wanted: Mapping[str, int | Sequence[str]] | None = None
) -> tuple[Role, ...]:
    """Return the roles with the nodes that are wanted; those that get none are left out."""
    roles = (_redistributed(role, (wanted or {}).get(role.name)) for role in composition.roles)
    return tuple(role for role in roles if role.count or role.hosts)


def make_networks(
    deployment: str, specs: Sequence[NodeSpec], taken: Collection[str] = ()
) -> tuple[Network, ...]:
    """Address the one network ``lan``: a private IPv4 subnet and an IPv6 ULA (RFC 4193), by deployment id.

    Nodes count from the first address; the last usable one is never a node's: it is the platform's own.
    Raises PreflightError where every subnet meets one of ``taken``.
    """
    digest = hashlib.sha256(deployment.encode()).digest()
    subnet = _find_subnet(digest, len(specs), taken)
    subnet6 = ipaddress.IPv6Network((b"\xfd" + digest[2:7] + b"\x00\x01" + b"\x00" * 8, 64))
    members = {spec.name: (str(subnet[spec.index + 1]), str(subnet6[spec.index + 1])) for spec in specs}
    return (Network(name="lan", subnet=str(subnet), subnet6=str(subnet6), members=members),)


def _find_subnet(digest: bytes, nodes: int, taken: Collection[str]) -> ipaddress.IPv4Network:
    if nodes > MOST_NODES:
        raise ConfigError(f"{nodes} nodes do not fit into one network", hint=f"ask for {MOST_NODES} at most")
    prefix = 24 if nodes <= FEW_NODES else 16
    spans = [(int(one[0]), int(one[-1])) for one in map(_read_subnet, taken) if one is not None]
    start, stride = digest[0] % 64 * 256 + digest[1], 2 * digest[7] + 1  # odd: it comes by all of them
    for pool in map(ipaddress.IPv4Network, POOLS):
        size, count = 1 << (32 - prefix), 1 << max(0, prefix - pool.prefixlen)
        first = start if prefix == 24 else start // 256
        for step in range(count):
            low = int(pool[0]) + (first + step * stride) % count * size
            if not any(low <= last and begin < low + size for begin, last in spans):
                return ipaddress.IPv4Network((low, prefix))
    raise PreflightError(
        f"no private subnet is free for {nodes} nodes: all of {', '.join(POOLS)} is taken on this machine",
        hint="take down what is not needed (`nxc status`, `nxc clean`), or remove networks and routes",
    )


def _read_subnet(text: str) -> ipaddress.IPv4Network | None:
    """Read what a flavour says is taken; IPv6 is passed by, since ours are random."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise PluginError(f"a flavour says that {text!r} is taken: {error}") from error
    return found if isinstance(found, ipaddress.IPv4Network) else None


def make_instances(specs: Sequence[NodeSpec]) -> dict[str, str]:
    """Give every node a random id, by which it proves that it is the one we booted."""
    return {spec.name: secrets.token_hex(16) for spec in specs}


def card(network: Network, deployment: str, spec: NodeSpec) -> Interface:
    """Give a node its card on a network, with a locally administered address of its own."""
    digest = hashlib.sha256(f"{deployment}/{network.name}/{spec.name}".encode()).digest()
    mac = ":".join(f"{byte:02x}" for byte in (0x52, 0x4E, *digest[:4]))
    lengths = (network.subnet.partition("/")[2], network.subnet6.partition("/")[2])
    addresses = tuple(f"{a}/{length}" for a, length in zip(network.members[spec.name], lengths, strict=True))
    return Interface(mac=mac, network=network.name, addresses=addresses)


def make_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair at ``path`` unless it is there, mode 0600."""
    if path.exists() and path.with_name(path.name + ".pub").exists():
        return
    path.unlink(missing_ok=True)
    process.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)), timeout=60)


def alias(deployment: str, node: str) -> str:
    """Return the name under which a node's host key is pinned."""
    return f"{node}.{deployment}.nxc"


def write_documents(folder: Path, deployment: Deployment, flavour: Flavour[Any]) -> dict[str, Path]:
    """Write every node.json (0600), the deployment's key and known_hosts; what exists is kept.

    A node that has its document keeps its host key and instance: an interrupted start goes on with it.
    Where the guest has no ssh there are no keys, and known_hosts is empty.
    """
    ssh = flavour.guest.ssh
    if ssh:
        make_key(folder / "key", f"nxc {deployment.id}")
    hosts = _list_hosts(deployment.networks, deployment.specs)
    ours = flavour.addressing == "nxc"
    nodes = folder / "nodes"
    nodes.mkdir(mode=0o700, exist_ok=True)
    known = ""
    documents = {}
    for spec in deployment.specs:
        place = nodes / spec.name
        place.mkdir(mode=0o700, exist_ok=True)
        if ssh:
            make_key(place / "host_key", spec.name)
            public = " ".join((place / "host_key.pub").read_text().split()[:2])
            known += f"{alias(deployment.id, spec.name)} {public}\n"
        documents[spec.name] = place / "node.json"
        if not ours and documents[spec.name].exists():
            continue  # it has what the platform gave since, which nobody else remembers
        document = NodeDocument(
            deployment=deployment.id,
            instance=deployment.instances[spec.name],
            node=spec.name,
            role=spec.role,
            hosts=hosts,
            interfaces=tuple(card(one, deployment.id, spec) for one in deployment.networks) if ours else (),
            host_key=(place / "host_key").read_text() if ssh else "",
            authorized_keys=((folder / "key.pub").read_text().strip(),) if ssh else (),
            parameters=deployment.parameters,
        )
        state.save(documents[spec.name], flavour.seed(document), mode=0o600)
    state.replace(folder / "known_hosts", known.encode(), mode=0o600)
    return documents


def _list_hosts(networks: Sequence[Network], specs: Sequence[NodeSpec]) -> dict[str, tuple[str, ...]]:
    return {spec.name: tuple(a for one in networks for a in one.members.get(spec.name, ())) for spec in specs}


def rewrite_documents(plan: Plan, flavour: Flavour[Any]) -> None:
    """Tell every node.json the addresses and cards that the platform gives.

    Nodes find each other by their own names, and by those of the machines that run them.
    """
    hosts = _list_hosts(plan.networks, plan.all_nodes)
    machines = {machine.name: machine for machine in plan.machines}
    for spec in plan.all_nodes:
        machine = machines.get(spec.machine)
        more = machine.facts.get("names", ()) if machine else ()
        for name in (spec.machine, *(more if isinstance(more, Sequence) else ())):
            if isinstance(name, str) and _HOST.fullmatch(name) and name.partition(".")[0] != "localhost":
                hosts.setdefault(name, hosts[spec.name])
    for spec in plan.all_nodes:
        path = plan.documents[spec.name]
        document = state.load(path, NodeDocument)
        fresh = flavour.seed(evolve(document, hosts=hosts, interfaces=flavour.interfaces(spec, plan)))
        if fresh != document:
            state.save(path, fresh, mode=0o600)
