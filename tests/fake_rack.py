"""A flavour whose machines are named by the user: what a machine does is in its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import field, frozen

from nxc_core import Flavour, FlavourEntry, Operation, hookimpl
from nxc_core.model import (
    ExecEndpoint,
    Guest,
    Machine,
    Network,
    Node,
    NodeState,
    Observation,
    Outcome,
    Plan,
    Resource,
)
from tests.fake_plugin import PAPER

NXC_API = 1


@hookimpl
def nxc_flavours() -> Iterator[FlavourEntry]:
    yield FlavourEntry(name="rack", summary="machines that are named", target=f"{__name__}:RackFlavour")


@frozen(kw_only=True)
class RackOptions:
    machines: tuple[str, ...] = field(default=(), metadata={"help": "machines, or a file with one a line"})
    patience: float = field(default=30.0, metadata={"help": "seconds a node may take"})


class RackFlavour(Flavour[RackOptions]):
    """``bad-*`` cannot load, ``dead-*`` returns to its old system, ``mute-*`` hangs, ``far-*`` is unfit."""

    name = "rack"
    accepts = (PAPER,)
    options_type = RackOptions
    gives = frozenset({"mount"})
    report = ("cat", "ready")
    addressing = "platform"

    @property
    def guest(self) -> Guest:
        return Guest(ssh=False)

    def deadline(self, op: Operation) -> float:
        return self.options.patience

    def names(self) -> list[str]:
        given = self.options.machines
        if len(given) == 1 and Path(given[0]).is_file():
            return Path(given[0]).read_text().split()
        return list(given)

    def acquire(self, plan: Plan, op: Operation) -> None:
        for name in self.names():
            op.claim("rack.machine", f"{plan.deployment}/{name}")

    def wait(self, plan: Plan, op: Operation) -> None:
        for name in self.names():
            if name.startswith("far"):
                op.quarantine(name, "no route to host", step="contact")

    def machines(self, plan: Plan, op: Operation) -> Sequence[Machine]:
        return [Machine(name=name) for name in self.names()]

    def networks(self, plan: Plan, op: Operation) -> tuple[Network, ...]:
        names = self.names()
        found = {s.name: (f"10.9.0.{names.index(s.machine) + 1}",) for s in plan.all_nodes if s.machine}
        return (Network(name="site", members=found),)

    def deploy(self, plan: Plan, op: Operation) -> None:
        for spec in plan.nodes:
            if spec.machine.startswith("bad"):
                cause = "kexec is forbidden: the kernel is locked down (lockdown=integrity)"
                state, line = NodeState.FAILED, "kexec: Operation not permitted"
                op.outcome(
                    Outcome(
                        node=spec.name,
                        state=state,
                        cause=cause,
                        last_line=line,
                        machine=spec.machine,
                        step="load",
                    )
                )
                continue
            folder = op.dir / "rack" / spec.machine
            folder.mkdir(parents=True, exist_ok=True)
            if not spec.machine.startswith(("dead", "mute")):
                (folder / "ready").write_text(plan.instances[spec.name] + "\n")
            endpoint = ExecEndpoint(prefix=("env", "-C", str(folder)))
            op.node(Node(name=spec.name, role=spec.role, machine=spec.machine, endpoint=endpoint))

    def observe(self, node: Node, op: Operation) -> Observation:
        if node.machine.startswith("dead"):
            return Observation(alive=False, detail="it returned to its former system", step="return")
        return Observation(alive=(op.dir / "rack" / node.machine).exists(), detail="it is gone")

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        return resources
