"""Who is who: names, addresses, keys and node.json."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from nxc_core import identity
from nxc_core.errors import ConfigError
from nxc_core.model import Composition, Deployment, Group, Role
from nxc_example.flavour import LocalFlavour, LocalOptions


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


def test_numbered_names_may_not_meet_a_role_of_that_name() -> None:
    with pytest.raises(ConfigError, match="two nodes are called node1"):
        identity.distribute(composition(Role(name="node", count=2), Role(name="node1")))


@pytest.mark.parametrize("count", [1, 2, 249, 250, 600])
def test_addresses_are_unique_and_private(count: int) -> None:
    found = deployment(Role(name="n", count=count))
    (network,) = found.networks
    fours = [ipaddress.ip_address(a) for a, _ in network.members.values()]
    sixes = [ipaddress.ip_address(a) for _, a in network.members.values()]
    assert len({*fours, *sixes}) == 2 * count
    four, six = ipaddress.IPv4Network(network.subnet), ipaddress.IPv6Network(network.subnet6)
    assert four.is_private
    assert six.subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert all(a in four and a not in (four.network_address, four.broadcast_address) for a in fours)
    assert all(a in six for a in sixes)
    cards = {identity.card(network, found.id, spec).mac for spec in found.specs}
    assert len(cards) == count
    assert all(int(mac[:2], 16) & 3 == 2 for mac in cards), "locally administered, not multicast"


def test_deployments_have_their_own_addresses_and_instances() -> None:
    one, two = (deployment(Role(name="n", count=3), id=f"c-local-{x}") for x in ("aaaaaa", "bbbbbb"))
    assert one.networks[0].subnet6 != two.networks[0].subnet6
    assert not set(one.instances.values()) & set(two.instances.values())


def test_documents_are_private_and_kept(tmp_path: Path) -> None:
    found = deployment(Role(name="server"), Role(name="client"))
    flavour = LocalFlavour(LocalOptions())
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
