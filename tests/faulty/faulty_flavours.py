"""Flavours with one fault each. All but the fault is the example flavour's."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve, field, frozen

from nxc_core import DeployError, Operation, process, spawned
from nxc_core.model import (
    ExecEndpoint,
    Finding,
    Node,
    NodeState,
    Observation,
    Outcome,
    Plan,
    Resource,
)
from nxc_example.flavour import LocalFlavour, LocalOptions

SLEEP = ("sleep", "300")


class Sound(LocalFlavour):
    """No fault: what shows that the others fail by theirs."""

    patience = 60.0


class Unclaimed(Sound):
    """Starts a process that it never claims."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        process.spawn(SLEEP, token=f"{plan.deployment}/unclaimed", log=op.dir / "log" / "unclaimed.log")
        super().deploy(plan, op)


class ClaimsLate(Sound):
    """Creates, then claims."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        token = f"{plan.deployment}/local.process/{plan.deployment}-helper"
        process.spawn(SLEEP, token=token, log=op.dir / "log" / "helper.log")
        op.claim("local.process", f"{plan.deployment}-helper", rank=2)
        super().deploy(plan, op)


class Nameless(Sound):
    """Claims a name that does not tell its deployment."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        op.claim("local.port", "lan")
        super().deploy(plan, op)


class Intolerant(Sound):
    """Cannot release what is gone."""

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        for resource in resources:
            if resource.kind == "local.process" and not op.alive(resource):
                raise DeployError(f"there is no process {resource.id}")
        return super().release(resources, op)


class Speechless(Sound):
    """Releases, and does not say what."""

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        super().release(resources, op)
        return None  # type: ignore[return-value]


class Forgetful(Sound):
    """Releases the first of several."""

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        return super().release(resources[:1], op)


class Selective(Sound):
    """Boots all nodes but the last."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        super().deploy(evolve(plan, nodes=plan.nodes[:-1]), op)


class Reporter:
    """An operation that reports nodes otherwise than the driver does."""

    def __init__(self, op: Operation, change: Callable[[Node], Node]) -> None:
        self._op = op
        self._change = change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._op, name)

    def node(self, node: Node) -> None:
        self._op.node(self._change(node))

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return [fn(item) for item in items]


def _wrapped(node: Node, script: str) -> Node:
    assert isinstance(node.endpoint, ExecEndpoint)
    prefix = ("sh", "-c", script, "sh", *node.endpoint.prefix)
    return evolve(node, endpoint=ExecEndpoint(prefix=prefix))


class Optimist(Sound):
    """Its connections lose exit codes."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        super().deploy(plan, Reporter(op, lambda node: _wrapped(node, '"$@"; exit 0')))  # type: ignore[arg-type]


class Mixer(Sound):
    """Its connections mix standard error into standard output."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        super().deploy(plan, Reporter(op, lambda node: _wrapped(node, '"$@" 2>&1')))  # type: ignore[arg-type]


class Dropper(Sound):
    """Its connections lose empty arguments."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        script = 'for word; do shift; test -z "$word" || set -- "$@" "$word"; done; exec "$@"'
        super().deploy(plan, Reporter(op, lambda node: _wrapped(node, script)))  # type: ignore[arg-type]


class Exhibitionist(Sound):
    """Leaves a copy of node.json that all can read."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        super().deploy(plan, op)
        for spec in plan.nodes:
            copy = op.scratch("nodes") / spec.name / "node.json"
            shutil.copyfile(plan.documents[spec.name], copy)
            copy.chmod(0o644)


class Loud(Sound):
    """Hands node.json over on a command line."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        op.run(("true", *(path.read_text() for path in plan.documents.values())), timeout=10)
        super().deploy(plan, op)


class Unstoppable(Sound):
    """Sleeps where it should wait."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        op.scratch("nodes")
        time.sleep(1)
        super().deploy(plan, op)


class Fragile(Sound):
    """Raises where it should answer a finding."""

    def check(self, op: Operation) -> Sequence[Finding]:
        raise FileNotFoundError("/dev/kvm")


class Picky(Sound):
    """Raises only where its program is missing."""

    def check(self, op: Operation) -> Sequence[Finding]:
        return [Finding(ok=True, subject="bash", detail=process.find_program("bash"))]


class Meddler(Sound):
    """Writes while it checks."""

    def check(self, op: Operation) -> Sequence[Finding]:
        (op.dir / "probe").write_text("probed")
        return ()


class Impostor(Sound):
    """Says itself that its nodes are ready, and they are others."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        for path in plan.documents.values():
            path.write_text(path.read_text().replace('"instance": "', '"instance": "other-'))
        super().deploy(plan, op)
        for spec in plan.nodes:
            op.outcome(Outcome(node=spec.name, state=NodeState.READY))


class Ruthless(Sound):
    """Ends every process of its kind, whosever it is."""

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        family = op.name.rpartition("-")[0]
        for token in spawned.find_all_spawned(f"{family}-").values():
            spawned.stop_spawned(token)
        return super().release(resources, op)


class Undead(Sound):
    """Proves readiness by a file, which outlives the node."""

    report = ("cat", "ready")

    def deploy(self, plan: Plan, op: Operation) -> None:
        super().deploy(plan, op)
        for spec in plan.nodes:
            (op.scratch("nodes") / spec.name / "ready").write_text(plan.instances[spec.name])


class Blind(Sound):
    """Does not see that a node is gone."""

    patience = 1.5

    def observe(self, node: Node, op: Operation) -> Observation:
        return Observation(alive=True)


class Starter(Sound):
    """Cannot go on with what an interrupted start left."""

    def deploy(self, plan: Plan, op: Operation) -> None:
        if op.claimed():
            raise DeployError(f"{plan.deployment} exists already")
        super().deploy(plan, op)


class Stateful(Sound):
    """Keeps in memory what the journal should know."""

    started: ClassVar[set[str]] = set()

    def deploy(self, plan: Plan, op: Operation) -> None:
        self.started.add(plan.deployment)
        super().deploy(plan, op)

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        return super().release(resources, op) if op.name in self.started else ()


class Lazy(Sound):
    """Its restart does nothing."""

    def restart(self, node: Node, plan: Plan, op: Operation) -> None:
        op.node(node)


class Shared(Sound):
    """Writes all consoles into one file."""

    def console(self, node: str, op: Operation) -> Path:
        return op.dir / "log" / "all.log"


@frozen(kw_only=True)
class Helpless(LocalOptions):
    """An option that nobody explains."""

    colour: str = "red"


class Unexplained(Sound):
    """Has an option without help."""

    options_type = Helpless


@frozen(kw_only=True)
class Demanding:
    """An option that everybody must give."""

    colour: str = field(metadata={"help": "a colour"})


class Undecided(Sound):
    """Has an option without default."""

    options_type = Demanding  # type: ignore[assignment]


FLAVOURS: dict[str, type[LocalFlavour]] = {
    kind.__name__.lower(): kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Sound)
}
for _name, _kind in FLAVOURS.items():
    _kind.name = _name


class Misnamed(Sound):
    """Calls itself otherwise than its entry."""

    name = "somebody-else"


FLAVOURS["misnamed"] = Misnamed
