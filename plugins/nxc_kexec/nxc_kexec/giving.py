"""Giving machines back: what runs a node is rebooted, what never left its former system is cleared."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from nxc_core import CommandError, Operation
from nxc_core.commands import Completed
from nxc_core.model import Resource
from nxc_kexec.claims import Station, endpoint, hang_up, on_node
from nxc_kexec.former import is_passing
from nxc_kexec.options import KexecOptions
from nxc_kexec.steps import PAUSE, Steps, clear
from nxc_kexec.trouble import Trouble

STEP = "release"
ASKING = 15.0
"""Seconds for one question."""
LIMIT = 128
"""Machines that are given back at the same time."""
GOING = 60.0
"""Seconds that a node may take to go down; then its power is cut in software."""
_UNHEARD = ("ssh: connect to", "kex_exchange_identification", "banner exchange")
"""What ssh says that never got there. Being silent later is then no proof that a node is gone."""
_REBOOT = ("systemctl", "--no-block", "reboot")
_AT_ONCE = ("systemctl", "reboot", "--force", "--force")


def give_back(station: Station, options: KexecOptions, op: Operation) -> Steps[None]:
    """Give a machine back to its former system; returns when nothing of ours is on it for sure.

    Asks node and former system in turn while the machine may be booting either. Raises Trouble.
    """
    if not station.is_held:
        return
    yield station.way.close()
    station.way.control.unlink(missing_ok=True)
    allowed = options.give_back if station.node else min(options.contact, options.give_back)
    end = time.monotonic() + allowed
    told = False
    while True:
        try:
            if station.node and (yield from is_ours(station, op)):
                yield from _send_home(station, options, op)
            else:
                yield from clear(station, op, timeout=ASKING)
            return
        except Trouble as trouble:
            lasting = not (station.node or is_passing(trouble))
            if lasting or time.monotonic() > end:
                raise _kept(trouble, station) from trouble
            if not told:
                op.step(f"waiting up to {allowed:g} s for {station.name}: {trouble.cause}")
            told = True
        yield PAUSE


def give_all_back(stations: Mapping[str, Station], options: KexecOptions, op: Operation) -> list[str]:
    """Give machines back at the same time, and name those that are; of the others it is said why not."""
    names = list(stations)
    try:
        answers = op.flows([give_back(stations[name], options, op) for name in names], limit=LIMIT)
    finally:
        hang_up(stations.values(), gateways=True)
    gone = []
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, Trouble):
            op.step(f"{name}: {answer.told}", topic="warning")
        elif isinstance(answer, Exception):
            raise answer
        else:
            gone.append(name)
    return gone


def remove_shared(resource: Resource) -> bool:
    """Remove the folder that machines read the image from."""
    shutil.rmtree(resource.id, ignore_errors=True)
    return not Path(resource.id).exists()


def is_ours(station: Station, op: Operation) -> Steps[bool]:
    """Ask whether the machine runs the node that was started on it last."""
    ended = yield on_node(
        endpoint(station.way, station.node, op), ("cat", "/run/nxc/instance"), timeout=ASKING
    )
    return isinstance(ended, Completed) and ended.text.strip() == station.instance


def _send_home(station: Station, options: KexecOptions, op: Operation) -> Steps[None]:
    if options.release == "leave":
        op.step(f"{station.name} is left as it is, running {station.node}")
        return
    yield from leave_node(station, op)


def leave_node(station: Station, op: Operation, *, silent_is_gone: bool = False) -> Steps[None]:
    """Reboot a machine out of our node; returns when the node is gone. Raises Trouble.

    One that cannot be told so may be out of reach for a moment, unless ``silent_is_gone``.
    """
    end = endpoint(station.way, station.node, op)
    for order in (_REBOOT, _AT_ONCE):
        ended = yield on_node(end, order, timeout=ASKING)
        if isinstance(ended, CommandError) and ended.code not in (255, None):
            continue
        unheard = isinstance(ended, CommandError) and any(mark in ended.stderr for mark in _UNHEARD)
        if unheard and silent_is_gone:
            return
        late = isinstance(ended, CommandError) and ended.code is None  # nobody knows whether it was heard
        if unheard or late and not silent_is_gone:
            assert isinstance(ended, CommandError)
            raise Trouble(
                step=STEP,
                cause=f"{station.node} cannot be told to reboot",
                hint="`nxc down` again",
                last_line=ended.stderr.strip(),
                machine=station.name,
            )
        silent = time.monotonic() + GOING
        while time.monotonic() < silent:
            yield PAUSE
            if not (yield from is_ours(station, op)):
                return
    raise Trouble(
        step=STEP,
        cause=f"{station.node} does not go down",
        hint="reboot it by hand; then `nxc down` again",
        machine=station.name,
    )


def _kept(trouble: Trouble, station: Station) -> Trouble:
    what = f"it may still run {station.node}" if station.node else f"{station.folder} may still be there"
    return Trouble(
        step=STEP,
        cause=f"{trouble.cause}; {what}",
        hint="switch it off or reboot it, then `nxc down` again",
        last_line=trouble.last_line,
        machine=station.name,
    )
