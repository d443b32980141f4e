"""From held machines to nodes that boot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from nxc_core import DeployError, Operation
from nxc_core.model import Artifact, Json, Node, NodeDocument, NodeSpec, NodeState, Outcome, Plan
from nxc_core.state import load
from nxc_kexec import giving, identity, images, steps
from nxc_kexec.booking import AT_ONCE, Seen
from nxc_kexec.claims import Station, hang_up, make_node
from nxc_kexec.facts import Facts
from nxc_kexec.images import Image
from nxc_kexec.options import KexecOptions
from nxc_kexec.settling import digest_hosts
from nxc_kexec.steps import Steps
from nxc_kexec.trouble import Trouble, several
from nxc_kexec.watch import Watch

T = TypeVar("T")


@frozen(kw_only=True, eq=False)
class Job:
    """A node to be started on a machine."""

    spec: NodeSpec
    station: Station
    document: Path
    instance: str


def deploy(
    options: KexecOptions,
    plan: Plan,
    stations: Mapping[str, Station],
    seen: Seen,
    watch: Watch,
    op: Operation,
) -> None:
    """Start the plan's nodes on the machines that they are bound to; called again, it goes on."""
    jobs = [
        Job(
            spec=spec,
            station=stations[spec.machine],
            document=plan.documents[spec.name],
            instance=plan.instances[spec.name],
        )
        for spec in plan.nodes
        if spec.machine in stations
    ]
    try:
        start(options, plan.artifact, jobs, seen, watch, op)
    finally:
        hang_up(stations.values())  # spares, too


def start(
    options: KexecOptions,
    artifact: Artifact,
    jobs: Sequence[Job],
    seen: Seen,
    watch: Watch,
    op: Operation,
    *,
    booting: bool = False,
) -> None:
    """Look again where that is needed, bring the image, load and launch."""
    try:
        found = _each(jobs, [_ready(job, options, artifact, seen, op, booting) for job in jobs], op)
        asked = {}
        for job, facts in found.items():
            if facts is None:  # it runs, or is booting
                op.node(make_node(job.spec, job.station, op))
            else:
                asked[job] = facts
        there = _bring(options, artifact, asked, op)
        _note(there, op)
        flows = [_launch(job, facts, options, artifact, watch, op) for job, facts in there.items()]
        _each(list(there), flows, op)
    finally:
        hang_up(job.station for job in jobs)


def _each(jobs: Sequence[Job], flows: Sequence[Steps[T]], op: Operation) -> dict[Job, T]:
    """Drive a flow for each job; one that meets trouble is reported, and left out of what follows."""
    done = {}
    for job, answer in zip(jobs, op.flows(flows, limit=AT_ONCE), strict=True):
        if isinstance(answer, Trouble):
            report(job, answer, op)
        elif isinstance(answer, Exception):
            raise answer
        else:
            done[job] = answer
    return done


def report(job: Job, trouble: Trouble, op: Operation) -> None:
    """Say that a node failed: where, at which step, why, and the way out."""
    op.outcome(
        Outcome(
            node=job.spec.name,
            state=NodeState.FAILED,
            cause=trouble.told,
            last_line=trouble.last_line,
            machine=job.station.name,
            step=trouble.step,
        )
    )


# One node


def _ready(
    job: Job, options: KexecOptions, artifact: Artifact, seen: Seen, op: Operation, booting: bool
) -> Steps[Facts | None]:
    """Return fresh facts of a machine that is ours; None where its node runs, or may be booting."""
    station = job.station
    if station.name in seen:
        return seen[station.name]
    started = station.instance == job.instance and station.node == job.spec.name
    if started and not booting and (yield from giving.is_ours(station, op)):
        return None
    try:
        sizes = images.image_of(artifact, job.spec.role).sizes
        facts = yield from steps.examine(station, options, sizes, op, booting=booting)
    except Trouble as trouble:
        if started and not booting and trouble.step == "contact":
            return None
        raise
    op.note(station.claim, held=True, boot=facts.boot)
    if facts.holder != op.name:
        yield from steps.hold(station, options, op)
    return facts


def _bring(
    options: KexecOptions, artifact: Artifact, asked: Mapping[Job, Facts], op: Operation
) -> dict[Job, Facts]:
    """Bring each job its image, one broadcast for all that have the same; returns those that got it."""
    there: dict[Job, Facts] = {}
    groups: dict[Image, list[Job]] = {}
    for job in asked:
        groups.setdefault(images.image_of(artifact, job.spec.role), []).append(job)
    for image, jobs in groups.items():
        size = sum(image.sizes.values()) >> 20
        op.step(f"bringing the image ({size} MiB) to {several(jobs)}")
        digests = image.digests()
        if options.shared:
            folder = images.publish(image, options, op)
            flows = [images.take(job.station, folder, image, digests, options) for job in jobs]
            got = list(_each(jobs, flows, op))
        else:
            lost = images.spread(image, {job.station: asked[job] for job in jobs}, digests, options, op)
            for job in jobs:
                if job.station.name in lost:
                    report(job, lost[job.station.name], op)
            got = [job for job in jobs if job.station.name not in lost]
        there |= {job: asked[job] for job in got}
    return there


def _note(jobs: Iterable[Job], op: Operation) -> None:
    """Write down which node each machine may run from now on."""
    notes: dict[tuple[str, str], dict[str, Json]] = {}
    for job in jobs:
        hosts = digest_hosts(load(job.document, NodeDocument))
        notes[job.station.claim.key] = {"node": job.spec.name, "instance": job.instance, "hosts": hosts}
    if notes:
        op.journal.note_all(notes)


def _launch(
    job: Job, facts: Facts, options: KexecOptions, artifact: Artifact, watch: Watch, op: Operation
) -> Steps[None]:
    """Load and start a node; it is reported as soon as it can be tried."""
    name, station = job.spec.name, job.station
    media = images.media_of(artifact, job.spec.role, options)
    op.step(f"loading its kernel on {station.name}", node=name)
    archive = identity.pack(job.document, media.sizes[media.initrd])
    try:
        yield from steps.load(station, facts, media, archive, options)
    except Trouble:
        if not station.node:  # else what was started there before may come up yet
            op.note(station.claim, node="")
        raise
    op.step(f"starting it on {station.name}", node=name)
    yield from steps.launch(station, facts, options)
    watch.launched(name)
    op.node(make_node(job.spec, station, op))


# Again


def again(
    options: KexecOptions, artifact: Artifact, node: Node, station: Station, watch: Watch, op: Operation
) -> None:
    """Reboot a machine through its firmware into its former system, and start the same node there again."""
    op.step(f"rebooting {station.name} into its former system", node=node.name)
    (answer,) = op.flows([giving.leave_node(station, op, silent_is_gone=True)])
    if isinstance(answer, Exception):
        raise answer
    document = op.dir / "nodes" / node.name / "node.json"
    job = Job(
        spec=NodeSpec(name=node.name, role=node.role, index=0, machine=station.name),
        station=station,
        document=document,
        instance=load(document, NodeDocument).instance,
    )
    op.step(f"waiting up to {options.reboot:g} s for the former system", node=node.name)
    start(options, artifact, [job], {}, watch, op, booting=True)
    outcome = op.journal.outcomes().get(node.name)
    if outcome is not None and outcome.state is NodeState.FAILED:
        raise DeployError(f"{node.name} on {station.name}: {outcome.cause}", hint="see the machine's console")
