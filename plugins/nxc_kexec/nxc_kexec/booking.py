"""Which machines a deployment takes: claimed, looked at, judged, held."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from attrs import evolve

from nxc_core import CommandError, ConfigError, Operation
from nxc_core.gateways import is_open, open_gateway
from nxc_core.model import Gateway, Json, Machine, NodeState, Plan
from nxc_kexec import addresses, steps
from nxc_kexec.claims import MACHINE, Station, claim, hang_up
from nxc_kexec.facts import HELD, Facts
from nxc_kexec.former import refusal, resolve
from nxc_kexec.giving import is_ours
from nxc_kexec.images import image_of
from nxc_kexec.machines import LIST, Contact, configured, read_machines
from nxc_kexec.options import KexecOptions
from nxc_kexec.steps import Steps
from nxc_kexec.trouble import Trouble, several

Seen = dict[str, Facts]
T = TypeVar("T")
AT_ONCE = 128
"""Machines that are worked on at the same time: where some hang, the others go on."""


def count(options: KexecOptions, nodes: int, spares: int) -> tuple[Contact, ...]:
    """Return the machines there are; raises ConfigError where they are too few."""
    found = read_machines(options.machines, Path())
    if len(found) < nodes + spares:
        wanted = several(nodes, "node") + (f" and {several(spares, 'spare')}" if spares else "")
        (only,) = options.machines if len(options.machines) == 1 else ("",)
        taken = f": there is no file {only}, so that is a host" if found[0].where == LIST and only else ""
        raise ConfigError(
            f"there {'is' if len(found) == 1 else 'are'} {several(found)} for {wanted}{taken}",
            hint="name more machines (-m), or ask for fewer nodes (-r ROLE=N)"
            + (", or fewer spares (--spare N)" if spares else ""),
        )
    return found


def acquire(options: KexecOptions, plan: Plan, op: Operation) -> None:
    """Claim the first machines of the list that are not quarantined, unless so many are claimed."""
    check_known_hosts(options)
    nodes = len(plan.all_nodes or plan.nodes)
    listed = count(options, nodes, plan.policy.spares)
    unfit = op.journal.quarantined()
    held = [one.id for one in op.claimed(MACHINE)]
    order = sorted(listed, key=lambda one: (one.name in unfit, one.name not in held))
    wanted = order[: nodes + plan.policy.spares]
    found = _configure([one for one in wanted if one.name not in held], options, op)
    for one in found:
        claim(one, op)


def check_known_hosts(options: KexecOptions) -> None:
    """Raise ConfigError where the user's file of host keys is not there."""
    if options.known_hosts and not Path(options.known_hosts).is_file():
        raise ConfigError(
            f"kexec.known_hosts: there is no file {options.known_hosts}",
            hint="make one: `ssh-keyscan HOST > FILE`, once you are sure that nobody stands between",
        )


def _configure(contacts: Sequence[Contact], options: KexecOptions, op: Operation) -> list[Contact]:
    """Ask ssh what its configuration makes of the machines, and whether their names mean anything."""
    found = []
    answers = op.flows([_ask(one) for one in contacts], limit=AT_ONCE)
    for contact, answer in zip(contacts, answers, strict=True):
        if isinstance(answer, Exception):
            raise answer
        added = str(Path(options.known_hosts).absolute()) if options.known_hosts else ""
        found.append(evolve(configured(contact, answer), known_hosts=added))
    _resolve([one for one in found if not one.jump], op)
    return found


def _ask(contact: Contact) -> Steps[str]:
    ended = yield resolve(contact)
    if isinstance(ended, CommandError):
        said = ended.stderr.strip() or ended.message
        raise ConfigError(f"{contact.where}: ssh does not understand {contact.host}: {said}")
    return ended.text


def _resolve(contacts: Sequence[Contact], op: Operation) -> None:
    def known(contact: Contact) -> str:
        op.check_cancelled()  # a name may take long where no server answers
        try:
            socket.getaddrinfo(contact.real, contact.port)
        except (OSError, UnicodeError) as error:
            return str(getattr(error, "strerror", None) or error)
        return ""

    for contact, trouble in zip(contacts, op.map(known, contacts), strict=True):
        if trouble:
            real = f" ({contact.real})" if contact.real != contact.host else ""
            raise ConfigError(
                f"{contact.where}: the name {contact.host}{real} is not known: {trouble}",
                hint="correct it, or write the machine's address",
            )


# Looking


