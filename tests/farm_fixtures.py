"""A farm of a test's own, a project on it, and the troubles that its machines may have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.farm import PORT, Farm, Machine
from tests.farm_bench import Bench

DAMAGE = """/mnt/real/bin/python3 -c '
import os
at = 0
while data := os.read(0, 65536):
    if at <= 1500000 < at + len(data):
        data = bytearray(data)
        data[1500000 - at] ^= 1
        open("/run/damaged", "w")
    at += len(data)
    while data:
        data = data[os.write(1, data):]
' | /mnt/real/bin/dd "$@"
exit
"""
"""What a machine is sent loses its right value at one byte."""


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with Farm(tmp_path / "farm") as farm:
        yield farm


@pytest.fixture
def bench(farm: Farm, tmp_path: Path) -> Bench:
    project = tmp_path / "web"
    project.mkdir()
    bench = Bench(farm=farm, project=project, options=("kexec.contact=30", "kexec.boot=60"))
    bench.write(node=1)
    return bench


def settled(bench: Bench) -> None:
    """Give all back, and see that nothing is left anywhere."""
    down = bench.down()
    assert down.code == 0, down
    bench.assert_nothing_left()


def kexec_shim(*, on: str, lines: str) -> dict[str, Any]:
    return {"shims": {"kexec": f'case " $* " in *" {on} "*) {lines} ;; esac'}}


def vanish(machine: Machine) -> None:
    machine.cut()
    machine.wait(lambda one: one.system == "off")
    machine.farm.black_hole(machine.address, PORT)
