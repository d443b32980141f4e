"""What an author says about a flavour so that the kit can test it, and the fixtures of its tests."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nxc_core.flavour import Flavour, Power
from nxc_core.hookspecs import FlavourEntry
from nxc_core.model import Json, Node, Policy
from nxc_core.operation import Operation
from nxc_core.running import Running
from nxc_core.session import Session
from nxc_core.testing.driver import DriverContract
from nxc_core.testing.workbench import Tap, Watch, Workbench, scratch_folders, spawned, sweep

_projects: dict[type, Path] = {}


class FlavourHooks(DriverContract):
    """Name ``plugin``, ``flavour`` and ``base``, write the fixture ``composition``; the rest has defaults."""

    __test__ = False
    flavour: ClassVar[str]
    base: ClassVar[str]
    options: ClassVar[Mapping[str, Json]] = {}
    base_options: ClassVar[Mapping[str, Json]] = {}
    beside: ClassVar[Mapping[str, Json]] = {}
    """Options of a deployment beside another, on top, where the two cannot share, as machines of its own."""
    spares: ClassVar[int] = 0
    """Machines beyond one a node that a reserving flavour can hold; with none, no node changes machines."""
    settle: ClassVar[float] = 5.0
    """Seconds after which what was released is really gone."""
    notice: ClassVar[float] = 20.0
    """Seconds in which the death of a node must be told."""
    stops_within: ClassVar[float] = 10.0
    """Seconds in which an interrupted deploy must end."""
    crash_records: ClassVar[Sequence[str]] = ("claim",)
    """Journal records around which the plug is pulled; where booting is cheap add ``note`` and ``node``."""
    resumes: ClassVar[int] = 3
    """How many crashed starts are gone on with, each of which boots all nodes."""

    @pytest.fixture
    def project(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Return a project folder that the tests of this class share, so that it is built once."""
        kind = type(self)
        if kind not in _projects or not _projects[kind].exists():
            _projects[kind] = tmp_path_factory.mktemp("project")
        return _projects[kind]

    @pytest.fixture
    def composition(self, project: Path) -> Path:
        """Return a composition file of two nodes or more, written below ``project``. To be overridden."""
        raise NotImplementedError("override the fixture `composition`")

    @pytest.fixture
    def session(self, project: Path) -> Iterator[Workbench]:
        """Return a session on the project; afterwards nothing of it is left, whatever happened."""
        session = self.open(project)
        yield session
        sweep(session)

    def leftovers(self, session: Session) -> list[str]:
        """List what is still there of the project's deployments. Extend it with what your platform knows."""
        processes = [f"process {pid} ({token})" for pid, token in spawned(session).items()]
        return processes + [f"folder {path}" for path in scratch_folders(session)]

    def exposed_folders(self, running: Running) -> list[Path]:
        """List folders where the flavour may keep a deployment's secrets."""
        claimed = [Path(found.id) for found in running.op.claimed("folder")]
        return [running.op.dir, running.op.runtime, *claimed]

    def kill(self, flavour: Flavour[Any], node: Node, op: Operation) -> None:
        """Make a node die; by default as the flavour's Power does."""
        if not isinstance(flavour, Power):
            pytest.skip("override `kill` to test the death of a node")
        flavour.crash(node, op)

    # For the tests

    def open(self, project: Path, *, watch: Watch | None = None, tap: Tap | None = None) -> Workbench:
        """Open a new session, as another process would."""
        return Workbench.prepare(project, watch=watch, tap=tap)

    def entry(self, session: Session) -> FlavourEntry:
        """Return the flavour's entry."""
        if self.flavour not in session.plugins.flavours:
            broken = "; ".join(f"{b.name}: {b.reason}" for b in session.plugins.broken)
            pytest.fail(
                f"flavour {self.flavour} is not discovered: install its distribution, look at its entry point"
                + (f" ({broken})" if broken else "")
            )
        return session.plugins.flavours[self.flavour]

    def driver(self, session: Session) -> Flavour[Any]:
        """Return the flavour with its options."""
        return session.plugins.flavour(self.flavour, self.options)

    @property
    def all_options(self) -> dict[str, Mapping[str, Json]]:
        """Options as a session takes them."""
        return {self.flavour: self.options, self.base: self.base_options}

    @contextlib.contextmanager
    def up(
        self,
        session: Session,
        composition: Path,
        *,
        parameters: Mapping[str, Json] | None = None,
        policy: Policy | None = None,
        beside: bool = False,
    ) -> Iterator[Running]:
        """Build, start and take down."""
        options = self.all_options
        if beside:
            options[self.flavour] = {**self.options, **self.beside}
        with session.up(
            composition,
            flavour=self.flavour,
            base=self.base,
            options=options,
            parameters=parameters,
            policy=policy,
        ) as running:
            yield running

    def start(self, session: Session, composition: Path, *, fresh: bool = True) -> Running:
        """Build and start."""
        return session.start(
            composition, flavour=self.flavour, base=self.base, options=self.all_options, fresh=fresh
        )

    def nothing_left(self, session: Session, when: str) -> None:
        """Fail when something is still there after the settle time."""
        end = time.monotonic() + self.settle
        while left := self.leftovers(session):
            if time.monotonic() > end:
                pytest.fail(f"{when}: still there: {', '.join(left)}")
            time.sleep(0.1)


def proof(running: Running, name: str) -> tuple[str, str]:
    """Ask a node for its instance and boot id, by the flavour's own question."""
    told = running.connection(name).run(running.flavour.report, check=False, timeout=60).text
    instance, boot_id, *_ = (*told.splitlines(), "", "")
    return instance.strip(), boot_id.strip()


def claims(session: Session, id: str) -> set[tuple[str, str]]:
    """List the keys of a deployment's outstanding claims."""
    return {resource.key for resource in session.workspace.journal(id).outstanding()}


def read_answers(text: str) -> dict[str, str]:
    """Read what ``elsewhere`` printed."""
    answers: dict[str, str] = json.loads(text)
    return answers
