"""The life of a deployment: up, commands and files, down; beside another; from another process."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

import pytest

from nxc_core import process
from nxc_core.errors import CommandError
from nxc_core.flavour import Flavour
from nxc_core.model import NodeState, Status
from nxc_core.running import Running
from nxc_core.testing import elsewhere
from nxc_core.testing.hooks import FlavourHooks, claims, proof, read_answers
from nxc_core.testing.workbench import Workbench, child_environment


class LifeContract(FlavourHooks):
    """Tests of the ordinary life."""

    __test__ = False

    def test_is_discovered_under_its_name(self, session: Workbench) -> None:
        """The entry has a summary, and its target is a Flavour of the same name that accepts something."""
        entry = self.entry(session)
        driver = self.driver(session)
        assert entry.summary, f"{entry.name} has no summary"
        assert isinstance(driver, Flavour)
        assert driver.name == entry.name, f"the entry says {entry.name}, the driver {driver.name}"
        assert driver.accepts, f"{driver.name} accepts no kind"

    def test_up_run_down(self, session: Workbench, composition: Path) -> None:
        """Nodes come up, commands answer with their own exit code and output, and nothing is left."""
        with self.up(session, composition) as running:
            assert running.deployment.status is Status.RUNNING, f"status is {running.deployment.status}"
            assert running.op.claimed(), "nothing was claimed, so nobody could find what was started"
            for name in running:
                _talk(running, name)
            _look_at_networks(running)
            with pytest.raises(CommandError) as late:
                running.connection(name).run(("sleep", "30"), timeout=0.5)
            assert late.value.code is None, f"a late command was answered with code {late.value.code}"
        assert session.workspace.load(running.id).status is Status.STOPPED
        left = claims(session, running.id)
        assert not left, f"claims are left after down: {left}"
        self.nothing_left(session, "after down")

    def test_ready_is_proved(self, session: Workbench, composition: Path) -> None:
        """A node that counts as ready is the one we booted: it knows its instance id."""
        with self.up(session, composition) as running:
            for name in running:
                outcome = running.outcome(name)
                assert outcome.state is NodeState.READY, f"{name} is {outcome.state}: {outcome.cause}"
                instance, boot_id = proof(running, name)
                wanted = running.deployment.instances[name]
                assert instance == wanted, f"{name} counts as ready but is another instance: {instance!r}"
                assert boot_id == outcome.boot_id, f"{name} shows another boot id than when it became ready"

    def test_files_arrive(self, session: Workbench, composition: Path, tmp_path: Path) -> None:
        """``put`` and ``get`` carry folders, odd names, any bytes and the executable bit."""
        source = tmp_path / "sent"
        (source / "sub folder").mkdir(parents=True)
        (source / "sub folder" / "bytes").write_bytes(bytes(range(256)) * 4096)
        (source / "run.sh").write_text("#!/bin/sh\necho ran\n")
        (source / "run.sh").chmod(0o755)
        with self.up(session, composition) as running:
            name = next(iter(running))
            there = f"/tmp/{running.id}/arrived here"
            connection = running.connection(name)
            connection.put(source, there)
            try:
                assert connection.run((f"{there}/run.sh",), timeout=60).text == "ran\n"
                connection.get(there, tmp_path / "back")
            finally:
                connection.run(("rm", "-rf", f"/tmp/{running.id}"), timeout=60)
        back = tmp_path / "back"
        assert (back / "sub folder" / "bytes").read_bytes() == bytes(range(256)) * 4096, (
            "other bytes came back"
        )
        assert os.access(back / "run.sh", os.X_OK), "the executable bit was lost"

    def test_two_deployments_do_not_meet(self, session: Workbench, composition: Path) -> None:
        """They share no claim, and taking one down leaves the other alone."""
        with self.up(session, composition) as first, self.up(session, composition, beside=True) as second:
            shared = claims(session, first.id) & claims(session, second.id)
            assert not shared, (
                f"two deployments share the claims {shared}: put the deployment's id into the name"
            )
            second.down()
            for name in first:
                instance, _ = proof(first, name)
                assert instance == first.deployment.instances[name], (
                    f"taking {second.id} down harmed {name} of {first.id}: it answers {instance!r}"
                )
        self.nothing_left(session, "after both are down")

    def test_released_and_taken_down_twice(self, session: Workbench, composition: Path) -> None:
        """Releasing what is gone is success, again and again."""
        with self.up(session, composition) as running:
            resources = running.op.claimed()
        for round in ("second", "third"):
            for rank in sorted({r.rank for r in resources}, reverse=True):
                wanted = [r for r in resources if r.rank == rank and r.kind != "folder"]
                try:
                    gone = {r.key for r in running.flavour.release(wanted, running.op)}
                except Exception as error:  # noqa: BLE001 - that it raises at all is the fault
                    pytest.fail(f"release() of what is gone raised {type(error).__name__}: {error}")
                kept = {r.key for r in wanted} - gone
                assert not kept, f"the {round} release does not say that {kept} is gone"
            session.down(running.id)

    def test_what_is_saved_is_enough(self, session: Workbench, composition: Path) -> None:
        """Another process, which knows the id alone, runs commands and takes the deployment down."""
        running = self.start(session, composition)
        argv = (sys.executable, "-P", elsewhere.__file__, str(session.workspace.project), running.id)
        answers = read_answers(process.run(argv, env=child_environment(), timeout=300).text)
        assert answers == dict.fromkeys(running, "42\n"), f"another process was answered {answers}"
        self.nothing_left(session, "after another process took it down")


def _look_at_networks(running: Running) -> None:
    """Where a network is claimed, the next deployment must not be given the same subnet."""
    claimed = [found.kind for found in running.op.claimed() if "network" in found.kind]
    taken = [ipaddress.ip_network(one, strict=False) for one in running.flavour.taken(running.op)]
    for network in running.deployment.networks if claimed else ():
        if not network.subnet:
            continue  # the platform's own
        subnet = ipaddress.ip_network(network.subnet)
        assert any(subnet.overlaps(one) for one in taken if one.version == 4), (
            f"{claimed[0]} is claimed, but taken() does not list {network.subnet}, which it has"
        )


def _talk(running: Running, name: str) -> None:
    connection = running.connection(name)
    script = 'printf "%s|" "$@"; echo wrong >&2; exit 1'
    words = ("a b", "$HOME", "it's", 'say "no"', "two\nlines", "")
    ended = connection.run(("sh", "-c", script, "sh", *words), check=False, timeout=60)
    assert ended.code == 1, f"{name}: a command that exits with 1 was answered {ended.code}"
    assert "wrong" not in ended.text, f"{name}: standard error is mixed into standard output"
    assert ended.text == "".join(f"{word}|" for word in words), f"{name}: arguments arrived as {ended.text!r}"
    assert ended.error_text.strip().endswith("wrong"), f"{name}: standard error was {ended.error_text!r}"
    echoed = connection.run(("cat",), stdin=b"\x00\xff through", timeout=60)
    assert (echoed.code, echoed.stdout) == (0, b"\x00\xff through"), (
        f"{name}: standard input came back as {echoed}"
    )
    with pytest.raises(CommandError) as failed:
        connection.run(("sh", "-c", "exit 3"), timeout=60)
    assert failed.value.code == 3, f"{name}: exit code 3 was reported as {failed.value.code}"
