"""Starting virtual machines: what one needs, one QEMU at a time, and how many at once."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import evolve

from nxc_core import ConfigError, DeployError, Operation, PreflightError
from nxc_core.model import NodeDocument, NodeSpec, Plan, Resource
from nxc_core.state import load
from nxc_vm import network, qemu
from nxc_vm.options import VmOptions, mebibytes

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


def files(plan: Plan, role: str) -> tuple[Path, Path]:
    """Return kernel and initrd of a role; raises ConfigError where the artifact has none."""
    start = plan.artifact.roles.get(role)
    if start is None or start.kernel is None or start.initrd is None:
        raise ConfigError(
            f"what was built has no kernel and initrd for role {role}", hint="`nxc build` builds it again"
        )
    return start.kernel, start.initrd


# Memory: the kernel holds the packed and the unpacked initrd for a moment, then the unpacked one for good.


def least_memory(initrd: Path) -> int:
    """Return the MiB below which the image cannot boot."""
    return 2 * (initrd.stat().st_size >> 20) + 144


def choose_memory(options: VmOptions, initrd: Path) -> int:
    """Return a node's memory in MiB; raises ConfigError where the image cannot boot in what is asked for."""
    least = least_memory(initrd)
    if options.memory is None:
        return max(1024, least + 512)
    asked = mebibytes(options.memory)
    if asked < least:
        raise ConfigError(
            f"memory={options.memory} is too little: the image needs {least} MiB",
            hint=f"-o vm-ramdisk.memory={least}m or more, or leave the option out",
        )
    return asked


def check_memory(plan: Plan, options: VmOptions, op: Operation) -> None:
    """Raise ConfigError or PreflightError where the nodes cannot fit; warn where they hardly do."""
    needed = sum(choose_memory(options, files(plan, spec.role)[1]) for spec in plan.nodes)
    total, available = host_memory()
    if needed > total:
        raise PreflightError(
            f"{len(plan.nodes)} nodes want {needed} MiB of memory, this machine has {total} MiB",
            hint="start fewer nodes (-r ROLE=N), or give each less (-o vm-ramdisk.memory=512m)",
        )
    if needed > available:
        op.step(f"the nodes may want {needed} MiB of memory; {available} MiB are free now", topic="warning")


def host_memory(source: Path = Path("/proc/meminfo")) -> tuple[int, int]:
    """Return the machine's memory and swap, and what of it is available, in MiB."""
    kibibytes = {}
    for line in source.read_text().splitlines():
        name, _, rest = line.partition(":")
        kibibytes[name] = int(rest.split()[0])
    total = kibibytes["MemTotal"] + kibibytes.get("SwapTotal", 0)
    available = kibibytes.get("MemAvailable", kibibytes["MemFree"]) + kibibytes.get("SwapFree", 0)
    return total >> 10, available >> 10


# One machine


def prepare(
    plan: Plan,
    spec: NodeSpec,
    lans: Sequence[network.Lan],
    accelerator: str,
    options: VmOptions,
    op: Operation,
    control: Path,
) -> qemu.Launch:
    """Gather what a node is started with; its port is claimed."""
    kernel, initrd = files(plan, spec.role)
    document = load(plan.documents[spec.name], NodeDocument)
    macs = {card.network: card.mac for card in document.interfaces}
    return qemu.Launch(
        deployment=plan.deployment,
        node=spec.name,
        kernel=kernel,
        initrd=initrd,
        cmdline=plan.artifact.roles[spec.role].cmdline,
        document=plan.documents[spec.name],
        console=console(op, spec.name),
        control=control,
        port=network.claim_port(spec.name, op),
        lans={macs[lan.network]: lan for lan in lans if lan.network in macs},
        accelerator=accelerator,
        memory=choose_memory(options, initrd),
        cores=options.cores,
        restrict=options.restrict,
        lean=options.lean,
        extra=options.qemu_args,
    )


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
