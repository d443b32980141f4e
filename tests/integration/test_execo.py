"""Scripts for Execo, as users write them, on nodes of every kind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nxc_core.session import Session
from nxc_core.spawned import find_all_spawned
from tests.engines import Engine

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
NAMES = ["alpha", "beta"]


@pytest.fixture
def project(cached: Path, tmp_path: Path) -> Path:
    """Copy the example."""
    return Path(shutil.copytree(ROOT / "examples/execo", tmp_path / "project"))


def run(
    project: Path, *words: str | Path, more: Mapping[str, str] | None = None, stopped: bool = True
) -> str:
    """Run a script to its end; nothing may be left of what it took."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(more or {})},
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    session = Session.open(project)
    for summary in session.deployments():
        assert summary.status == "stopped" or not stopped
        assert session.workspace.journal(summary.id).outstanding() == []
        assert find_all_spawned(f"{summary.id}/") == {}
    return done.stdout


def check_idioms(told: Mapping[str, Any]) -> None:
    """Check what a script that does all that scripts do has seen."""
    assert told["same again"] and told["nodes"] == [*NAMES, "server"]
    assert told["roles"] == {"client": NAMES, "server": ["server"]}
    assert told["hello"] == [f'Hello from root, it\'s "{name}"\n' for name in (*NAMES, "server")]
    assert told["failed"] == [[3, "out\n", "err\n"]] * 3
    assert told["input"] == "first\n\tsecond\n"
    assert told["running"] == [2, 2, 2] and told["after kill"] == [0, 0, 0]
    assert told["late"] == [True, ""] and told["after timeout"] == [0, 0, 0]
    assert told["put"] and told["got"] and told["bytes"] and told["mode"] == "0o755"
    assert told["ran"] == ["it runs\n"] * 3
    assert told["missing"] == [False, True]


def do_idioms(project: Path, flavour: str, more: Mapping[str, str] | None = None) -> None:
    """Run the script that does all that scripts do; clients have a user alice."""
    composition = project / "composition.nix"
    roles = "client = {\n      users.users.alice.isNormalUser = true;\n"
    composition.write_text(composition.read_text().replace("client = {\n", roles))
    quantities = json.dumps({"client": NAMES, "server": 1})
    said = run(project, ROOT / "tests/execo_script.py", flavour, quantities, "--alice", *NAMES, more=more)
    told = json.loads(said.splitlines()[-1])
    check_idioms(told)
    assert told["alice"] == "alice /home/alice it's input\n"
    assert told["alice after kill"] == ["", ""]


def check_experiment(project: Path, streams: list[int], clients: list[str]) -> None:
    """Check that the example has measured and collected everything."""
    (results,) = project.glob("Throughput_*")
    nodes = json.loads((results / "nodes.json").read_text())
    assert sorted(node["node"] for node in nodes) == sorted(["server", *clients])
    for number in streams:
        folder = results / "measures" / f"seconds=1-streams={number}"
        for client in clients:
            measured = json.loads((folder / f"{client}.json").read_text())
            assert measured["client"] == client and measured["streams"] == number
            assert measured["bits_per_second"] > 0


def test_the_example_measures_on_machines(project: Path) -> None:
    run(project, "experiment.py", "--flavour", "vm-ramdisk", "--clients", "1", "--streams", "1", "2")
    check_experiment(project, [1, 2], ["client"])


@pytest.mark.root
def test_scripts_work_on_nspawn(project: Path) -> None:
    run(project, "experiment.py", "--flavour", "nspawn", "--clients", "2", "--streams", "2")
    check_experiment(project, [2], ["client1", "client2"])
    do_idioms(project, "nspawn")


def test_scripts_work_on_docker(project: Path, docker_engine: Engine) -> None:
    do_idioms(project, "docker", {"DOCKER_HOST": docker_engine.url})


@pytest.mark.full
def test_scripts_work_on_podman(project: Path, podman_engine: Engine) -> None:
    do_idioms(project, "docker", {"DOCKER_HOST": podman_engine.url})


OF_A_JOB = """
import sys, types
import execo
from nxc_core import NxcError
from nxc_execo import get_oar_job_nodes_nxc

def get_oar_job_nodes(job, site):  # there is no OAR here
    print("asked:", job, site)
    return [execo.Host("m1.invalid"), execo.Host("m2.invalid")]

sys.modules["execo_g5k"] = types.SimpleNamespace(get_oar_job_nodes=get_oar_job_nodes)
for job in (None, 42):
    try:
        get_oar_job_nodes_nxc(job, "grenoble", flavour_name="kexec", roles_quantities={"client": 1})
    except NxcError as error:
        print("told:", error, "|", error.hint)
"""


@pytest.mark.full
def test_flavours_that_run_on_machines_get_those_of_the_job(project: Path) -> None:
    (project / "script.py").write_text(OF_A_JOB)
    said = run(project, "script.py", stopped=False).splitlines()
    assert "told: flavour kexec needs the machines of an OAR job | give the job's id" in said
    assert "asked: 42 grenoble" in said
    (told,) = [line for line in said if line.startswith("told: -m")]
    assert "m1.invalid" in told  # nxc has been given them, and finds that they are nowhere


@pytest.mark.full
@pytest.mark.parametrize("flavour", ["vm", "vm-ramdisk"])
def test_scripts_work_on_machines(project: Path, flavour: str) -> None:
    do_idioms(project, flavour)
