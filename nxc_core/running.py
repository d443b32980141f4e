"""A deployment that is there: its nodes, and what can be done with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve

from nxc_core import deploying, lifecycle, state
from nxc_core.connect import Connection
from nxc_core.errors import ConfigError, StateError
from nxc_core.flavour import Flavour, Power
from nxc_core.machine import NodeHandle
from nxc_core.model import Build, Deployment, Node, NodeSpec, NodeState, Outcome, Plan
from nxc_core.operation import Operation

if TYPE_CHECKING:
    from nxc_core.session import Session


class Running(Mapping[str, NodeHandle]):
    """Maps node names to handles with the NixOS test vocabulary."""

    def __init__(self, session: Session, deployment: Deployment, op: Operation) -> None:
        self.session = session
        self.deployment = deployment
        self.op = op
        self.files = deployment.composition.files
        self._flavour: Flavour[Any] | None = None
        self._connections: dict[str, Connection] = {}
        self._handles: dict[str, NodeHandle] = {}

    @property
    def id(self) -> str:
        """The deployment's id."""
        return self.deployment.id

    @property
    def flavour(self) -> Flavour[Any]:
        """The driver of the deployment's platform, with the options it was started with."""
        if self._flavour is None:
            group = self.deployment.groups[0]
            self._flavour = self.session.plugins.flavour(group.flavour, group.options)
        return self._flavour

    def __iter__(self) -> Iterator[str]:
        return iter(spec.name for spec in self.deployment.specs)

    def __len__(self) -> int:
        return len(self.deployment.specs)

    def __getitem__(self, name: str) -> NodeHandle:
        if name not in self._handles:
            self._handles[name] = NodeHandle(self, self.spec(name))
        return self._handles[name]

    def spec(self, name: str) -> NodeSpec:
        """Return a node's place in the deployment; raises ConfigError for an unknown name."""
        for spec in self.deployment.specs:
            if spec.name == name:
                return spec
        raise ConfigError(
            f"there is no node {name} in {self.id}", hint=f"its nodes are: {', '.join(iter(self))}"
        )

    def with_role(self, role: str) -> list[NodeHandle]:
        """Return the nodes of a role."""
        return [self[spec.name] for spec in self.deployment.specs if spec.role == role]

    def node(self, name: str) -> Node:
        """Return how a node is reached; raises StateError when it was never booted."""
        self.spec(name)
        found = self.op.journal.nodes().get(name)
        if found is None:
            raise StateError(f"{name} was never booted", hint="`nxc start` goes on with the deployment")
        return found

    def connection(self, name: str) -> Connection:
        """Return the connection to a node; it is shared and opened on first use."""
        if name not in self._connections:
            self._connections[name] = self.session.plugins.connect(self.flavour, self.node(name), self.op)
        return self._connections[name]

    def outcome(self, name: str) -> Outcome:
        """Return where a node has got to."""
        return self.op.journal.outcomes().get(name) or Outcome(node=name, state=NodeState.WAITING)

    def look(self) -> Mapping[str, Outcome]:
        """See which nodes still live, and return where each has got to; a dead one is ``lost``."""
        nodes = self.op.journal.nodes()
        outcomes = self.op.journal.outcomes()
        ready = [n for n, outcome in outcomes.items() if outcome.state is NodeState.READY and n in nodes]
        flavour = self.flavour  # made here: threads would each make one
        for name, seen in zip(
            ready, self.op.map(lambda n: flavour.observe(nodes[n], self.op), ready), strict=True
        ):
            if not seen.alive:
                outcomes[name] = evolve(
                    outcomes[name], state=NodeState.LOST, cause=seen.detail, step=seen.step
                )
        return outcomes

    def forget_failures(self) -> None:
        """Clear the way for another try of the nodes that are not ready."""
        nodes = self.op.journal.nodes()
        for name, outcome in self.look().items():
            if outcome.state is not NodeState.READY:
                if name in nodes and isinstance(self.flavour, Power):
                    self.flavour.crash(nodes[name], self.op)
                self.op.journal.outcome(Outcome(node=name, state=NodeState.WAITING))

    def plan(self) -> Plan:
        """Return the plan that the deployment was started with, to boot nodes again."""
        folder = self.session.workspace.deployment_dir(self.id)
        build = state.load(folder / "build.json", Build)
        return deploying.make_plan(self.session.workspace, self.deployment, build, self.flavour)

    def reach(self, name: str, former: str) -> None:
        """Wait until a node that booted again is ready; ``former`` is its old boot id."""
        plan = self.plan()
        spec = self.spec(name)
        self.close(name)
        self.op.journal.outcome(Outcome(node=name, state=NodeState.BOOTING))
        lifecycle.reach(self.flavour, evolve(plan, nodes=(spec,)), self.op, former={name: former})

    def close(self, name: str | None = None) -> None:
        """Close shared connections, of one node or all."""
        for one in [name] if name else list(self._connections):
            connection = self._connections.pop(one, None)
            if connection is not None:
                connection.close()

    def down(self) -> None:
        """Release everything that the deployment holds."""
        self.close()
        self.session.down(self.id)
