"""An exported deployment, brought up by docker-compose without nxc, and its nodes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml
from attrs import frozen

from nxc_core import hookimpl
from nxc_core.connect import ExecConnection
from nxc_core.flavour import Flavour
from nxc_core.hookspecs import API_VERSION, FlavourEntry
from nxc_core.model import (
    LAYERS,
    Composition,
    Deployment,
    ExecEndpoint,
    Group,
    Node,
    NodeSpec,
    Plan,
)
from nxc_core.operation import Operation
from nxc_core.plugins import Plugins
from nxc_core.running import Running
from nxc_core.script import run_script
from nxc_core.session import Session
from nxc_docker.options import DockerOptions
from tests.engines import Engine as Service
from tests.operations import operation_in

UP = 300.0


def run(*argv: str, cwd: Path | None = None, check: bool = True) -> str:
    """Run a program of this machine, and return all that it says."""
    done = subprocess.run(
        argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
    assert done.returncode == 0 or not check, done.stdout
    return done.stdout


def operation(folder: Path, cache: Path) -> Operation:
    folder.mkdir(parents=True, exist_ok=True)
    return operation_in(folder, "x", cache=cache / "nxc")


# Without nxc


class There(Flavour[DockerOptions]):
    """Nodes that somebody else has started: nothing of nxc's own driver."""

    name = "there"
    accepts = (LAYERS,)
    options_type = DockerOptions

    def deploy(self, plan: Plan, op: Operation) -> None:
        """Never asked."""
        raise AssertionError

    def release(self, resources: Any, op: Operation) -> Any:
        """Never asked."""
        raise AssertionError


class Offer:
    """The flavour's plugin."""

    NXC_API: ClassVar[int] = API_VERSION

    @hookimpl
    def nxc_flavours(self) -> Iterator[FlavourEntry]:
        """Offer it."""
        yield FlavourEntry(name="there", summary="nodes of somebody else", target=f"{__name__}:There")


@frozen(kw_only=True)
class Exported:
    """A folder that was exported, and the engine that it is brought up with."""

    folder: Path
    service: Service
    specs: tuple[NodeSpec, ...]
    composition: Composition

    @property
    def document(self) -> dict[str, Any]:
        """The compose file."""
        found: dict[str, Any] = yaml.safe_load((self.folder / "docker-compose.yaml").read_text())
        return found

    @property
    def id(self) -> str:
        """The deployment that it is of."""
        return str(self.document["networks"]["lan"]["labels"]["nxc.deployment"])

    def up(self) -> None:
        """Do what its README.md says, and wait until systems run."""
        loading, starting, *rest = (self.folder / "README.md").read_text().splitlines()
        assert rest == []
        environment = f"export DOCKER_HOST={self.service.url}; "
        for line in (loading, starting):
            run("sh", "-euc", environment + line.split("`")[1], cwd=self.folder)
        end = time.monotonic() + UP
        for node in self.document["services"]:
            while (
                run(*self.execution(node), "systemctl", "is-system-running", check=False).strip() != "running"
            ):
                assert time.monotonic() < end, run(
                    "docker", "-H", self.service.url, "logs", f"{self.id}-{node}"
                )
                time.sleep(0.2)

    def down(self) -> None:
        """Take it away as a person would."""
        run("docker-compose", "-H", self.service.url, "down", "-v", cwd=self.folder)

    def execution(self, node: str) -> tuple[str, ...]:
        """Return the words that run a command on a node."""
        return ("docker", "-H", self.service.url, "exec", "-i", f"{self.id}-{node}")

    def test(self, project: Path) -> None:
        """Run the composition's test script on nodes that nxc did not start."""
        session = Session.open(project, plugins=Plugins.discover(extra=[Offer()]))
        deployment = Deployment(
            id=self.id,
            name="x",
            composition=self.composition,
            groups=(Group(flavour="there"),),
            networks=(),
            specs=self.specs,
            instances={},
        )
        running = Running(session, deployment, operation(project / "op", project))
        running._flavour = There(DockerOptions())
        for spec in self.specs:
            endpoint = ExecEndpoint(prefix=self.execution(spec.name))
            running.op.journal.node(Node(name=spec.name, role=spec.role, endpoint=endpoint))
            running._connections[spec.name] = ExecConnection(endpoint)
        assert self.composition.test_script is not None
        run_script(running, self.composition.test_script)
