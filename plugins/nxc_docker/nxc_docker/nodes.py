"""What is done with a node that is there: looking at it, talking to it, its power and its plug."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from nxc_core import DeployError, Flavour, NxcError, Operation
from nxc_core.connect import Connection
from nxc_core.model import Node, NodeState, Observation, Outcome, Plan
from nxc_core.output import printable
from nxc_docker import compose, containers, engine as engines, failures, looking, power
from nxc_docker.connection import EngineConnection
from nxc_docker.engine import Engine
from nxc_docker.options import DockerOptions

SHUTDOWN = 30.0
"""Seconds in which a node must have gone down in good order; then its power is cut."""
PACE = 0.02
"""Seconds per node between looks at booting consoles, so that looking costs a tenth of a processor."""
PATIENCE = 0.1
"""The longer a console has been looked at, the longer the pause until the next look: this part of it."""
AWAKE = re.compile(rb"nxc: this is (\S+)(?: \((\S+)\))?")
"""What ``nxc-node`` says at its end, with the node's instance id."""
FAILED = re.compile(rb"nxc: failed: ([^\r\n]*)[\r\n]")  # a line that is there as a whole
CHOKED = b"Failed to create inotify object"
"""What systemd writes before it hangs for ever, half started."""
CHOKING = 5.0
"""Seconds after which that is taken for its end: a service may write it, too, and the node be ready."""


