"""nxc as a process: what it imports, signals, a reader that leaves, a terminal without UTF-8."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import (
    COMPOSITION,
    REPOSITORY,
    Nxc,
    ids,
    nxc,
    project,
    run_process,
    start_process,
)

__all__ = ["nxc", "project"]  # fixtures


def imported(project: Path, *argv: str) -> set[str]:
    program = (
        f"import sys, atexit; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "atexit.register(lambda: print('MODULES', *sys.modules))\n"
        "from nxc_core.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *argv],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return set(done.stdout.partition("MODULES")[2].split())


def test_version_imports_next_to_nothing(project: Path) -> None:
    assert not {"typer", "pluggy", "attrs", "rich", "cattrs"} & imported(project, "--version")


def test_listing_imports_no_driver(project: Path) -> None:
    found = imported(project, "flavour", "list")
    assert not {"docker", "execo", "grid5000", "requests", "rich", "yaml", "nxc_core.session"} & found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_start_that_can_go_on(nxc: Nxc, project: Path, number: signal.Signals) -> None:
    with start_process(project, "start", "-o", "folder.slow=50") as child:
        assert child.stderr is not None
        for line in child.stderr:
            if "waiting for the fake" in line:
                break
        child.send_signal(number)
        _, err = child.communicate(timeout=45)
    assert child.returncode == 130
    assert "interrupted while starting" in err
    assert "Traceback" not in err
    (id,) = ids(nxc)
    assert nxc("start").out.strip() == id
    assert nxc("down").code == 0


def test_a_signal_in_a_test_ends_it_and_takes_all_down(nxc: Nxc, project: Path) -> None:
    (project / "composition.nix").write_text(
        json.dumps({**COMPOSITION, "test": 'import time\nprint("here")\ntime.sleep(60)\n'})
    )
    with start_process(project, "up", "-t") as child:
        assert child.stderr is not None
        for line in child.stderr:
            if "here" in line:
                break
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=120)
    assert child.returncode == 130
    assert time.monotonic() - began < 55
    assert ids(nxc) == []


def test_a_reader_that_leaves_is_no_error(nxc: Nxc, project: Path) -> None:
    nxc("up")
    path = next((project / ".nxc" / "deployments").iterdir()) / "log" / "server.log"
    path.write_text("a line\n" * 100_000)
    with start_process(project, "logs", "server") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "a line\n"
        child.stdout.close()
        assert child.stderr is not None
        err = child.stderr.read()
    assert (child.returncode, err) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_utf8(project: Path, encoding: str) -> None:
    (project / "composition.nix").write_text(
        json.dumps({"roles": {"a": 1}, "test": 'print("höher → besser")', "warn": ["höher → besser"]})
    )
    for argv in (["up", "-t"], ["--help"], ["up", "--help"], ["config"], ["flavour", "list"]):
        told = run_process(project, *argv, PYTHONIOENCODING=f"{encoding}:strict", PYTHONUTF8="0", LC_ALL="C")
        assert told.code == 0, told.err
        assert "besser" in told.err or argv[0] != "up" or argv[-1] == "--help"
