"""Telling nodes that run what has changed since they booted: who is where now."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from attrs import evolve

from nxc_core import CommandError, Operation
from nxc_core.model import NodeDocument, NodeSpec, Plan
from nxc_core.state import load
from nxc_kexec.claims import Station, endpoint, on_node
from nxc_kexec.steps import Steps

APPLY = ("/usr/lib/nxc/nxc-node", "-")
SECONDS = 60.0


def push_changed(plan: Plan, stations: Mapping[str, Station], op: Operation) -> None:
    """Give each node its document once more where others' addresses are not those it started with."""
    stale = [
        spec
        for spec in plan.nodes
        if spec.machine in stations and is_stale(spec, plan, stations[spec.machine])
    ]
    if not stale:
        return
    op.step(f"telling {len(stale)} nodes where the others are now")
    answers = op.flows([_push(spec, plan, stations[spec.machine], op) for spec in stale])
    for spec, answer in zip(stale, answers, strict=True):
        if isinstance(answer, Exception):
            op.step(f"it was not told where the others are now: {answer}", node=spec.name, topic="warning")


def is_stale(spec: NodeSpec, plan: Plan, station: Station) -> bool:
    """Whether the node's document differs from what it was started with, or told last."""
    told = station.claim.data.get("hosts")
    return told is not None and told != digest_hosts(load(plan.documents[spec.name], NodeDocument))


def digest_hosts(document: NodeDocument) -> str:
    """Return what tells one map of hosts from another."""
    text = ";".join(f"{name}={','.join(document.hosts[name])}" for name in sorted(document.hosts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _push(spec: NodeSpec, plan: Plan, station: Station, op: Operation) -> Steps[None]:
    path = plan.documents[spec.name]
    command = on_node(endpoint(station.way, spec.name, op), APPLY, timeout=SECONDS)
    ended = yield evolve(command, stdin=path)
    if isinstance(ended, CommandError):
        raise ended
    op.note(station.claim, hosts=digest_hosts(load(path, NodeDocument)))
