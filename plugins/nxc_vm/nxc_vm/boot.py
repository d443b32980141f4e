"""Starting virtual machines: what one needs, one QEMU at a time, and how many at once."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import evolve

from nxc_core import DeployError, Operation
from nxc_core.model import NodeSpec, Resource
from nxc_vm import network, qemu, share

QEMU = "vm.qemu"
START_TIMEOUT = 60.0
"""Seconds until QEMU answers on its control socket; the guest has not even begun then."""
PORT_TRIES = 5
SLOT_TIMEOUT = 60.0
"""Seconds after which a node no longer keeps others from starting."""
_PORT_TAKEN = re.compile(r"[Cc]ould not set up host forwarding|[Aa]ddress already in use")


def machine_id(deployment: str, node: str) -> str:
    """Return the id under which a node's QEMU is claimed."""
    return f"{deployment}-{node}"


def console(op: Operation, node: str) -> Path:
    """Where a node's serial console is kept."""
    return op.dir / "log" / f"{node}.log"


def qemu_log(op: Operation, node: str) -> Path:
    """Where what QEMU itself says is kept."""
    return op.dir / "log" / f"{node}.qemu"


def daemon_log(op: Operation, node: str) -> Path:
    """Where what virtiofsd says is kept."""
    return op.dir / "log" / f"{node}.virtiofsd"


# One machine


def power_on(launch: qemu.Launch, op: Operation) -> qemu.Launch:
    """Start a machine unless it runs; another port is taken when the claimed one is not free after all.

    Raises DeployError with QEMU's own words when it does not start.
    """
    refused: list[int] = []
    while True:
        machine = _spawn(launch, op)
        if _comes_up(machine, launch.control, op):
            return launch
        said = qemu.complaint(qemu_log(op, launch.node))
        if not _PORT_TAKEN.search(said) or len(refused) == PORT_TRIES:
            raise DeployError(f"QEMU does not start: {said or 'it said nothing'}")
        refused.append(launch.port)
        launch = evolve(launch, port=network.claim_port(launch.node, op, refused=refused))


def _spawn(launch: qemu.Launch, op: Operation) -> Resource:
    id = machine_id(launch.deployment, launch.node)
    if launch.media.share is not None and not op.alive(Resource(kind=QEMU, id=id)):
        share.serve(launch.media.share, id, launch.node, daemon_log(op, launch.node), op)
    machine = op.claim(QEMU, id, rank=1, node=launch.node, accelerator=launch.accelerator)
    if op.alive(machine):
        return machine
    log = qemu_log(op, launch.node)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    launch.control.unlink(missing_ok=True)
    qemu.mark_boot(launch.console)
    return op.spawn(QEMU, id, qemu.command(launch), log=log, rank=1)


def _comes_up(machine: Resource, control: Path, op: Operation) -> bool:
    """Wait until QEMU answers or has ended."""

    def is_settled() -> bool:
        try:
            qemu.control(control, "query-status", timeout=2)
        except (OSError, ValueError):
            return not op.alive(machine)
        return True

    op.wait(f"QEMU of {machine.data['node']}", is_settled, timeout=START_TIMEOUT)
    return op.alive(machine)


# Many machines


def at_once(accelerator: str, cores: int) -> int:
    """Return how many machines may boot together: more would only make all of them late."""
    processors = len(os.sched_getaffinity(0))
    return max(2, processors * (4 if accelerator == "kvm" else 2) // cores)


def in_waves(
    nodes: Sequence[NodeSpec], limit: int, op: Operation, console: Callable[[str, Operation], Path]
) -> Iterator[list[NodeSpec]]:
    """Yield nodes to start, group by group, once earlier ones have booted, failed, or had their time."""
    waiting = deque(nodes)
    booting: dict[str, float] = {}
    while waiting:
        group = [waiting.popleft() for _ in range(min(limit - len(booting), len(waiting)))]
        if group:
            yield group
            booting |= {spec.name: time.monotonic() + SLOT_TIMEOUT for spec in group}
        op.check_cancelled()
        booting = {
            name: end
            for name, end in booting.items()
            if time.monotonic() < end and not _has_settled(name, op, console(name, op))
        }
        if waiting and len(booting) >= limit:
            op.cancel.wait(0.2)


def _has_settled(node: str, op: Operation, console: Path) -> bool:
    if qemu.is_applied(console) or qemu.cause_of_death(console):
        return True
    return not op.alive(Resource(kind=QEMU, id=machine_id(op.name, node)))
