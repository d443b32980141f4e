"""The command line in this process or one of its own, over a plugin whose nodes are folders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from nxc_core import main as entry
from tests import fake_plugin

REPOSITORY = Path(__file__).parents[1]
COMPOSITION = {"roles": {"server": 1, "client": 2}, "test": 'server.succeed("true")\nprint("all good")\n'}


@frozen
class Told:
    """What a run said."""

    code: int
    out: str
    err: str

    def json(self) -> object:
        return json.loads(self.out)


Nxc = Callable[..., Told]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "composition.nix").write_text(json.dumps(COMPOSITION))
    (folder / "nxc.toml").write_text('base = "paper"\nflavour = "folder"\n')
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def nxc(capfd: pytest.CaptureFixture[str]) -> Nxc:
    """Run a command line in this process."""
    return runner(capfd, fake_plugin)


def runner(capfd: pytest.CaptureFixture[str], *plugins: object) -> Nxc:
    """Return what runs a command line in this process, with these plugins."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def run(*argv: str) -> Told:
        capfd.readouterr()
        try:
            entry.main(argv, extra=plugins)
        except SystemExit as end:
            code = end.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        told = capfd.readouterr()
        assert isinstance(code, int)
        return Told(code, told.out, told.err)

    return run


def program() -> str:
    """Return a Python program that is nxc with the fake plugin."""
    return (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from tests import fake_plugin; "
        "from nxc_core.main import main; main(extra=[fake_plugin])"
    )


def start_process(project: Path, *argv: str, **environ: str) -> subprocess.Popen[str]:
    """Run a command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program(), *argv],
        cwd=project,
        env={**os.environ, **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding=environ.get("PYTHONIOENCODING", "utf-8").partition(":")[0],
    )


def run_process(project: Path, *argv: str, **environ: str) -> Told:
    with start_process(project, *argv, **environ) as child:
        out, err = child.communicate(timeout=60)
        return Told(child.returncode, out, err)


def ids(nxc: Nxc, *more: str) -> list[str]:
    document = nxc("status", "--json", *more).json()
    assert isinstance(document, dict)
    return [one["id"] for one in document["deployments"]]
