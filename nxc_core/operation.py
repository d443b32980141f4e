"""One verb under way: all that a driver may act through."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from nxc_core import process, spawned
from nxc_core.errors import CommandError, DeployError, Interrupted, PreflightError, StateError
from nxc_core.flows import Flow, run_flows
from nxc_core.model import Event, Json, Node, Outcome, Quarantined, Resource
from nxc_core.process import Command, Completed, OnLine
from nxc_core.state import Journal, locked

A = TypeVar("A")
B = TypeVar("B")

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.5
THREADS = 8

Emit = Callable[[Event], None]


@frozen(kw_only=True)
class Operation:
    """What a driver is given.

    ``dir`` is the deployment's (or build's) folder, kept; ``runtime`` a short path for sockets.
    ``cache`` is shared by all projects of the user. With ``offline`` nothing may leave the machine,
    with ``dry`` nothing but the cache may be written.
    """

    dir: Path
    runtime: Path
    cache: Path
    journal: Journal
    emit: Emit
    cancel: threading.Event
    offline: bool = False
    dry: bool = False
    name: str = ""

    @property
    def cancelled(self) -> bool:
        """Whether the user asked to stop."""
        return self.cancel.is_set()

    def check_cancelled(self) -> None:
        """Raise Interrupted if the user asked to stop."""
        if self.cancelled:
            raise Interrupted("interrupted")

    # What exists outside nxc

    def claim(self, kind: str, id: str, *, rank: int = 0, **data: Json) -> Resource:
        """Write down what is about to be created; it is on disk, synced, when this returns."""
        return self.journal.claim(Resource(kind=kind, id=id, rank=rank, data=data))

    def note(self, resource: Resource, **data: Json) -> Resource:
        """Add what was learned after the claim, such as a pid or a job id."""
        return self.journal.note(resource, data)

    def claimed(self, kind: str | None = None) -> list[Resource]:
        """List outstanding claims, oldest first, with what was noted."""
        return [found for found in self.journal.outstanding() if kind in (None, found.kind)]

    def spawn(
        self,
        kind: str,
        id: str,
        argv: Sequence[str],
        *,
        log: Path,
        rank: int = 0,
        env: Mapping[str, str] | None = None,
        **data: Json,
    ) -> Resource:
        """Claim and start a process that outlives nxc. Idempotent: one that lives is left alone."""
        resource = self.claim(kind, id, rank=rank, **data)
        if not self.alive(resource):
            pid = process.spawn(argv, token=self.token(resource), log=log, env=env)
            resource = self.note(resource, pid=pid)
        return resource

    def token(self, resource: Resource) -> str:
        """Return the mark by which a spawned process is found again, whoever started it."""
        return f"{self.name}/{resource.kind}/{resource.id}"

    def alive(self, resource: Resource) -> bool:
        """Whether the process of this claim lives."""
        return spawned.is_any_spawned(self.token(resource))

    def stop(self, resource: Resource, *, grace: float = process.GRACE) -> bool:
        """End a spawned process; True when it is gone for sure."""
        return spawned.stop_spawned(self.token(resource), grace=grace)

    # What is going on

    def step(self, message: str, *, node: str | None = None, topic: str = "step", **data: Json) -> None:
        """Say what is being done, in the present participle: "starting"."""
        self.emit(Event(time=time.time(), topic=topic, message=message, node=node, data=data))

    def node(self, node: Node) -> None:
        """Report a node that can be tried from now on; journalled."""
        self.journal.node(node)
        self.step("booting", node=node.name, topic="node")

    def outcome(self, outcome: Outcome) -> None:
        """Report where a node has got to; journalled."""
        self.journal.outcome(outcome)
        message = outcome.state.value + (f": {outcome.cause}" if outcome.cause else "")
        self.step(message, node=outcome.node, topic="outcome", last_line=outcome.last_line)

    def quarantine(self, machine: str, cause: str, *, step: str = "", last_line: str = "") -> None:
        """Report a machine that no node is to be bound to from now on; journalled, and told once."""
        if machine not in self.journal.quarantined():
            self.journal.quarantine(Quarantined(machine=machine, cause=cause, step=step, last_line=last_line))
            self.step(f"{machine} is left out: {cause}", topic="quarantine", machine=machine, at=step)

    # Work

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float | None = None,
        stdin: bytes | Path | None = None,
        output: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: OnLine | None = None,
    ) -> Completed:
        """Run a command to its end, as ``process.run`` does, until the operation is cancelled."""
        return process.run(
            argv,
            check=check,
            timeout=timeout,
            stdin=stdin,
            output=output,
            env=env,
            cwd=cwd,
            cancelled=self.cancel,
            on_line=on_line,
        )

    def commands(
        self, argvs: Sequence[Sequence[str]], *, limit: int = 64, timeout: float | None = None
    ) -> list[Completed | CommandError]:
        """Run many commands from one loop with constant threads."""
        return process.run_all(
            [Command(argv=tuple(argv)) for argv in argvs], limit=limit, timeout=timeout, cancelled=self.cancel
        )

    def flows(self, flows: Sequence[Flow[A]], *, limit: int = 64) -> list[A | Exception]:
        """Drive many flows of commands from one loop and one thread, as ``flows.run_flows`` does."""
        return run_flows(flows, limit=limit, cancelled=self.cancel)

    def map(self, fn: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Call ``fn`` for each item in at most eight threads; runs all, then raises one ExceptionGroup.

        Interrupted stands above other failures: it is raised alone.
        """
        work = list(items)
        if len(work) == 1:
            return [fn(work[0])]
        failures: list[Exception] = []
        results: list[B] = []
        with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="nxc") as pool:
            for future in [pool.submit(fn, item) for item in work]:
                try:
                    results.append(future.result())
                except Exception as error:  # noqa: BLE001 - values inside a batch, raised together below
                    failures.append(error)
        for failure in failures:
            if isinstance(failure, Interrupted):
                raise failure
        if failures:
            raise failures[0] if len(failures) == 1 else ExceptionGroup("several failed", failures)
        return results

    def wait(self, what: str, probe: Callable[[], bool], *, timeout: float) -> None:
        """Try ``probe`` until it is true, from every 20 ms to every 0.5 s.

        Raises DeployError naming ``what`` after ``timeout`` seconds, Interrupted when cancelled.
        """
        end = time.monotonic() + timeout
        pause = FIRST_PAUSE
        while True:
            late = time.monotonic() > end  # before the try: we may have been stopped ourselves since the last
            if probe():
                return
            self.check_cancelled()
            if late:
                raise DeployError(f"{what}: not after {timeout:g} s")
            self.cancel.wait(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    @contextlib.contextmanager
    def alone(self, path: Path, what: str, *, patience: float = 7200) -> Iterator[None]:
        """Hold a lock file, waiting for another nxc at work on the same; raises StateError in the end."""
        end = time.monotonic() + patience
        with contextlib.ExitStack() as stack:
            told = False
            while True:
                try:
                    stack.enter_context(locked(path, what=what))
                    break
                except StateError as error:
                    if time.monotonic() > end:
                        raise
                    if not told:
                        self.step(f"waiting: {error.message}")
                        told = True
                self.check_cancelled()
                self.cancel.wait(0.2)
            yield

    def need_disk(self, folder: Path, mebibytes: int, what: str) -> None:
        """Raise PreflightError unless ``folder``'s file system has that much free space."""
        probe = folder
        while not probe.exists():
            probe = probe.parent
        free = shutil.disk_usage(probe).free >> 20
        if free < mebibytes:
            raise PreflightError(
                f"{what} needs about {mebibytes} MiB, {probe} has {free} MiB left",
                hint="free some space (`nxc clean` shows what nxc keeps), or set XDG_CACHE_HOME elsewhere",
            )

    def scratch(self, name: str) -> Path:
        """Claim and make a temporary folder; release is the core's (kind ``folder``)."""
        root = Path(tempfile.gettempdir())
        path = root / f"nxc-{os.getuid()}-{self.name}-{name}"
        self.claim("folder", str(path))
        path.mkdir(mode=0o700, exist_ok=True)
        if path.lstat().st_uid != os.getuid():
            raise PreflightError(f"{path} belongs to someone else", hint="remove it, or set TMPDIR")
        return path
