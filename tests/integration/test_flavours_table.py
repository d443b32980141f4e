"""What docs/flavours.md marks yes really runs: its own test script, no failed units, and nothing left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.model import Json
from nxc_core.script import run_script
from nxc_core.session import Session
from nxc_core.spawned import find_all_spawned
from tests import flavours_table
from tests.engines import Engine
from tests.integration.test_examples import COMPOSITIONS
from tests.kexec_machines import SLOW, Former, build_system, machines, make_lab

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(900)]

YES = [cell for cell, yes in flavours_table.read_cells(flavours_table.FILE.read_text()).items() if yes]
CONTAINERS = [cell for cell in YES if cell[0] in ("docker", "nspawn")]
LENT = [cell for cell in YES if cell[0] == "kexec"]
"""On machines that are lent to nxc."""
MOST = 3
"""Nodes of the largest example."""


def holds_and_leaves_nothing(
    flavour: str, example: str, folder: Path, options: dict[str, Json] | None = None
) -> str:
    """Run an example as its reader would; returns the deployment's id."""
    project = folder / example
    shutil.copytree(flavours_table.ROOT / "examples" / example, project)
    session = Session.open(project)
    given = {flavour: options or {}}
    with session.up(project, flavour=flavour, base=flavours_table.BASE, options=given) as running:
        script = running.deployment.composition.test_script
        assert script
        run_script(running, script)
        for node in running.values():
            node.wait_until_succeeds("systemctl is-system-running --wait | grep -x running", timeout=120)
            failed = node.succeed("systemctl list-units --state=failed --plain --no-legend")
            assert failed.strip() == "", f"{node.name}: {failed}"
        id = running.id
    assert find_all_spawned(f"{id}/") == {}
    assert session.workspace.journal(id).outstanding() == []
    return id


@pytest.mark.parametrize("example", [example for flavour, example in CONTAINERS if flavour == "docker"])
def test_it_runs_on_docker(
    example: str, docker_engine: Engine, cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    id = holds_and_leaves_nothing("docker", example, tmp_path)
    assert docker_engine.found(f"nxc.deployment={id}") == []


@pytest.mark.full
@pytest.mark.parametrize("example", [example for flavour, example in CONTAINERS if flavour == "docker"])
def test_it_runs_on_podman(
    example: str, podman_engine: Engine, cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", podman_engine.url)
    id = holds_and_leaves_nothing("docker", example, tmp_path)
    assert podman_engine.found(f"nxc.deployment={id}") == []


@pytest.mark.parametrize("example", [example for flavour, example in CONTAINERS if flavour == "nspawn"])
def test_it_runs_on_nspawn(example: str, cached: Path, tmp_path: Path) -> None:
    holds_and_leaves_nothing("nspawn", example, tmp_path)


@pytest.fixture(scope="module")
def lent(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Former]]:
    """Machines with an ordinary Debian, emulated."""
    folder = tmp_path_factory.mktemp("lent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        lab = make_lab(folder / "lab", build_system(folder / "system"))
    with machines(lab, MOST, memory=2048) as found:
        yield found


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("example", [example for _, example in LENT])
def test_it_runs_on_kexec(example: str, lent: list[Former], cached: Path, tmp_path: Path) -> None:
    """A machine that was given back is on its way through its firmware, which contact waits for."""
    file = tmp_path / "machines"
    file.write_text("".join(f"{machine.line}\n" for machine in lent))
    options: dict[str, Json] = {"machines": str(file), "known_hosts": str(lent[0].lab.known_hosts)}
    options |= {"cmdline": SLOW, "contact": 600, "load": 600, "boot": 900}
    holds_and_leaves_nothing("kexec", example, tmp_path, options)


def test_no_yes_goes_untried() -> None:
    """Those of virtual machines are run by test_examples."""
    machines = [param.values[:2] for param in COMPOSITIONS]
    tried = {(str(flavour), Path(str(name)).name) for flavour, name in machines if "examples/" in str(name)}
    assert set(YES) <= tried | set(CONTAINERS) | set(LENT)
