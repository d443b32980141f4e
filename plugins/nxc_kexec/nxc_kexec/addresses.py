"""By which address each node is known to the others: that of its machine."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence

from attrs import evolve

from nxc_core import ConfigError
from nxc_core.model import Json, Machine, Network, NodeSpec
from nxc_core.state import unstructure
from nxc_kexec.cards import LAN, carry_over, known_networks, own_networks
from nxc_kexec.claims import Station
from nxc_kexec.facts import STEP, Facts
from nxc_kexec.machines import Contact
from nxc_kexec.trouble import Trouble

Known = Sequence[tuple[Contact, Facts]]
_NAME = re.compile(r"^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")


def keep(station: Station, facts: Facts) -> Contact:
    """Have a machine keep the address that its node has had, as long as it is still the machine's."""
    former = str(station.machine().facts.get("address", ""))
    if station.contact.address or former not in {address for address, _ in known_networks(facts)}:
        return station.contact
    return evolve(station.contact, address=former)


def check_cards(facts: Facts, machine: str) -> None:
    """Raise Trouble where what a machine says of its cards cannot be understood: the others go on."""
    try:
        carry_over(facts)
        list(known_networks(facts))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Trouble(
            step=STEP,
            cause=f"what it says of its network cards makes no sense ({type(error).__name__}: {error})",
            hint="see `ip -j address` and `ip -j route` there",
            machine=machine,
        ) from error


def choose_addresses(known: Known, others: Mapping[str, str] | None = None) -> dict[str, str]:
    """Choose one address for each machine, all of them different; raises ConfigError where there is no way.

    Given ones first; then those in the subnet of the ``others``, which have their address (with its subnet)
    from before; then those at which ssh reached the machines, unless some share one, as behind a NAT; then
    those in a subnet that all have.
    """
    taken = dict(others or {})
    found = {contact.name: contact.address for contact, _ in known if contact.address}
    rest = [(contact, facts) for contact, facts in known if not contact.address]
    for chosen in (_near(rest, set(taken.values())), _served(rest), _shared(rest)):
        if len({*chosen.values(), *found.values(), *taken}) == len(known) + len(taken):
            return found | chosen
    twice = sorted({one for one in found.values() if list(found.values()).count(one) > 1})
    if twice:
        raise ConfigError(f"address={twice[0]} is given to several machines", hint="each must have its own")
    served = ", ".join(f"{contact.name} {facts.server or '?'}" for contact, facts in rest[:4])
    raise ConfigError(
        f"no addresses are found by which nodes could reach each other: ssh reached {served}"
        f"{', ...' if len(rest) > 4 else ''}, and no subnet has an address of each",
        hint="give each machine's own: address=IP in the machine file",
    )


def _near(known: Known, subnets: Collection[str]) -> dict[str, str]:
    """Return the addresses in the one subnet there is."""
    return {
        contact.name: address
        for contact, facts in known
        for address, network in own_networks(facts)
        if len(subnets) == 1 and network in subnets
    }


def _served(known: Known) -> dict[str, str]:
    return {c.name: facts.server for c, facts in known if facts.server and "%" not in facts.server}


def _shared(known: Known) -> dict[str, str]:
    if not known:
        return {}
    held = {contact.name: list(own_networks(facts)) for contact, facts in known}
    for _, network in next(iter(held.values())):
        chosen = {
            name: next((address for address, one in pairs if one == network), "")
            for name, pairs in held.items()
        }
        if all(chosen.values()) and len(set(chosen.values())) == len(chosen):
            return chosen
    return {}


# What the core is told of the machines


def describe(known: Known, others: Mapping[str, str] | None = None) -> dict[str, dict[str, Json]]:
    """Return the facts of each machine that its node depends on; ``others`` as in ``choose_addresses``."""
    chosen = choose_addresses(known, others)
    own = [facts.name for _, facts in known]
    told: dict[str, dict[str, Json]] = {}
    for contact, facts in known:
        address = chosen[contact.name]
        names = {contact.name, *([facts.name] if own.count(facts.name) == 1 else [])}
        subnet = next((network for one, network in known_networks(facts) if one == address), "")
        told[contact.name] = {
            "address": address,
            "subnet": subnet,
            "names": sorted(name for name in names if _NAME.match(name) and not _is_address(name)),
            "interfaces": [unstructure(one) for one in carry_over(facts, address)],
            "arch": facts.arch,
            "kernel": facts.kernel,
            "memory": facts.memory_total >> 20,
            "boot": facts.boot,
        }
    return told


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def make_network(nodes: Sequence[NodeSpec], machines: Mapping[str, Machine]) -> tuple[Network, ...]:
    """Return the one network of the nodes that have a machine, as the machines' own addresses make it."""
    members = {
        spec.name: (str(machines[spec.machine].facts["address"]),)
        for spec in nodes
        if spec.machine in machines
    }
    subnets = {
        str(machines[spec.machine].facts.get("subnet", "")) for spec in nodes if spec.machine in machines
    }
    subnet = subnets.pop() if len(subnets) == 1 else ""
    six = ":" in subnet
    return (Network(name=LAN, subnet="" if six else subnet, subnet6=subnet if six else "", members=members),)
