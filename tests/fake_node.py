"""A node that is plain bash on this machine, with stand-ins for systemctl and for the flavour."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from attrs import evolve, frozen

from nxc_core import machine_power, machine_shell
from nxc_core.connect import LOST, ExecConnection
from nxc_core.errors import CommandError
from nxc_core.flavour import Flavour
from nxc_core.machine import NodeHandle
from nxc_core.model import (
    Composition,
    Deployment,
    Event,
    ExecEndpoint,
    Node,
    NodeSpec,
    NodeState,
    Observation,
    Outcome,
    Plan,
    Resource,
    Role,
)
from nxc_core.operation import Operation
from nxc_core.process import Completed
from nxc_core.running import Running
from tests.operations import operation_in

SYSTEMCTL = """#!/bin/bash
cd "$NODE"
echo "$@" >> orders
while [ "${1:0:1}" = - ]; do shift; done
case $1 in
  show) [ -e no-bus ] && { echo no bus >&2; exit 1; }; cat unit ;;
  list-jobs) cat jobs 2>/dev/null || echo No jobs running. ;;
  poweroff) touch off ;;
  reboot) [ -e refuse ] && { echo refused >&2; exit 4; }; touch rebooted ;;
  is-active) echo active ;;
  start) touch "started.$2" ;;
  *) exit 5 ;;
esac
"""


@frozen
class NoOptions:
    """None."""


class Blunt(Flavour[NoOptions]):
    """A flavour that boots, and no more."""

    name = "blunt"
    accepts = ()
    options_type = NoOptions
    patience: ClassVar[float] = 0.7

    def deploy(self, plan: Plan, op: Operation) -> None:
        """Boot nothing."""

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        """Release nothing."""
        return resources

    def observe(self, node: Node, op: Operation) -> Observation:
        """A node is off when its folder says so."""
        return Observation(alive=not (op.dir / node.name / "off").exists(), detail="as ever")


class Able(Blunt):
    """A flavour with every optional protocol."""

    name = "able"

    def crash(self, node: Node, op: Operation) -> None:
        """Cut the power."""
        (op.dir / node.name / "off").touch()

    def restart(self, node: Node, plan: Plan, op: Operation) -> None:
        """Restore the power."""
        (op.dir / node.name / "off").unlink()

    def console(self, node: str, op: Operation) -> Path:
        """Return the console file."""
        return op.dir / node / "console"

    def block(self, node: Node, op: Operation) -> None:
        """Write down that it is blocked."""
        (op.dir / node.name / "blocked").touch()

    def unblock(self, node: Node, op: Operation) -> None:
        """Write down that it is not."""
        (op.dir / node.name / "blocked").unlink()


class Rebooter(Able):
    """A flavour whose nodes do not come back by themselves."""

    name = "rebooter"

    def reboot(self, node: Node, op: Operation) -> None:
        """Write down that it was asked."""
        (op.dir / node.name / "rebooted-from-outside").touch()


SAFE_PREAMBLE = (
    'export PATH="$NODE:$PATH"; systemctl() { "$NODE/systemctl" "$@"; }; export -f systemctl; '
    "readonly -f systemctl; set -euo pipefail; "
)
"""Stands for the real preambles, so that no command of a test ever meets this machine's systemctl."""