def look_and_hold(options: KexecOptions, plan: Plan, stations: Mapping[str, Station], op: Operation) -> Seen:
    """Contact all machines and look at them; hold those that will do, quarantine the others.

    Machines that run their node by now are left alone.
    """
    unfit = op.journal.quarantined()
    ready = {node for node, one in op.journal.outcomes().items() if one.state is NodeState.READY}
    asked = [one for name, one in stations.items() if name not in unfit and one.node not in ready]
    if not asked:
        return {}
    sizes = {
        name: size
        for role in plan.artifact.roles
        for name, size in image_of(plan.artifact, role).sizes.items()
    }
    op.step(f"looking at {several(asked)}")
    seen: Seen = {}
    try:
        shut = open_gateways(asked, options, op)
        for one, found in _each(asked, [_see(one, options, sizes, shut, op) for one in asked], op):
            if found is not None:
                seen[one.name] = found
        leave_out_twins(seen, op)
        _note(stations, seen, options, op)
        free = [one for one in asked if one.name in seen and seen[one.name].holder != op.name]
        held = [one.name for one, _ in _each(free, [steps.hold(one, options, op) for one in free], op)]
        seen = {name: found for name, found in seen.items() if found.holder == op.name or name in held}
    except BaseException:
        hang_up(asked)
        raise
    few = len(seen) < len(plan.nodes)  # what follows may be the end
    hang_up(one for one in asked if few or one.name not in seen)
    return seen


def leave_out_twins(seen: Seen, op: Operation) -> None:
    """Quarantine what is another machine of the list under a second name: two nodes cannot be on one."""
    names: dict[str, str] = {}
    for name, found in list(seen.items()):
        first = names.setdefault(found.boot, name)
        if first != name:
            del seen[name]
            told = f"facts: it is {first} under another name (they have one boot id)"
            op.quarantine(name, f"{told} (leave it out of the list of machines)", step="facts")


def open_gateways(stations: Sequence[Station], options: KexecOptions, op: Operation) -> dict[str, Trouble]:
    """Open one connection to each host on the way; answers why some cannot be opened.

    Machines behind it cannot say that: ssh keeps to itself what its ProxyCommand says.
    """
    ways = {one.way.gateway: one.way for one in stations}
    closed = [gate for gate in ways if gate and not is_open(gate)]

    def open_one(gate: Gateway) -> Steps[Trouble | None]:
        patience = ways[gate].patience
        if gate.control is not None:
            gate.control.unlink(missing_ok=True)  # of a connection that was killed
        ended = yield open_gateway(gate, timeout=options.contact, patience=patience)
        if not isinstance(ended, CommandError):
            return None
        door = Contact(name=gate.host, host=gate.host, user=gate.user, port=gate.port, jump=gate.before)
        return refusal(ended, "contact", door, options.contact)

    found = zip(closed, op.flows([open_one(gate) for gate in closed]), strict=True)
    return {ways[gate].contact.jump: told for gate, told in found if isinstance(told, Trouble)}


def _each(
    stations: Sequence[Station], flows: Sequence[Steps[T]], op: Operation
) -> Iterator[tuple[Station, T]]:
    """Drive a flow for each machine; one that meets trouble is quarantined."""
    for one, answer in zip(stations, op.flows(flows, limit=AT_ONCE), strict=True):
        if isinstance(answer, Trouble):
            told = f"{answer.step}: {answer.told}"
            op.quarantine(one.name, told, step=answer.step, last_line=answer.last_line)
        elif isinstance(answer, Exception):
            raise answer
        else:
            yield one, answer


def _see(
    station: Station,
    options: KexecOptions,
    sizes: Mapping[str, int],
    shut: Mapping[str, Trouble],
    op: Operation,
) -> Steps[Facts | None]:
    """Look at a machine; None where it runs its node, or may be booting it."""
    if station.node and (yield from is_ours(station, op)):
        return None
    try:
        found = yield from steps.examine(station, options, sizes, op)
        addresses.check_cards(found, station.name)
        return found
    except Trouble as trouble:
        if station.node and trouble.step == "contact":
            return None
        gate = shut.get(station.contact.jump)
        if gate is None or trouble.step != "contact" or is_open(station.way.gateway):
            raise
        raise Trouble(
            step="contact",
            cause=f"the host on the way ({station.contact.jump}): {gate.cause}",
            hint=gate.hint.replace("give key=PATH", "name it for that host in ssh's configuration"),
            last_line=gate.last_line,
            machine=station.name,
        ) from trouble


def _note(stations: Mapping[str, Station], seen: Seen, options: KexecOptions, op: Operation) -> None:
    """Write down what was seen, and that from now on something of ours may be on the machines."""
    known = [(addresses.keep(stations[name], found), found) for name, found in seen.items()]
    left = {*seen, *op.journal.quarantined()}
    told = addresses.describe(known, _addresses_of(one for one in stations.values() if one.name not in left))
    notes: dict[tuple[str, str], dict[str, Json]] = {}
    for name, found in seen.items():
        folder = f"{options.folder}/{HELD}"
        known_now: dict[str, Json] = {"held": True, "folder": folder, "boot": found.boot}
        notes[stations[name].claim.key] = known_now | {"facts": told[name]}
    if notes:
        op.journal.note_all(notes)


def _addresses_of(stations: Iterable[Station]) -> dict[str, str]:
    """Map the addresses by which machines are known from before to their subnets."""
    found = [one.machine().facts for one in stations]
    return {str(facts["address"]): str(facts.get("subnet", "")) for facts in found if facts.get("address")}


def all_machines(stations: Mapping[str, Station]) -> list[Machine]:
    """List the machines that are claimed, in the order of their claims."""
    return [one.machine() for one in stations.values()]
