"""kexec keeps the contract of a flavour: on a farm of real sshd, and in full on emulated machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nxc_core.flavour import Flavour
from nxc_core.model import Json, Node
from nxc_core.operation import Operation
from nxc_core.session import Session
from tests import farm
from tests.basic_contract import BasicContract
from tests.farm import Farm
from tests.kexec_machines import SLOW, Former, build_system, machines, make_lab

CLEAN = "ls -A /dev/shm; cat /sys/kernel/kexec_loaded"


@pytest.fixture(scope="module")
def four_in_a_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with Farm(tmp_path_factory.mktemp("farm") / "farm") as found:
        for number in range(1, 5):
            found.add(f"machine{number}", wait=False)
        found.wait()
        yield found


@pytest.fixture(scope="module")
def four_machines(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Former]]:
    folder = tmp_path_factory.mktemp("kexec")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        lab = make_lab(folder / "lab", build_system(folder / "system"))
    with machines(lab, 4) as found:
        yield found


class KexecContract(BasicContract):
    """Two nodes, and four machines: some for a deployment and its spare, some for another beside it."""

    __test__ = False
    plugin = "nxc_kexec.plugin"
    flavour = "kexec"
    heavy = frozenset({"plumbum"})
    spares = 1

    def use(self, folder: Path, lines: Sequence[str], **options: Json) -> None:
        """Write the machine files: three machines, and the fourth with the third for a deployment beside."""
        for name, given in (("some", lines[:3]), ("others", lines[2:])):
            (folder / name).write_text("".join(f"{line}\n" for line in given))
        self.options = {**options, "machines": [str(folder / "some")]}  # type: ignore[misc]
        self.beside = {"machines": [str(folder / "others")]}  # type: ignore[misc]


@pytest.mark.root
@pytest.mark.live
@pytest.mark.timeout(1800)
class TestKexec(KexecContract):
    """All is real but the kernels: what boots is an sshd, with the keys in the ramdisk's node.json."""

    __test__ = True
    settle = 120.0
    notice = 120.0
    stops_within = 60.0

    @pytest.fixture(autouse=True)
    def _ready(self, four_in_a_farm: Farm, tmp_path: Path) -> Iterator[None]:
        """Give each test machines that are back."""
        self.farm = four_in_a_farm
        lines = [machine.line() for machine in self.farm.machines.values()]
        self.use(tmp_path, lines, known_hosts=str(self.farm.known_hosts))
        yield
        for machine in self.farm.machines.values():
            if machine.system != "former":
                machine.reset()
        for machine in self.farm.machines.values():
            machine.wait(lambda one: one.system == "former" and farm.answers(one.address, farm.PORT))

    def kill(self, flavour: Flavour[Any], node: Node, op: Operation) -> None:
        """Reset the machine: it has its former system again, and no node."""
        self.farm.machines[node.machine].reset()

    def leftovers(self, session: Session) -> list[str]:
        """Look whether every machine has its former system, with nothing of ours."""
        found = super().leftovers(session)
        for machine in self.farm.machines.values():
            if machine.system != "former" or not farm.answers(machine.address, farm.PORT):
                found.append(f"{machine.name} is {machine.system}")
            elif left := machine.ssh("ls", "-A", "/dev/shm").stdout.split():
                found.append(f"{machine.name} has {left}")
            elif machine.loaded:
                found.append(f"{machine.name} would boot {machine.loaded}")
        return found


@pytest.mark.full
@pytest.mark.timeout(3600)
class TestKexecInFull(KexecContract):
    """Everything is real."""

    __test__ = True
    settle = 300.0
    notice = 120.0
    stops_within = 30.0
    resumes = 2

    @pytest.fixture(autouse=True)
    def _ready(self, four_machines: list[Former], tmp_path: Path) -> Iterator[None]:
        """Give each test machines that are back."""
        self.machines = four_machines
        known_hosts = str(four_machines[0].lab.known_hosts)
        lines = [one.line for one in four_machines]
        # A machine that was just given back is rebooting.
        self.use(tmp_path, lines, known_hosts=known_hosts, cmdline=SLOW, contact=240)
        yield
        for machine in self.machines:
            if not machine.boot_id():
                machine.reset()

    def kill(self, flavour: Flavour[Any], node: Node, op: Operation) -> None:
        """Reset the machine: it has its former system again, and no node."""
        (found,) = (machine for machine in self.machines if machine.name == node.machine)
        found.order("system_reset")

    def leftovers(self, session: Session) -> list[str]:
        """Look whether every machine has its former system, with nothing of ours."""
        found = super().leftovers(session)
        for machine in self.machines:
            if not machine.boot_id():
                found.append(f"{machine.name} is not back")
            elif (left := machine.run(CLEAN).split()) != ["0"]:
                found.append(f"{machine.name} has {left}")
        return found
