"""Who is who: names, addresses, keys and node.json."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from nxc_core import identity
from nxc_core.errors import ConfigError, PluginError, PreflightError
from nxc_core.model import Composition, Container, Deployment, Group, Guest, Need, Role
from nxc_example.flavour import LocalFlavour, LocalOptions


class Reachable(LocalFlavour):
    """Its nodes have an ssh server."""

    @property
    def guest(self) -> Guest:
        return Guest()


def composition(*roles: Role) -> Composition:
    return Composition(name="c", base="plain", source=Path("/x/c.toml"), roles=roles)


def deployment(*roles: Role, id: str = "c-local-abc123") -> Deployment:
    found = composition(*roles)
    specs = identity.distribute(found)
    return Deployment(
        id=id,
        name="c",
        composition=found,
        groups=(Group(flavour="local"),),
        networks=identity.make_networks(id, specs),
        specs=specs,
        instances=identity.make_instances(specs),
    )


def test_names_follow_count_and_hosts() -> None:
    specs = identity.distribute(
        composition(
            Role(name="server"), Role(name="client", count=2), Role(name="disk", hosts=("foo", "bar"))
        )
    )
    assert [(s.name, s.role, s.index) for s in specs] == [
        ("server", "server", 0),
        ("client1", "client", 1),
        ("client2", "client", 2),
        ("foo", "disk", 3),
        ("bar", "disk", 4),
    ]


def test_the_command_line_has_the_last_word() -> None:
    roles = (Role(name="server"), Role(name="client", count=2), Role(name="disk", hosts=("foo", "bar")))
    specs = identity.distribute(composition(*roles), {"client": ["a", "b", "c"], "server": 0, "disk": 3})
    assert [s.name for s in specs] == ["a", "b", "c", "disk1", "disk2", "disk3"]


@pytest.mark.parametrize(
    ("wanted", "phrase"),
    [
        ({"klient": 1}, "there is no role klient"),
        ({"client": -1}, "-1 nodes cannot be"),
        ({"client": 0, "server": 0}, "no node at all"),
        ({"client": ["server"]}, "two nodes are called server (roles server and client)"),
        ({"client": ["a", "a"]}, "two nodes are called a"),
        ({"client": ["A"]}, "'A' (role client) is not a host name"),
        ({"client": ["-a"]}, "is not a host name"),
        ({"client": ["a.b"]}, "is not a host name"),
        ({"client": ["a\n"]}, "is not a host name"),
        ({"client": ["x" * 64]}, "is not a host name"),
        ({"client": [""]}, "is not a host name"),
        ({"client": ["../../etc"]}, "is not a host name"),
    ],
)
def test_a_wrong_distribution_is_refused(wanted: dict[str, int | list[str]], phrase: str) -> None:
    with pytest.raises(ConfigError) as told:
        identity.distribute(composition(Role(name="server"), Role(name="client", count=2)), wanted)
    assert phrase in told.value.message
    assert told.value.hint


def test_roles_keep_what_they_ask_when_their_nodes_are_others() -> None:
    role = Role(
        name="client", count=2, needs=(Need(need="mount", option="x"),), container=Container(memory="512m")
    )
    (three,) = identity.redistribute(composition(role, Role(name="gone")), {"client": 3, "gone": 0})
    assert (three.names(), three.needs, three.container) == (
        ("client1", "client2", "client3"),
        role.needs,
        role.container,
    )
    (named,) = identity.redistribute(composition(role), {"client": ["a", "b"]})
    assert (named.names(), named.container) == (("a", "b"), role.container)


def test_numbered_names_may_not_meet_a_role_of_that_name() -> None:
    with pytest.raises(ConfigError, match="two nodes are called node1"):
        identity.distribute(composition(Role(name="node", count=2), Role(name="node1")))


@pytest.mark.parametrize("count", [1, 2, 249, 250, 251, 600])
def test_addresses_are_unique_and_private(count: int) -> None:
    found = deployment(Role(name="n", count=count))
    (network,) = found.networks
    fours = [ipaddress.ip_address(a) for a, _ in network.members.values()]
    sixes = [ipaddress.ip_address(a) for _, a in network.members.values()]
    assert len({*fours, *sixes}) == 2 * count
    four, six = ipaddress.IPv4Network(network.subnet), ipaddress.IPv6Network(network.subnet6)
    assert four.is_private
    assert six.subnet_of(ipaddress.IPv6Network("fd00::/8"))
    nobodys = (four.network_address, four.broadcast_address, four[-2])  # the last usable is the platform's
    assert all(a in four and a not in nobodys for a in fours)
    assert all(a in six for a in sixes)
    cards = {identity.card(network, found.id, spec).mac for spec in found.specs}
    assert len(cards) == count
    assert all(int(mac[:2], 16) & 3 == 2 for mac in cards), "locally administered, not multicast"


def test_deployments_have_their_own_addresses_and_instances() -> None:
    one, two = (deployment(Role(name="n", count=3), id=f"c-local-{x}") for x in ("aaaaaa", "bbbbbb"))
    assert one.networks[0].subnet6 != two.networks[0].subnet6
    assert not set(one.instances.values()) & set(two.instances.values())


def subnet_of(id: str, *taken: str, count: int = 2) -> ipaddress.IPv4Network:
    specs = identity.distribute(composition(Role(name="n", count=count)))
    (network,) = identity.make_networks(id, specs, taken)
    members = [ipaddress.ip_address(four) for four, _ in network.members.values()]
    assert all(member in ipaddress.IPv4Network(network.subnet) for member in members)
    return ipaddress.IPv4Network(network.subnet)


@pytest.mark.parametrize(("count", "length"), [(250, 24), (251, 16)])
def test_taken_subnets_are_passed_by_always_to_the_same_next_one(count: int, length: int) -> None:
    seen: list[str] = []
    for _ in range(60):
        found = subnet_of("d", *seen, "fd00::/8", count=count)
        assert found.prefixlen == length
        assert found == subnet_of("d", *reversed(seen), count=count)
        assert not any(found.overlaps(ipaddress.IPv4Network(one)) for one in seen)
        seen.append(str(found))
    assert subnet_of("d", *seen[:3], count=count) == ipaddress.IPv4Network(seen[3])


def test_a_taken_subnet_may_be_larger_or_smaller_than_ours() -> None:
    first = subnet_of("d")
    assert not subnet_of("d", str(first.supernet(new_prefix=16))).overlaps(first.supernet(new_prefix=16))
    assert subnet_of("d", f"{first[200]}/30") != first
    assert subnet_of("d", f"{first[77]}/24") != first, "with host bits set it is still that subnet"


def test_where_a_whole_pool_is_taken_another_serves() -> None:
    assert subnet_of("d", "10.0.0.0/8").subnet_of(ipaddress.IPv4Network("172.16.0.0/12"))
    last = subnet_of("d", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/17", "192.168.128.0/18")
    assert last.subnet_of(ipaddress.IPv4Network("192.168.192.0/18"))


def test_no_free_subnet_is_an_error_with_a_way_out() -> None:
    with pytest.raises(PreflightError, match="no private subnet is free for 2 nodes") as told:
        subnet_of("d", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    assert "nxc clean" in told.value.hint
    with pytest.raises(PluginError, match="'lan' is taken"):
        subnet_of("d", "lan")
    with pytest.raises(ConfigError, match="65001 nodes do not fit"):
        subnet_of("d", count=65_001)


def test_a_guest_without_ssh_gets_no_keys(tmp_path: Path) -> None:
    found = deployment(Role(name="server"), Role(name="client"))
    documents = identity.write_documents(tmp_path, found, LocalFlavour(LocalOptions()))
    kept = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {"known_hosts", "nodes/server/node.json", "nodes/client/node.json"}
    assert (tmp_path / "known_hosts").read_text() == ""
    document = json.loads(documents["client"].read_text())
    assert (document["host_key"], document["authorized_keys"]) == ("", [])
    assert documents["client"].stat().st_mode & 0o777 == 0o600


def test_documents_are_private_and_kept(tmp_path: Path) -> None:
    found = deployment(Role(name="server"), Role(name="client"))
    flavour = Reachable(LocalOptions())
    documents = identity.write_documents(tmp_path, found, flavour)
    private = [*documents.values(), tmp_path / "key", *tmp_path.glob("nodes/*/host_key")]
    assert len(private) == 5
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in private)
    document = json.loads(documents["server"].read_text())
    assert document["schema"] == "nxc.node/1"
    assert document["instance"] == found.instances["server"]
    assert set(document["hosts"]) == {"server", "client"}
    assert document["authorized_keys"] == [(tmp_path / "key.pub").read_text().strip()]
    assert "PRIVATE KEY" in document["host_key"]
    assert "server.c-local-abc123.nxc ssh-ed25519 " in (tmp_path / "known_hosts").read_text()
    before = {path: path.read_text() for path in private}
    identity.write_documents(tmp_path, found, flavour)
    assert {path: path.read_text() for path in private} == before


def test_half_a_key_pair_is_made_anew(tmp_path: Path) -> None:
    identity.make_key(tmp_path / "key", "c")
    (tmp_path / "key.pub").unlink()
    identity.make_key(tmp_path / "key", "c")
    assert (tmp_path / "key.pub").exists()


def test_keys_and_documents_are_not_spelt_in_messages() -> None:
    from nxc_core.model import NodeDocument

    document = NodeDocument(deployment="d", instance="i", node="n", role="r", host_key="SECRET")
    assert "SECRET" not in repr(document)
