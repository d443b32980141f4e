"""What goes wrong: crashes around every claim, dead nodes, interruptions; and what must stay secret."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from nxc_core.errors import DeployError, Interrupted, NxcError
from nxc_core.flavour import Flavour
from nxc_core.model import Event, NodeState, Plan, Status
from nxc_core.operation import Operation
from nxc_core.testing.hooks import FlavourHooks, proof
from nxc_core.testing.secrecy import exposed_files, heard_commands, key_material, living_commands
from nxc_core.testing.workbench import Crash, Plug, Watch, When, Workbench


class TroubleContract(FlavourHooks):
    """Tests of what goes wrong."""

    __test__ = False

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_crash_around_any_claim_leaks_nothing(
        self, when: When, session: Workbench, composition: Path
    ) -> None:
        """Whenever the plug is pulled, another session's ``down`` leaves nothing."""
        for at in itertools.count(1):
            plug = Plug(at=at, when=when, records=self.crash_records)
            id = self._start_and_crash(session.workspace.project, composition, plug)
            try:
                self.open(session.workspace.project).down(id)
            except NxcError as error:
                pytest.fail(f"after a crash {plug.where}, down failed: {error}")
            self.nothing_left(session, f"after a crash {plug.where}")
            if not plug.pulled:
                assert at > 1, "nothing was claimed, so there was nothing to crash around"
                return

    def test_a_crashed_start_is_gone_on_with(self, session: Workbench, composition: Path) -> None:
        """The next start takes up the deployment that a crash left, brings it up, and leaks nothing."""
        project = session.workspace.project
        for at in self._points(session, composition):
            plug = Plug(at=at, when="after", records=self.crash_records)
            id = self._start_and_crash(project, composition, plug)
            running = self.start(self.open(project), composition, fresh=False)
            assert running.id == id, f"after a crash {plug.where}, start made another deployment"
            assert running.deployment.status is Status.RUNNING
            for name in running:
                instance, _ = proof(running, name)
                assert instance == running.deployment.instances[name], (
                    f"after a crash {plug.where} and another start, {name} answers {instance!r}"
                )
            self.open(project).down(id)
            self.nothing_left(session, f"after a crash {plug.where}, another start, and down")

    def _points(self, session: Workbench, composition: Path) -> list[int]:
        """Choose at which claims to crash, evenly among all."""
        plug = Plug(at=0, when="after", records=self.crash_records)
        self.open(session.workspace.project).down(
            self._start_and_crash(session.workspace.project, composition, plug)
        )
        step = max(1, plug.seen // self.resumes)
        return list(range(1, plug.seen + 1, step))[: self.resumes]

    def _start_and_crash(self, project: Path, composition: Path, plug: Plug) -> str:
        """Start until the plug is pulled, without waiting for readiness; answers the deployment's id."""
        session = self.open(project, watch=Watch(reach=False), tap=plug)
        before = set(session.workspace.deployments())
        with contextlib.suppress(Crash, DeployError):  # nobody waits for nodes: a whole start ends as failed
            self.start(session, composition)
        (id,) = set(session.workspace.deployments()) - before
        return id

    def test_a_dead_node_is_reported(self, session: Workbench, composition: Path) -> None:
        """A node that dies while booting is named with a cause, before the deadline; the others come up."""
        killed: list[tuple[str, float]] = []

        def kill_one(flavour: Flavour[Any], plan: Plan, op: Operation) -> None:
            name = plan.nodes[-1].name
            self.kill(flavour, op.journal.nodes()[name], op)
            killed.append((name, time.monotonic()))

        def note_time(event: Event) -> None:
            if event.topic == "outcome" and event.node is not None:
                told_at[event.node] = time.monotonic()

        told_at: dict[str, float] = {}
        mortal = self.open(session.workspace.project, watch=Watch(after_boot=kill_one))
        mortal.sinks.append(note_time)
        told = self._refused(mortal, composition)
        ((name, since),) = killed
        assert told, f"{name} was killed while it booted, but the start went well"
        outcomes = session.deployments()[-1].outcomes
        assert outcomes[name].state is NodeState.FAILED, f"dead {name} is {outcomes[name].state}"
        assert outcomes[name].cause, f"{name} failed without a cause"
        assert name in told, f"the error does not name {name}: {told}"
        late = told_at[name] - since
        assert late < self.notice, f"the death of {name} was told after {late:.0f} s"
        bad = [o.node for o in outcomes.values() if o.node != name and o.state is not NodeState.READY]
        assert not bad, f"the death of {name} kept {', '.join(bad)} from becoming ready"

    def test_an_interrupted_start_ends_soon(self, session: Workbench, composition: Path) -> None:
        """A first Ctrl-C is enough; what was started is taken down afterwards."""
        asked: list[float] = []

        def interrupt(when: When, record: object) -> None:
            if when == "after" and not asked:
                asked.append(time.monotonic())
                hasty.interrupt()

        hasty = self.open(session.workspace.project, tap=interrupt)
        with contextlib.suppress(Interrupted):
            self.start(hasty, composition)
            pytest.fail("an interrupted start ended as if nothing had happened")
        took = time.monotonic() - asked[0]
        assert took < self.stops_within, (
            f"an interrupted start went on for {took:.1f} s: look at op.cancelled"
        )
        session.down(session.deployments()[-1].id)
        self.nothing_left(session, "after an interrupted start and down")

    def test_secrets_stay_secret(self, session: Workbench, composition: Path) -> None:
        """Private keys and parameters are on no command line, and in no file that others can read."""
        told = {"contract-secret": f"secret-{secrets.token_hex(16)}"}
        with heard_commands() as heard, self.up(session, composition, parameters=told) as running:
            keys = key_material(running.op.dir)
            assert bool(keys) is running.flavour.guest.ssh, "keys are for guests with ssh, and only for them"
            wanted = [*keys, *told.values()]
            shown = [line for line in (*heard, *living_commands()) if any(s in line for s in wanted)]
            if shown:
                pytest.fail(f"a secret is on a command line: {shown[0][:60]}...")
            exposed = exposed_files(self.exposed_folders(running), wanted)
            if exposed:
                pytest.fail(f"others can read a secret in {', '.join(exposed)}")

    def _refused(self, session: Workbench, composition: Path) -> str:
        try:
            self.start(session, composition)
        except DeployError as error:
            return error.message
        return ""