class Nodes(Flavour[DockerOptions]):
    """Stateless but for when it last looked: what exists is labelled in the engine, and in the journal."""

    patience = 120.0

    def __init__(self, options: DockerOptions) -> None:
        super().__init__(options)
        self.pace = PACE
        self._first: dict[str, float] = {}
        self._looked: dict[str, float] = {}
        self._length: dict[str, int] = {}
        self._grows: set[str] = set()
        self._since: dict[str, float] = {}
        self._choked: dict[str, float] = {}
        self._failed: dict[str, str] = {}
        self._fresh: set[str] = set()
        """Nodes whose console, as it is read, begins with this boot: it may be taken at its word."""
        self._told: dict[str, str] = {}

    def deadline(self, op: Operation) -> float:
        """A crowded machine takes longer."""
        crowding = os.getloadavg()[0] / (os.cpu_count() or 1)
        return self.patience * min(max(crowding, 1.0), 4.0)

    def of(self, node: Node) -> Engine:
        """The engine that has the node, whatever the environment says now."""
        return engines.connect(self.options, url=str(node.facts["engine"]))

    # Looking

    def awake(self, node: Node, op: Operation) -> bool:
        """Whether the console says that the node knows who it is."""
        now = time.monotonic()
        pace = max(self.pace, PATIENCE * (now - self._first.setdefault(node.name, now)))
        if now - self._looked.get(node.name, 0.0) < pace:
            return False
        self._looked[node.name] = now
        try:
            said = looking.logs(container_of(node), self.of(node), since=self._since.get(node.name))
        except failures.TROUBLE:
            return True  # asking tells what is wrong
        if len(said) > self._length.get(node.name, 0):
            self._length[node.name] = len(said)
            self._grows.add(node.name)
        if found := AWAKE.search(said):
            self._choked.pop(node.name, None)
            if found[2] and node.name in self._fresh:
                self._told[node.name] = found[2].decode()
            return True
        if CHOKED in said:
            self._choked.setdefault(node.name, now)
        if found := FAILED.search(said):
            self._failed[node.name] = _tell_failure(found[1].decode("utf-8", "replace"))
        return False

    def told(self, node: Node, op: Operation) -> str | None:
        """The instance id, as the console of a boot that began before our eyes says it."""
        return self._told.get(node.name)

    def settle(self, plan: Plan, op: Operation) -> None:
        """See in one call that nodes that said they are ready still run: a console keeps what it was told."""
        known = op.journal.nodes()
        ready = [known[spec.name] for spec in plan.nodes]
        if not ready:
            return
        engine = self.of(ready[0])
        there = containers.list_containers(engine, op.name, op)
        running = {name for name, one in there.items() if one.state == "running"}
        for node in ready:
            if container_of(node) in running:
                continue
            seen = looking.look(container_of(node), engine)
            if not seen.alive:
                op.outcome(Outcome(node=node.name, state=NodeState.FAILED, cause=seen.detail, step="boot"))

    def observe(self, node: Node, op: Operation) -> Observation:
        """Whether the container runs, and how it ended where it does not."""
        if time.monotonic() - self._choked.get(node.name, float("inf")) > CHOKING:
            told = "its systemd hangs for lack of inotify instances: raise fs.inotify.max_user_instances"
            return Observation(alive=False, detail=told)
        if node.name in self._failed:
            return Observation(alive=False, detail=self._failed[node.name])
        if node.name in self._grows:  # its console has said more since the last look: a sign of life
            self._grows.discard(node.name)
            return Observation(alive=True)
        return looking.look(container_of(node), self.of(node))

    def connect(self, node: Node, op: Operation) -> Connection | None:
        """Talk through the engine's API."""
        return EngineConnection(self.of(node), container_of(node), op.cancel)

    def console(self, node: str, op: Operation) -> Path:
        """Where the console is kept; written anew while the engine has it."""
        known = op.journal.nodes().get(node)
        if known is not None:
            with contextlib.suppress(NxcError):  # no engine: what was kept before stays
                save_console(node, container_of(known), self.of(known), op)
        return _log(node, op)

    # Power

    def crash(self, node: Node, op: Operation) -> None:
        """Kill every process of the node."""
        engine = self.of(node)
        with failures.translated(f"killing {node.name}", url=engine.url):
            power.signal(container_of(node), "SIGKILL", engine)
        op.wait(f"end of {node.name}", lambda: not self._runs(node), timeout=SHUTDOWN)

    def restart(self, node: Node, plan: Plan, op: Operation) -> None:
        """Start the node's container again, its files as they were; one that is gone is made anew."""
        engine = self.of(node)
        if container_of(node) in containers.list_containers(engine, op.name, op):
            self._start_again(node, engine)
            op.node(node)
        else:
            self.bring_up(plan, [node.name], op)

    def bring_up(self, plan: Plan, names: Collection[str], op: Operation) -> None:
        """Make and start the containers of some nodes, and report them."""
        raise NotImplementedError

    def reboot(self, node: Node, op: Operation) -> None:
        """Tell systemd to go down in good order, and start it again: no container may reboot by itself."""
        engine = self.of(node)
        with failures.translated(f"shutting down {node.name}", url=engine.url):
            power.signal(container_of(node), compose.STOP_SIGNAL, engine)
        try:
            op.wait(f"shutdown of {node.name}", lambda: not self._runs(node), timeout=SHUTDOWN)
        except failures.EngineLost:
            raise
        except DeployError:
            self.crash(node, op)
        self._start_again(node, engine)

    def _runs(self, node: Node) -> bool:
        return looking.look(container_of(node), self.of(node)).alive

    def _start_again(self, node: Node, engine: Engine) -> None:
        with failures.translated(f"starting {node.name} again", url=engine.url):
            since = power.start_again(container_of(node), engine)
        self.watch(node.name, since, fresh=since > 0)

    def watch(self, node: str, since: float, *, fresh: bool) -> None:
        """Read a node's console as that of another boot, later than the engine's time ``since``.

        ``fresh`` says that nothing of an earlier boot is in it.
        """
        kept: tuple[dict[str, Any], ...] = (self._first, self._looked, self._length, self._since)
        for known in (*kept, self._choked, self._failed, self._told):
            known.pop(node, None)
        self._grows.discard(node)
        if since:
            self._since[node] = since
        (self._fresh.add if fresh else self._fresh.discard)(node)

    # Links

    def block(self, node: Node, op: Operation) -> None:
        """Take the node out of its network; the engine still reaches it."""
        engine = self.of(node)
        with failures.translated(f"cutting {node.name} off", url=engine.url):
            power.unplug(container_of(node), power.find_network(op.name, engine, op), engine)

    def unblock(self, node: Node, op: Operation) -> None:
        """Put it into its network again, with the same address."""
        engine = self.of(node)
        with failures.translated(f"joining {node.name} again", url=engine.url):
            network = power.find_network(op.name, engine, op)
            power.plug(container_of(node), network, str(node.facts["address"]), node.name, engine)


def _tell_failure(cause: str) -> str:
    told = f"it does not know who it is: {printable(cause)}"
    if compose.SEED in cause:
        told += "; what the engine mounted there is no file of this machine"
    return told


def container_of(node: Node) -> str:
    """Return the name of a node's container."""
    return str(node.facts["container"])


def save_console(node: str, container: str, engine: Engine, op: Operation) -> None:
    """Keep what the engine has of a node's console; where it has none, what was kept before stays."""
    try:
        content = looking.logs(container, engine, tail=looking.CONSOLE_LINES)
    except failures.TROUBLE:
        return
    path = _log(node, op)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(looking.clean_console(content))
    except OSError as error:  # a full disk must not keep a node from being removed
        op.step(f"its console cannot be kept: {path}: {error.strerror}", node=node, topic="warning")


def _log(node: str, op: Operation) -> Path:
    return op.dir / "log" / f"{node}.log"