class BashConnection(ExecConnection):
    """Runs commands on this machine, unless the node is off."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(ExecEndpoint(prefix=("env", "-C", str(folder), f"NODE={folder}")))

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float | None = None,
        stdin: bytes | Path | None = None,
        output: Path | None = None,
    ) -> Completed:
        """Refuse like ssh does when nobody is there."""
        if (self.folder / "off").exists():
            raise CommandError(f"{LOST}: Connection refused", argv=tuple(argv), code=None)
        words = list(argv)
        for preamble in (machine_shell.PREAMBLE, machine_shell.BARE):
            words = [word.replace(preamble, SAFE_PREAMBLE) for word in words]
        assert "systemctl" not in " ".join(argv) or SAFE_PREAMBLE in " ".join(words)
        return super().run(words, check=check, timeout=timeout, stdin=stdin, output=output)


class FakeRunning(Mapping[str, NodeHandle]):
    """What a handle asks of a running deployment."""

    def __init__(self, folder: Path, roles: Mapping[str, int], flavour: Flavour[Any] | None = None) -> None:
        self.events: list[Event] = []
        self.flavour = flavour or Able(NoOptions())
        self.files: Mapping[str, Path] = {}
        self.op = operation_in(folder, "fake", hear=self.events.append)
        self.composition = Composition(
            name="fake",
            base="fake",
            source=folder / "composition.nix",
            roles=tuple(Role(name=name, count=count) for name, count in roles.items()),
        )
        names = [(name, role.name) for role in self.composition.roles for name in role.names()]
        self.specs = [NodeSpec(name=n, role=r, index=i, machine=n) for i, (n, r) in enumerate(names)]
        self.deployment = Deployment(
            id="fake-1",
            name="fake",
            composition=self.composition,
            groups=(),
            networks=(),
            specs=tuple(self.specs),
            instances={},
        )
        self.outcomes = {name: Outcome(node=name, state=NodeState.READY, boot_id="") for name, _ in names}
        self.comes_up = True
        self.formers: list[str] = []
        self.connections = {name: BashConnection(folder / name) for name, _ in names}
        self.handles = {spec.name: NodeHandle(cast("Running", self), spec) for spec in self.specs}
        for name, _ in names:
            self._furnish(folder / name)

    def _furnish(self, folder: Path) -> None:
        folder.mkdir()
        script = folder / "systemctl"
        script.write_text(SYSTEMCTL)
        script.chmod(0o755)
        (folder / "console").write_text("Linux version 6.1\r\n\x1b[32mbooted\x1b[0m\r\n")

    @property
    def id(self) -> str:
        """The deployment's id."""
        return self.deployment.id

    def __iter__(self) -> Iterator[str]:
        return iter(self.handles)

    def __len__(self) -> int:
        return len(self.handles)

    def __getitem__(self, name: str) -> NodeHandle:
        return self.handles[name]

    def folder(self, name: str) -> Path:
        """Where the node keeps its state."""
        return self.op.dir / name

    def node(self, name: str) -> Node:
        """Return how the node is reached."""
        return Node(name=name, role=self.handles[name].role, endpoint=self.connections[name].endpoint)

    def connection(self, name: str) -> BashConnection:
        """Return the node's connection."""
        return self.connections[name]

    def outcome(self, name: str) -> Outcome:
        """Return where the node has got to, as journalled or as set by a test."""
        return self.op.journal.outcomes().get(name) or self.outcomes[name]

    def plan(self) -> Plan:
        """Nobody looks at it here."""
        return cast("Plan", None)

    def reach(self, name: str, former: str) -> None:
        """Come up again, or not."""
        self.formers.append(former)
        if self.comes_up:
            boot_id = str(uuid.uuid4()) if former else ""
            self.op.outcome(Outcome(node=name, state=NodeState.READY, boot_id=boot_id))
        else:
            self.op.outcome(
                Outcome(node=name, state=NodeState.FAILED, cause="not ready after 2 s", last_line="panic!")
            )

    def close(self, name: str | None = None) -> None:
        """Nothing is kept open."""

    def said(self, topic: str) -> list[str]:
        """List the messages of a topic."""
        return [event.message for event in self.events if event.topic == topic]

    def with_boot_id(self, name: str, boot_id: str) -> None:
        """Let the node have booted a kernel of its own."""
        self.outcomes[name] = evolve(self.outcomes[name], boot_id=boot_id)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRunning:
    monkeypatch.setattr(machine_power, "this_system", lambda: "another")
    return FakeRunning(tmp_path, {"server": 1, "client": 2})


@pytest.fixture
def node(running: FakeRunning) -> NodeHandle:
    return running["server"]
