"""What the kit works with: sessions whose journal can be listened to, and a plug that can be pulled."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from attrs import define, field

from nxc_core import binding, lifecycle
from nxc_core.flavour import Flavour
from nxc_core.hookspecs import API_VERSION, hookimpl
from nxc_core.model import NodeState, Plan, Resource, Status
from nxc_core.operation import Operation
from nxc_core.plugins import Plugins
from nxc_core.session import Session
from nxc_core.spawned import find_all_spawned
from nxc_core.state import Journal

When = Literal["before", "after"]
Tap = Callable[[When, Mapping[str, Any]], None]
"""Hears each journal record just before and just after it reaches the disk."""


class Crash(BaseException):
    """The machine lost its power. Not an Exception, so that no driver can catch it by mistake."""


class Tapped(Journal):
    """A journal that tells a tap what is written."""

    def __init__(self, path: Path, tap: Tap) -> None:
        super().__init__(path)
        self._tap = tap

    def append(self, *records: Mapping[str, Any]) -> None:
        """Add records, and tell of each."""
        for record in records:
            self._tap("before", record)
            super().append(record)
            self._tap("after", record)


@define
class Plug:
    """Pulled at the ``at``-th record of the given kinds; from then on every thread that writes dies."""

    at: int
    when: When
    records: Sequence[str] = ("claim",)
    pulled: bool = False
    where: str = ""
    seen: int = 0
    _lock: threading.Lock = field(factory=threading.Lock)
    _mine: threading.local = field(factory=threading.local)

    def __call__(self, when: When, record: Mapping[str, Any]) -> None:
        """Count, and crash when it is time."""
        with self._lock:
            if self.pulled:
                raise Crash(self.where)
            if record["op"] not in self.records:
                return
            if when == "before":
                self.seen += 1
                self._mine.number = self.seen
            if self._mine.number == self.at and when == self.when:
                self.pulled = True
                self.where = f"{when} {record['op']} number {self.at} ({_spell(record)}) reached the disk"
                raise Crash(self.where)


def _spell(record: Mapping[str, Any]) -> str:
    if "kind" in record:
        return f"{record['kind']} {record['id']}"
    node = record.get("node", record.get("op"))
    return str(node["name"] if isinstance(node, Mapping) else node)


@define(eq=False)
class Watch:
    """The kit's own plugin. It answers first: it sees what a driver does, and can stop before readiness."""

    NXC_API: ClassVar[int] = API_VERSION

    reach: bool = True
    after_boot: Callable[[Flavour[Any], Plan, Operation], None] | None = None

    @hookimpl(tryfirst=True)
    def nxc_deploy(self, flavour: Flavour[Any], plan: Plan, op: Operation) -> bool:
        """Do as the core does, and look that every node was reported."""

        def look(booted: Plan) -> None:
            given_up = {o.node for o in op.journal.outcomes().values() if o.state is NodeState.FAILED}
            known = {*op.journal.nodes(), *given_up}
            silent = [spec.name for spec in booted.nodes if spec.name not in known]
            if silent:
                pytest.fail(
                    f"deploy() returned without reporting {', '.join(silent)}: call op.node() for each node"
                )
            if self.after_boot is not None:
                self.after_boot(flavour, booted, op)

        lifecycle.bring_up(flavour, binding.reserve(flavour, plan, op), op, deployed=look, wait=self.reach)
        return True

    @hookimpl(tryfirst=True)
    def nxc_teardown(
        self, flavour: Flavour[Any], resources: Sequence[Resource], op: Operation
    ) -> Sequence[Resource]:
        """Look at the type of the answer."""
        gone: object = flavour.release(resources, op)
        if not isinstance(gone, Sequence) or not all(isinstance(one, Resource) for one in gone):
            pytest.fail(f"release() answered {gone!r}: return the resources that are gone for sure")
        return gone


class Workbench(Session):
    """A session that the kit can look into."""

    tap: Tap | None = None

    @classmethod
    def prepare(cls, project: Path, *, watch: Watch | None = None, tap: Tap | None = None) -> Workbench:
        """Open a project, with the kit's plugin in front of all others."""
        session = cls.open(project, plugins=Plugins.discover(extra=[watch or Watch()]))
        assert isinstance(session, Workbench)
        session.tap = tap
        return session

    def operation(
        self, folder: Path, name: str, *, journal: Journal | None = None, dry: bool = False
    ) -> Operation:
        """Listen to deployments alone: a build's claims are the base's business."""
        if (
            journal is None
            and self.tap is not None
            and folder.parent == self.workspace.deployment_dir("x").parent
        ):
            journal = Tapped(folder / "journal.jsonl", self.tap)
        return super().operation(folder, name, journal=journal, dry=dry)


def spawned(session: Session) -> dict[int, str]:
    """Map the pids of all processes that the project's deployments have spawned to what they are."""
    ids = set(session.workspace.deployments())
    return {pid: token for pid, token in find_all_spawned("").items() if token.partition("/")[0] in ids}


def scratch_folders(session: Session) -> list[Path]:
    """List the temporary folders of the project's deployments that are there."""
    begins = tuple(f"nxc-{os.getuid()}-{id}-" for id in session.workspace.deployments())
    return [path for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith(begins)]


def sweep(session: Session) -> None:
    """Take away what a failed test left behind, by force."""
    for summary in session.deployments():
        with contextlib.suppress(Exception, pytest.fail.Exception):
            held = session.workspace.journal(summary.id).outstanding()
            if held or summary.status is not Status.STOPPED:
                session.down(summary.id)
    for pid in spawned(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for path in scratch_folders(session):
        shutil.rmtree(path, ignore_errors=True)


def child_environment() -> dict[str, str]:
    """Let a child process import whatever this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
