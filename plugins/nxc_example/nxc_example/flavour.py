"""The flavour ``local``: every node is a process of this machine, with a folder and a port of its own."""

from __future__ import annotations

import hashlib
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from attrs import field, frozen

from nxc_core import Flavour, Operation
from nxc_core.model import ExecEndpoint, Finding, Guest, Node, NodeSpec, Observation, Plan, Resource
from nxc_example import node as node_program
from nxc_example.kind import PROCESS_TREE

PORT = "local.port"
PROCESS = "local.process"


@frozen(kw_only=True)
class LocalOptions:
    """What a user may set, as ``-o local.boot_seconds=2`` or in nxc.toml. Each has a default and a help."""

    boot_seconds: float = field(default=0.0, metadata={"help": "seconds that a node pretends to boot"})
    dies: str | None = field(
        default=None, metadata={"help": "a node that dies while it boots, to see what nxc says then"}
    )


class LocalFlavour(Flavour[LocalOptions]):
    """Stateless: what exists outside is in the journal, so any later process can find and release it."""

    name = "local"
    accepts = (PROCESS_TREE,)
    options_type = LocalOptions
    patience = 30.0
    # The node itself says who it is. A file that it once wrote would still be there after its death.
    report: ClassVar[tuple[str, ...]] = ("bash", "-c", 'cat < "/dev/tcp/$NXC_PLACE"')

    @property
    def guest(self) -> Guest:
        """A process needs nothing of a system: no init, no kernel, no ssh."""
        return Guest(init=False, ssh=False, kernel=False, root="container", seed="mount")

    def check(self, op: Operation) -> Sequence[Finding]:
        """`nxc doctor` shows these; a finding that is not ok says what to do."""
        found = shutil.which("bash") is not None
        return [Finding(ok=found, subject="bash", hint="" if found else "install the Debian package bash")]

    # Deploying: claim, create, report. Called again after an interruption, it goes on with what is there.

    def deploy(self, plan: Plan, op: Operation) -> None:
        """Start a process per node."""
        home = op.scratch("nodes")  # a claimed temporary folder; the core removes it, last of all
        op.map(lambda spec: self._boot(plan, spec, home, op), plan.nodes)

    def _boot(self, plan: Plan, spec: NodeSpec, home: Path, op: Operation) -> None:
        op.check_cancelled()
        folder = home / spec.name
        shutil.copytree(plan.artifact.files[spec.role], folder, dirs_exist_ok=True)
        place = self._place(spec, op)
        delay = "soon" if spec.name == self.options.dies else str(self.options.boot_seconds)
        op.spawn(
            PROCESS,
            f"{plan.deployment}-{spec.name}",  # the id is ours to choose, so the claim is enough to find it
            (sys.executable, "-I", "-S", node_program.__file__, str(plan.documents[spec.name]), place, delay),
            log=self.console(spec.name, op),
            rank=2,
            node=spec.name,
        )
        prefix = (
            "env",
            "-C",
            str(folder),
            f"NXC_NODE={spec.name}",
            f"NXC_ROLE={spec.role}",
            f"NXC_PLACE={place}",
        )
        op.node(
            Node(
                name=spec.name,
                role=spec.role,
                endpoint=ExecEndpoint(prefix=prefix),
                facts={"place": place},
            )
        )

    def _place(self, spec: NodeSpec, op: Operation) -> str:
        """Return where the node listens: an address of its own, whose ports nobody else takes meanwhile."""
        for claimed in op.claimed(PORT):
            if claimed.data.get("node") == spec.name:
                return claimed.id
        digest = hashlib.sha256(f"{op.name}/{spec.name}".encode()).digest()
        address = f"127.{digest[0]}.{digest[1]}.{digest[2] % 254 + 1}"
        with socket.create_server((address, 0)) as probe:
            return op.claim(PORT, f"{address}/{probe.getsockname()[1]}", rank=1, node=spec.name).id

    # Giving back: each may be gone already or never have existed. Higher ranks come first.

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        """End the processes; a port is only a number and goes with its claim."""
        return [resource for resource in resources if resource.kind == PORT or op.stop(resource)]

    # Optional: look from outside, console, power.

    def observe(self, node: Node, op: Operation) -> Observation:
        """Whether the node's process lives."""
        if op.alive(self._process(node, op)):
            return Observation(alive=True)
        return Observation(alive=False, detail="its process ended")

    def console(self, node: str, op: Operation) -> Path:
        """Where the node's process writes."""
        return op.dir / "log" / f"{node}.log"

    def crash(self, node: Node, op: Operation) -> None:
        """Kill the node's process."""
        op.stop(self._process(node, op), grace=0)
        op.wait(f"end of {node.name}", lambda: not op.alive(self._process(node, op)), timeout=10)

    def restart(self, node: Node, plan: Plan, op: Operation) -> None:
        """Start the node's process again: the same as deploying it."""
        (spec,) = (spec for spec in plan.nodes if spec.name == node.name)
        self._boot(plan, spec, op.scratch("nodes"), op)

    def _process(self, node: Node, op: Operation) -> Resource:
        return Resource(kind=PROCESS, id=f"{op.name}-{node.name}")
