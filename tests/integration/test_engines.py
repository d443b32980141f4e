"""The engines that tests start: they run containers, see nobody else's, and leave nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import engines
from tests.engines import CGROUPS, Engine, inside, load_busybox
from tests.processes import command_lines

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(300)]

TOP = Path(__file__).parents[2]
LABEL = "nxc.test=engines"


def run_httpd(engine: Engine, image: str) -> None:
    """Start a container that listens on a published port, in a network of its own."""
    with engine.client() as client:
        network = client.networks.create("away", labels={"nxc.test": "engines"})
        container = client.containers.create(
            image,
            ["httpd", "-f", "-p", "80"],
            name="one",
            stop_signal="SIGKILL",
            labels={"nxc.test": "engines"},
            network=network.name,
            ports={"80/tcp": ("127.0.0.1", 8099)},
        )
        container.start()


def await_httpd(engine: Engine) -> None:
    """Wait until it answers: that its container was started says only that it will."""
    end = time.monotonic() + 60
    while "404" not in inside(engine, "curl", "-si", "--max-time", "10", "http://127.0.0.1:8099/").stdout:
        assert time.monotonic() < end, "nobody answers at the published port"
        time.sleep(0.1)


def traces(folder: Path, cgroups: set[Path]) -> list[str]:
    """List what is there of an engine: processes, mounts, cgroups that were not there before, its folder."""
    found = [str(path) for path in (folder, *(current_cgroups() - cgroups)) if path.exists()]
    found += [words for words in command_lines().values() if f"{folder}/" in words]
    return found + [line for line in Path("/proc/mounts").read_text().splitlines() if f"{folder}/" in line]


def current_cgroups() -> set[Path]:
    names = ("nxc-test-*/", "libpod_parent/", "libpod_parent/*/")  # folders; files are the kernel's
    return {path for below in ("", "*/") for name in names for path in CGROUPS.glob(f"{below}{name}")}


@pytest.mark.parametrize("make", [engines.dockerd, engines.podman], ids=["docker", "podman"])
def test_an_engine_runs_containers_and_leaves_nothing(make: object) -> None:
    before = current_cgroups()
    with make() as engine:  # type: ignore[operator]
        run_httpd(engine, load_busybox(engine))
        assert sorted(engine.found(LABEL)) == ["container one (running)", "network away"]
        await_httpd(engine)
        assert subprocess.run(["curl", "-s", "--max-time", "5", "http://127.0.0.1:8099/"]).returncode != 0
        engine.kill()
        assert not engine.answers()
        engine.start()
        assert [line.split(" (")[0] for line in engine.found(LABEL)] == ["container one", "network away"]
        engine.sweep(LABEL)
        assert engine.found(LABEL) == []
        run_httpd(engine, load_busybox(engine))
        folder = engine.folder
        assert len(traces(folder, before)) > 1
    assert traces(folder, before) == []


@pytest.fixture
def tests_that_hang(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run tests of an engine that never end."""
    script = (
        "import time; from tests.engines import dockerd\n"
        "with dockerd() as engine: print(engine.folder, flush=True); time.sleep(1000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=TOP
    ) as child:
        assert child.stdout is not None
        yield child, Path(child.stdout.readline().strip())
        child.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_tests_that_are_ended(
    number: signal.Signals, tests_that_hang: tuple[subprocess.Popen[str], Path]
) -> None:
    child, folder = tests_that_hang
    assert [line for line in traces(folder, current_cgroups()) if line.startswith("dockerd")]
    child.send_signal(number)
    child.wait(timeout=120)
    end = time.monotonic() + 60
    while [line for line in traces(folder, current_cgroups()) if line != str(folder)]:
        assert time.monotonic() < end
        time.sleep(0.1)
    if number is signal.SIGINT:
        assert not folder.exists()
    else:
        subprocess.run(["rm", "-rf", folder], check=True)
