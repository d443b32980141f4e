"""nxc ends in the middle of a start on a farm's machines: all can be given back."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.farm import Machine
from tests.farm_bench import Bench, own_processes, speaking
from tests.farm_fixtures import bench, farm, settled, vanish

__all__ = ["bench", "farm"]  # fixtures

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(900)]


def sleeping(program: str) -> dict[str, Any]:
    return {"shims": {program: "sleep 60"}}


STEPS: dict[str, dict[str, Any]] = {
    "facts": sleeping("uname"),
    "hold": sleeping("mv"),
    "image": sleeping("dd"),
    "load": sleeping("truncate"),
}


def is_asleep(machine: Machine) -> bool:
    return any("sleep 60" in line for line in machine.processes())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.full)])
def test_an_end_in_a_step(bench: Bench, step: str, number: signal.Signals) -> None:
    machine = bench.farm.add("m1", **STEPS[step])
    end_when(bench, number, lambda: is_asleep(machine))
    settled(bench)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_end_while_a_machine_is_contacted(bench: Bench, number: signal.Signals) -> None:
    machine = bench.farm.add("m1")
    vanish(machine)
    end_when(bench, number, lambda: any("ControlMaster=yes" in one for one in speaking(bench.farm)))
    settled(bench)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_end_while_a_node_boots(bench: Bench, number: signal.Signals) -> None:
    machine = bench.farm.add("m1", boot=3.0)
    end_when(bench, number, lambda: "kexec" in machine.log)
    settled(bench)
    assert machine.log[-2:] == ["reboot", "former"] or machine.system == "off"


def end_when(bench: Bench, number: signal.Signals, now: Callable[[], bool]) -> None:
    """Start, and send nxc a signal as soon as something is so."""
    with bench.spawn(*bench.words("-o", "kexec.contact=30")) as child:
        end = time.monotonic() + 120
        while not now():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)
        child.send_signal(number)
        out, err = child.communicate(timeout=120)
    assert child.returncode == (130 if number is signal.SIGINT else -number), (out, err)
    assert "Traceback" not in err
    assert own_processes(bench.farm) == [] or number is signal.SIGKILL
