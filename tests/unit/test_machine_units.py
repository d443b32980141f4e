"""The verbs that ask systemd, over plain bash: waiting for units, and what is told of them."""

from __future__ import annotations

import threading
import time

import pytest

from nxc_core import machine_shell, machine_units
from nxc_core.errors import TestFailed
from nxc_core.machine import NodeHandle
from tests.fake_node import FakeRunning, node, running

__all__ = ["node", "running"]  # fixtures


def state(active: str, sub: str = "", **more: str) -> str:
    told = {"ActiveState": active, "SubState": sub or active, "LoadState": "loaded", **more}
    return "".join(f"{key}={value}\n" for key, value in told.items())


def test_wait_for_unit_returns_when_active(running: FakeRunning, node: NodeHandle) -> None:
    unit = running.folder("server") / "unit"
    unit.write_text(state("activating", "start-pre"))
    threading.Timer(0.3, unit.write_text, [state("active", "running")]).start()
    node.wait_for_unit("nginx.service", timeout=30)


def test_a_unit_that_is_slow_is_late(
    running: FakeRunning, node: NodeHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_shell, "SHORTEST_TRY", 60)
    (running.folder("server") / "unit").write_text(state("activating", "start"))
    with pytest.raises(TestFailed, match=r"unit nginx.service\n  last seen: activating \(start\)"):
        node.wait_for_unit("nginx.service", timeout=0.3)


def test_a_failed_unit_fails_at_once(running: FakeRunning, node: NodeHandle) -> None:
    (running.folder("server") / "unit").write_text(state("failed", Result="exit-code"))
    start = time.monotonic()
    with pytest.raises(TestFailed, match=r"unit nginx.service failed \(result: exit-code\)"):
        node.wait_for_unit("nginx.service", timeout=60)
    assert time.monotonic() - start < 30


def test_an_idle_unit_is_looked_at_again_before_it_is_given_up(
    running: FakeRunning, node: NodeHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_units, "IDLE_SECONDS", 0.5)
    unit = running.folder("server") / "unit"
    unit.write_text(state("inactive", "dead"))
    threading.Timer(0.2, unit.write_text, [state("active", "running")]).start()
    node.wait_for_unit("socket-started.service", timeout=30)
    unit.write_text(state("inactive", "dead"))
    with pytest.raises(TestFailed, match="inactive and nothing is queued"):
        node.wait_for_unit("idle.service", timeout=30)


def test_an_idle_unit_is_waited_for_while_jobs_are_queued(running: FakeRunning, node: NodeHandle) -> None:
    (running.folder("server") / "unit").write_text(state("inactive", "dead"))
    (running.folder("server") / "jobs").write_text("12 multi-user.target start waiting\n")
    with pytest.raises(TestFailed, match=r"waited 0.3 s"):
        node.wait_for_unit("nginx.service", timeout=0.3)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"LoadState": "not-found"}, "there is no unit x.service"),
        ({"Type": "oneshot", "ExecMainStartTimestampMonotonic": "12"}, "RemainAfterExit"),
        ({"ConditionResult": "no"}, "condition"),
    ],
)
def test_why_a_unit_never_starts_is_told(
    more: dict[str, str],
    told: str,
    running: FakeRunning,
    node: NodeHandle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine_units, "IDLE_SECONDS", 0.1)
    (running.folder("server") / "unit").write_text(state("inactive", "dead", **more))
    with pytest.raises(TestFailed, match=told):
        node.wait_for_unit("x.service", timeout=30)


def test_a_bus_that_is_not_there_yet_is_waited_for(running: FakeRunning, node: NodeHandle) -> None:
    (running.folder("server") / "unit").write_text(state("active"))
    bus = running.folder("server") / "no-bus"
    bus.touch()
    threading.Timer(0.3, bus.unlink).start()
    node.wait_for_unit("nginx.service", timeout=30)


def test_properties_are_read(running: FakeRunning, node: NodeHandle) -> None:
    (running.folder("server") / "unit").write_text(state("active", "running", Environment="A=1 B=2"))
    assert node.get_unit_info("x")["Environment"] == "A=1 B=2"
    assert node.get_unit_property("x", "SubState") == "running"
    with pytest.raises(TestFailed, match="no property Nope"):
        node.get_unit_property("x", "Nope")
    node.require_unit_state("x")
    with pytest.raises(TestFailed, match=r"unit x is active \(running\), not failed"):
        node.require_unit_state("x", "failed")


def test_systemctl_and_jobs(running: FakeRunning, node: NodeHandle) -> None:
    assert node.systemctl("is-active x") == (0, "active\n")
    assert node.start_job("x.service") == (0, "")
    assert (running.folder("server") / "started.x.service").exists()
    assert node.systemctl("nonsense")[0] == 5


def test_units_of_a_user_are_asked_for_as_that_user() -> None:
    command = machine_units._systemctl("--no-pager show x", "alice")
    assert command.startswith("su -l alice --shell /bin/sh -c ")
    assert "systemctl --user --no-pager show x" in command
