"""The embedding API: a session owns the plugins and a project, and drives the verbs. No globals."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import evolve

from nxc_core import building, choosing, deploying, exporting, identity, paths, projects, starting, state
from nxc_core.choosing import Choice
from nxc_core.deploying import Summary
from nxc_core.errors import StateError
from nxc_core.model import (
    Build,
    Composition,
    Event,
    Json,
    Kind,
    Policy,
    Status,
)
from nxc_core.operation import Operation
from nxc_core.plugins import Broken, Plugins
from nxc_core.running import Running
from nxc_core.state import Journal, Workspace
from nxc_core.teardown import take_down
from nxc_core.verdict import check_needs, check_policy, judge, negotiate

Sink = Callable[[Event], None]
DriverOptions = Mapping[str, Mapping[str, Json]]
"""Options per driver name, such as ``{"vm-ramdisk": {"memory": "1g"}}``."""
Wanted = Mapping[str, int | Sequence[str]]
"""Nodes per role: a number, or their names."""
Accept = Callable[[Composition], None]
"""Raises ConfigError for a composition that cannot be meant."""


class Session:
    """One project and its plugins. Open with ``Session.open``; several may live in one process."""

    def __init__(
        self, workspace: Workspace, plugins: Plugins, *, sinks: Sequence[Sink], offline: bool
    ) -> None:
        self.workspace = workspace
        self.plugins = plugins
        self.offline = offline
        self.sinks = list(sinks)
        self._cancel = threading.Event()
        self._made: list[tuple[int, str]] = []

    @classmethod
    def open(
        cls,
        project: Path = Path(),
        *,
        sinks: Sequence[Sink] = (),
        offline: bool = False,
        plugins: Plugins | None = None,
    ) -> Session:
        """Open a project folder; nothing is written before a verb needs it."""
        return cls(Workspace(project.resolve()), plugins or Plugins.discover(), sinks=sinks, offline=offline)

    def interrupt(self) -> None:
        """Ask what is under way to stop; it ends with Interrupted."""
        self._cancel.set()

    # Operations

    def _emit(self, record: Path | None) -> Sink:
        def emit(event: Event) -> None:
            if record is not None:
                line = json.dumps(state.unstructure(event), sort_keys=True, ensure_ascii=False)
                with contextlib.suppress(OSError), record.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            for sink in self.sinks:
                sink(event)
            for broken in self.plugins.tell(event):
                self.say(
                    f"observer {broken.name} failed and is ignored from now on: {broken.reason}",
                    topic="warning",
                )

        return emit

    def say(self, message: str, *, topic: str = "step", node: str | None = None) -> None:
        """Tell those who listen to this session."""
        for sink in self.sinks:
            sink(Event(time=time.time(), topic=topic, message=message, node=node))

    def operation(
        self, folder: Path, name: str, *, journal: Journal | None = None, dry: bool = False
    ) -> Operation:
        """Return an operation on a folder, for drivers and for tools that embed nxc."""
        runtime = paths.runtime_dir() / paths.shorten(str(folder))
        return Operation(
            dir=folder,
            runtime=runtime,
            cache=paths.cache_dir(),
            journal=journal or Journal(folder / "journal.jsonl"),
            emit=self._emit(folder / "events.jsonl" if folder.is_dir() else None),
            cancel=self._cancel,
            offline=self.offline,
            dry=dry,
            name=name,
        )

    # Choosing

    def choose_base(
        self, source: Path, wanted: str | None = None, options: DriverOptions | None = None
    ) -> Choice:
        """Choose the base: what was asked, what the project's files or the options given speak of, debian."""
        given = [name for name in self.plugins.bases if (options or {}).get(name)]
        return choosing.choose_base(source, wanted, given)

    # Verbs

    def build(
        self,
        source: Path | str,
        *,
        flavour: str,
        base: str | None = None,
        options: DriverOptions | None = None,
        roles: Wanted | None = None,
        jobs: int = 2,
        accept: Accept | None = None,
        kinds: Sequence[Kind] = (),
    ) -> Build:
        """Build what ``flavour`` needs of a composition. With nothing changed, nothing is done.

        ``roles`` are the nodes that it is meant for: what cannot be is refused before anything is built, as
        by ``accept``. ``kinds`` stand for those that the flavour accepts.
        Raises ConfigError for a wrong composition, BuildError when a build does not finish.
        """
        source = building.existing(source)
        options = options or {}
        choice = self.choose_base(source, base, options)
        chosen = self.plugins.base(choice.name, options.get(choice.name))
        driver = self.plugins.flavour(flavour, options.get(flavour))
        kind = negotiate(chosen, driver, kinds)
        lasting = building.lasting(chosen.options_type, options.get(choice.name, {}))
        name = building.name_build(source, choice.name, kind, driver, lasting)
        self.workspace.prepare()
        with contextlib.suppress(OSError):  # a full cache is told by the build itself
            projects.register(self.workspace.project)
        folder = self.workspace.build_dir(name)
        folder.mkdir(parents=True, exist_ok=True)
        op = self.operation(folder, name)

        def check(composition: Composition) -> None:
            check_needs(composition, driver)
            if roles is not None:
                identity.distribute(composition, roles)
            driver.vet(identity.redistribute(composition, roles), op)
            if accept is not None:
                accept(composition)

        with op.alone(folder / "lock", name):
            building.wait_for_cleaning(op)
            fingerprint = chosen.fingerprint(source, kind, driver.guest, op)
            ready = building.find_unchanged(self.workspace.build_file(name), fingerprint)
            if ready is not None:
                check(ready.composition)
                op.step("nothing changed", topic="built", build=ready.id)
                return ready
            op.step(f"base {choice.name}: {choice.reason}")
            build = building.carry_out(
                self.plugins, chosen, driver, source, kind, name, lasting, jobs, op, check, choice.reason
            )
            state.save(self.workspace.build_file(name), build)
            op.step("built", topic="built", build=build.id)
            return build

    def start(
        self,
        source: Path | str,
        *,
        flavour: str,
        base: str | None = None,
        options: DriverOptions | None = None,
        roles: Wanted | None = None,
        parameters: Mapping[str, Json] | None = None,
        policy: Policy | None = None,
        fresh: bool = False,
        jobs: int = 2,
        accept: Accept | None = None,
    ) -> Running:
        """Build and deploy a composition, or go on with an interrupted start of the same.

        One that runs already is returned as it is, unless ``fresh`` asks for another beside it.
        ``policy`` says how many nodes are enough and what is tried for them; it stands above that of an
        interrupted start. ``accept`` may refuse what was read before anything is built.
        Raises PreflightError, before anything is built, when the flavour cannot start anything here, and
        DeployError when too few nodes came up; the deployment is then left for a look.
        """
        options, roles = options or {}, roles or {}
        driver = self.plugins.flavour(flavour, options.get(flavour))
        op = self.operation(self.workspace.root, "start")
        driver.require(op)

        def check(composition: Composition) -> None:
            check_policy(policy or Policy(), identity.distribute(composition, roles), driver, op)
            if accept is not None:
                accept(composition)

        build = self.build(
            source, flavour=flavour, base=base, options=options, roles=roles, jobs=jobs, accept=check
        )
        specs = identity.distribute(build.composition, roles)
        with op.alone(self.workspace.root / "lock", "this project"):
            found = None if fresh else starting.find_resumable(self, build, flavour, specs)
            if found is None:
                taken = {*driver.taken(op), *deploying.live_subnets(self.deployments())}
                deployment = deploying.describe(
                    build,
                    driver,
                    specs,
                    options.get(flavour, {}),
                    policy or Policy(),
                    parameters or {},
                    taken,
                )
                deploying.create(self.workspace, deployment, build)
                self._made.append((threading.get_ident(), deployment.id))
        if found is None:
            return starting.deploy(self, deployment, build, driver)
        running = self.attach(found.id)
        found = evolve(found, policy=policy or found.policy)
        outcomes = running.look()
        if found.status in (Status.RUNNING, Status.DEGRADED) and judge(found, outcomes) is found.status:
            self.say(f"{found.id} is running already (another: --new)")
            return running
        self.say(f"going on with {found.id}, which is {found.status}")
        return starting.deploy(self, found, build, driver, resumed=running)

    def export(
        self,
        source: Path | str,
        folder: Path,
        *,
        flavour: str,
        base: str | None = None,
        options: DriverOptions | None = None,
        roles: Wanted | None = None,
        parameters: Mapping[str, Json] | None = None,
        jobs: int = 2,
    ) -> None:
        """Build a composition, and write what brings it up without nxc into a new or empty folder.

        Nothing is left in the folder when this fails. Raises ConfigError for a flavour that cannot export.
        """
        options, roles, folder = options or {}, roles or {}, folder.absolute()
        driver = self.plugins.flavour(flavour, options.get(flavour))
        exporting.check_flavour(self.plugins, driver)
        exporting.check_folder(folder)
        build = self.build(
            source,
            flavour=flavour,
            base=base,
            options=options,
            roles=roles,
            jobs=jobs,
            kinds=driver.exports,
        )
        specs = identity.distribute(build.composition, roles)
        with tempfile.TemporaryDirectory(prefix="nxc-export-") as work:
            op = self.operation(Path(work), "export")
            taken = exporting.find_taken(driver, op)
            deployment = deploying.describe(
                build, driver, specs, options.get(flavour, {}), Policy(), parameters or {}, taken
            )
            exporting.write(self.plugins, driver, deployment, build, folder, evolve(op, name=deployment.id))

    def attach(self, id: str | None = None) -> Running:
        """Return a deployment by its id, a unique beginning of it, or the only live one."""
        id = self.find(id)
        try:
            deployment = deploying.bound(self.workspace.load(id), self.workspace.journal(id))
        except FileNotFoundError as error:
            told = f"{id} was never started: {error.filename} is not there"
            raise StateError(told, hint=f"`nxc down {id}` takes away what is left") from error
        op = self.operation(self.workspace.deployment_dir(deployment.id), deployment.id)
        if deployment.status is not Status.STOPPED:
            paths.private(op.runtime)
        return Running(self, deployment, op)

    def find(self, id: str | None = None, *, stopped: bool = False) -> str:
        """Complete a deployment's id; raises StateError when none or several fit."""
        return deploying.find(self.workspace, id, stopped=stopped)

    def deployments(self) -> list[Summary]:
        """List the project's deployments, oldest first, damaged ones included with their trouble."""
        return deploying.summarise_all(self.workspace)

    def down(self, id: str | None = None) -> None:
        """Release everything a deployment holds, from any process, after a crash, twice.

        Raises TeardownError naming what could not be released; its claims are kept.
        """
        self._cancel = threading.Event()  # an interrupted start must not keep its own removal from working
        id = self.find(id)
        take_down(self.plugins, self.workspace, id, self.operation(self.workspace.deployment_dir(id), id))

    @contextlib.contextmanager
    def up(
        self,
        source: Path | str,
        *,
        flavour: str,
        base: str | None = None,
        options: DriverOptions | None = None,
        roles: Wanted | None = None,
        parameters: Mapping[str, Json] | None = None,
        policy: Policy | None = None,
        keep: bool = False,
    ) -> Iterator[Running]:
        """Build, start, and take down on any exit, also when the start itself fails, unless ``keep``."""
        before = set(self._made)
        mine: set[tuple[int, str]] = set()
        try:
            try:
                running = self.start(
                    source,
                    flavour=flavour,
                    base=base,
                    options=options,
                    roles=roles,
                    parameters=parameters,
                    policy=policy,
                    fresh=True,
                )
            finally:  # what another nxc starts in this project meanwhile is none of our business
                mine = {one for one in self._made if one[0] == threading.get_ident()} - before
            yield running
        finally:
            for _, id in () if keep else mine:
                self.down(id)

    @property
    def made(self) -> Sequence[str]:
        """Ids of the deployments that this session made, whatever became of them."""
        return [id for _, id in self._made]

    @property
    def broken(self) -> Sequence[Broken]:
        """Plugins that were left out."""
        return self.plugins.broken
