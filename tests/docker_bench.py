"""A project on a real container engine, and the commands that people give there."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from attrs import define, field

from nxc_core.model import Status
from nxc_core.state import Workspace
from tests.engines import Engine, dockerd, load_busybox

NXC = Path(sys.executable).with_name("nxc")
OURS = "nxc.deployment"
CONFIG, PREFLIGHT, BUILD, DEPLOY, TEARDOWN = 3, 5, 6, 7, 9
BOTH = ["docker", pytest.param("podman", marks=pytest.mark.full)]
LOCKS: dict[str, bytes] = {}
"""Packages that a test has resolved, which is most of the work of a start, and not what is tested here."""


@define
class Bench:
    """A project and the engine that it uses."""

    engine: Engine
    project: Path
    environment: dict[str, str] = field(factory=dict)

    def write(self, one: str = "", rest: str = "") -> None:
        """Write a composition with a role ``one``, which says this, and perhaps more."""
        text = f"{{ pkgs, ... }}: {{ roles.one = {{ {one} }}; {rest} }}\n"
        (self.project / "composition.nix").write_text(text)

    def nxc(self, *argv: str, **environment: str) -> tuple[int, str]:
        """Run nxc as a user would; a traceback is a bug whatever happens."""
        done = subprocess.run(
            [NXC, *argv],
            cwd=self.project,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert "Traceback" not in done.stdout, done.stdout
        return done.returncode, done.stdout

    def start(self, *more: str) -> str:
        """Start, which must go well, and return the deployment's id."""
        code, said = self.nxc("start", "-q", "-f", "docker", *more)
        assert code == 0, said
        return said.strip().splitlines()[-1]

    def refused(self, code: int, pattern: str, *argv: str, **environment: str) -> str:
        """Run nxc, which must end with one error that fits, and with a hint."""
        ended, said = self.nxc(*(argv or ("start", "-f", "docker")), **environment)
        assert ended == code, said
        self.told_once(said, pattern)
        return said

    def told_once(self, said: str, pattern: str) -> None:
        """Fail unless there is one error that fits, and a hint."""
        errors = [line for line in said.splitlines() if line.startswith("error:")]
        assert len(errors) == 1, said
        assert re.search(pattern, said[said.index("error:") :], re.DOTALL), said
        assert "\nhint: " in said, said

    @contextlib.contextmanager
    def starting(self, containers: int, *more: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
        """Start, and go on as soon as so many containers are there; what it says arrives in the list."""
        said: list[str] = []
        with subprocess.Popen(
            [NXC, "start", "-f", "docker", *more],
            cwd=self.project,
            env=self._environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child:
            assert child.stdout is not None
            end = time.monotonic() + 120
            while len([one for one in self.engine.found(OURS) if one.startswith("container")]) < containers:
                if child.poll() is not None or time.monotonic() > end:
                    child.kill()
                    pytest.fail(child.stdout.read())
                time.sleep(0.02)
            yield child, said
            said += child.stdout.readlines()
            child.wait(timeout=120)
        assert "Traceback" not in "".join(said), "".join(said)

    def down(self) -> None:
        """Take everything down: this must always work, and leave nothing."""
        code, said = self.nxc("down", "--all")
        assert code == 0, said
        self.nothing_left()

    def nothing_left(self) -> None:
        """Fail when the engine still has something of ours, or the journal a claim."""
        assert self.engine.found(OURS) == []
        workspace = Workspace(self.project)
        for id in workspace.deployments():
            assert workspace.journal(id).outstanding() == []
            assert workspace.load(id).status is Status.STOPPED

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": self.engine.url, **self.environment, **more}


@pytest.fixture(params=BOTH)
def bench(request: pytest.FixtureRequest, cached: Path, tmp_path: Path) -> Iterator[Bench]:
    """A project on the engine that all tests share."""
    with make_bench(request.getfixturevalue(f"{request.param}_engine"), tmp_path) as made:
        yield made


@pytest.fixture
def own(cached: Path, tmp_path: Path) -> Iterator[Bench]:
    """A project on an engine of its own, which may be harmed."""
    with dockerd() as engine, make_bench(engine, tmp_path) as made:
        yield made


@contextlib.contextmanager
def make_bench(engine: Engine, tmp_path: Path) -> Iterator[Bench]:
    """Make a project on an engine, which is swept in the end."""
    (tmp_path / "web").mkdir()
    bench = Bench(engine=engine, project=tmp_path / "web")
    bench.write()
    lock = bench.project / "nxc.lock"
    if "lock" in LOCKS:
        lock.write_bytes(LOCKS["lock"])
    try:
        yield bench
    finally:
        if lock.exists():
            LOCKS["lock"] = lock.read_bytes()
        if engine.answers():
            engine.sweep(OURS)
            engine.sweep("nxc.test")


def occupy(engine: Engine, name: str, labels: Mapping[str, str]) -> str:
    """Make a container of another kind with a name that we would choose; returns its id."""
    image = load_busybox(engine)
    with engine.client() as client:
        made = client.containers.create(
            image,
            ["sleep", "1000"],
            name=name,
            labels={"nxc.test": "stranger", **labels},
            stop_signal="SIGKILL",
        )
        made.start()
        return str(made.id)
