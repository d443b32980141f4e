"""Names, addresses and routes of the nspawn flavour's network."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import NoReturn

import pytest

from nxc_core.errors import CommandError
from nxc_core.model import Network
from nxc_nspawn import network

LAN = Network(
    name="lan", subnet="10.81.7.0/24", subnet6="fd00::/64", members={"web": ("10.81.7.1", "fd00::1")}
)
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
"""


def test_cards_have_names_that_the_kernel_takes_and_no_two_share() -> None:
    ids = [f"a-rather-long-composition-nspawn-{n:06x}" for n in range(200)]
    names = {network.link_name(id) for id in ids}
    assert len(names) == 200 and all(len(name) <= 15 for name in names)
    assert max(len(network.card_name(index)) for index in (0, 99999)) <= 15


def test_the_last_usable_address_is_this_machine_s() -> None:
    batch = network.host_batch("x", LAN)
    assert "address replace 10.81.7.254/24" in batch
    assert ipaddress.ip_address("10.81.7.254") == ipaddress.ip_network(LAN.subnet)[-2]


def test_our_end_of_the_cable_is_marked_before_it_is_handed_over() -> None:
    lines = network.keeper_batch("x", 42).splitlines()
    link = network.link_name("x")
    marked = lines.index(f'link set dev {link} alias "{network.link_alias("x")}"')
    assert lines.index(f"link set dev {link} netns 42") > marked


def test_routes_of_this_machine_are_kept_free_but_for_those_to_nearly_everything() -> None:
    assert list(network.routed(ROUTES)) == ["192.0.2.0/24", "172.17.0.0/16"]
    for subnet in network.routed():
        ipaddress.ip_network(subnet)


def test_a_strangers_card_of_our_name_is_not_ours() -> None:
    assert not network.is_ours("never-deployed") and not network.is_strange("never-deployed")
    assert network.remove_link("never-deployed")


@pytest.mark.parametrize("goes", [True, False])
def test_a_card_that_goes_while_it_is_looked_at_is_nobodys(
    goes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network is taken apart some time after the last process in it has ended."""
    cards = tmp_path / "dev"
    cards.write_text(f"Inter-|   Receive\n    lo: 0\n {network.link_name('x')}: 0\n")
    monkeypatch.setattr(network, "_CARDS", cards)

    def fail(argv: tuple[str, ...], **_: object) -> NoReturn:
        if goes:
            cards.write_text("Inter-|   Receive\n    lo: 0\n")
        raise CommandError("Device does not exist", argv=argv, code=1)

    monkeypatch.setattr("nxc_core.process.run", fail)
    assert network.is_strange("x") is not goes
