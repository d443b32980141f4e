"""Deployments as execo's hosts: what scripts get, and that they give it back. Nodes are local processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from nxc_core.session import Session
from nxc_execo import signals
from tests.execo_bench import ROOT, begin, nothing_is_left, project, run
from tests.processes import find_commands

__all__ = ["project"]  # fixtures


def test_a_script_does_all_that_scripts_do(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/execo_script.py"), "local", '{"client": ["alpha", "beta"]}'],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["same again"] and told["nodes"] == ["server", "alpha", "beta"]
    assert told["roles"] == {"server": ["server"], "client": ["alpha", "beta"]}
    assert told["failed"] == [[3, "out\n", "err\n"]] * 3
    assert told["input"] == "first\n\tsecond\n"
    assert min(told["running"]) >= 2  # each node sees the processes of all
    assert told["after kill"] == [0, 0, 0]
    assert told["late"] == [True, ""] and told["after timeout"] == [0, 0, 0]
    assert told["bytes"] and told["mode"] == "0o755" and told["missing"] == [False, True]
    assert len(nothing_is_left(project)) == 1


def test_importing_nxc_execo_imports_no_execo(project: Path) -> None:
    run(project, "assert not [name for name in sys.modules if name.startswith('execo')]")


def test_execo_cannot_come_in_another_thread(project: Path) -> None:
    said = run(
        project,
        """
        import threading
        def work():
            try:
                nxc_execo.start()
            except Exception as error:
                print(type(error).__name__, error, error.hint)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """,
    )
    assert "PluginError execo can be imported by the main thread alone" in said
    assert "import execo" in said


def test_a_missing_execo_is_told_with_the_way_out(project: Path) -> None:
    said = run(
        project,
        """
        sys.modules["execo"] = None
        try:
            nxc_execo.start()
        except Exception as error:
            print(type(error).__name__, error, error.hint)
        """,
    )
    assert "PreflightError execo is not installed pip install" in said


def test_other_hosts_get_the_real_ssh_with_the_words_as_they_are(project: Path) -> None:
    for name in ("ssh", "scp"):
        (project / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (project / name).chmod(0o755)
    said = run(
        project,
        """
        import execo
        for name in ("ssh", "scp"):
            execo.config.default_connection_params[name] = str(Path(name).absolute())
        with deployed() as deployment:
            for host in ("elsewhere.example", deployment.hosts[0]):
                print(execo.Remote("echo it is ${NXC_NODE-elsewhere}", [host]).run().processes[0].stdout)
            print(execo.Put(["elsewhere.example"], ["pair.toml"], "/x").run().processes[0].stdout)
        """,
    )
    assert "ssh -tt -o BatchMode=yes" in said
    assert "elsewhere.example echo it is ${NXC_NODE-elsewhere}" in said
    assert "it is client" in said or "it is server" in said
    assert "scp -o BatchMode=yes" in said and "pair.toml elsewhere.example:/x" in said


def test_two_deployments_at_once_keep_their_nodes_apart(project: Path) -> None:
    said = run(
        project,
        """
        from execo import Remote
        with deployed() as one, deployed() as two:
            print("addresses", one.nodes["server"].address, two.nodes["server"].address.split(".")[0])
            both = Remote("pwd", [one.nodes["server"], two.nodes["server"]]).run()
            print("apart", len({process.stdout for process in both.processes}))
        with deployed() as three:
            print("again", three.nodes["server"].address)
        """,
    )
    assert "addresses server server" in said and "apart 2" in said and "again server" in said
    assert len(nothing_is_left(project)) == 3


def test_forwarding_without_ssh_is_refused(project: Path) -> None:
    said = run(
        project,
        """
        from execo import SshProcess
        with deployed() as deployment:
            params = {"ssh_options": ("-L", "1:localhost:2")}
            print(SshProcess("true", deployment.hosts[0], connection_params=params).run().stderr)
        """,
    )
    assert "nothing can be forwarded (-L)" in said


@pytest.mark.parametrize(
    ("end", "code"),
    [("raise ValueError('mine')", 1), ("sys.exit(7)", 7), ("raise KeyboardInterrupt", -signal.SIGINT)],
    ids=["exception", "exit", "interrupt"],
)
def test_whatever_ends_the_block_gives_back(project: Path, end: str, code: int) -> None:
    said = run(project, f"with deployed():\n    {end}", code)
    assert code != 1 or "ValueError: mine" in said
    assert len(nothing_is_left(project)) == 1


BLOCK = """
import execo
with deployed() as deployment:
    action = execo.Remote("sleep 86398", deployment.hosts).start()
    print("in it", flush=True)
    action.wait()
"""
START = """
print("in it", flush=True)
with deployed(options={"local": {"boot_seconds": 600}}):
    print("never")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("body", [BLOCK, START], ids=["block", "start"])
def test_a_signal_gives_back(project: Path, body: str, number: signal.Signals) -> None:
    script = begin(project, body)
    assert script.stdout is not None
    said = read_until(script, "in it")
    if body is START:
        wait(lambda: bool(nodes_of(project)))
    script.send_signal(number)
    rest, _ = script.communicate(timeout=300)
    expected = -signal.SIGINT if number == signal.SIGINT else 128 + number
    assert script.returncode == expected, said + rest
    assert "never" not in rest
    assert len(nothing_is_left(project)) == 1
    wait(lambda: not find_commands("sleep\x0086398"))  # execo ends it within a second or two


def test_a_signal_counts_also_where_nxc_was_done_before_it() -> None:
    session = cast("Session", SimpleNamespace(interrupt=lambda: None))
    with pytest.raises(KeyboardInterrupt), signals.stopping(session):
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(SystemExit) as ended, signals.stopping(session):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM


def test_a_start_that_fails_gives_back(project: Path) -> None:
    said = run(
        project,
        """
        try:
            with deployed(options={"local": {"dies": "server"}}):
                print("never")
        except Exception as error:
            print("failed:", type(error).__name__, error)
        """,
    )
    assert "failed: DeployError" in said and "server" in said and "never" not in said
    assert len(nothing_is_left(project)) == 1


def test_what_is_kept_can_be_attached_to(project: Path) -> None:
    said = run(
        project,
        """
        from execo import Remote
        with deployed(keep=True) as deployment:
            id = deployment.id
        found = nxc_execo.attach()
        print("same", found.id == id, [process.ok for process in Remote("true", found.hosts).run().processes])
        nodes, roles = get_oar_job_nodes_nxc(None, None, flavour_name="local", skip_deploy=True)
        print("skipped", sorted(nodes), sorted(roles))
        found.give_back()
        found.give_back()
        """,
    )
    assert "same True [True, True]" in said
    assert "skipped ['client', 'server'] ['client', 'server']" in said
    assert len(nothing_is_left(project)) == 1


def read_until(script: subprocess.Popen[str], mark: str) -> str:
    """Read what a script says until it says the mark."""
    assert script.stdout is not None
    said = ""
    while mark not in said:
        line = script.stdout.readline()
        assert line, said
        said += line
    return said


def nodes_of(project: Path) -> list[str]:
    """Name the nodes that are booting."""
    session = Session.open(project)
    return [name for one in session.deployments() for name in session.workspace.journal(one.id).nodes()]


def wait(probe: Callable[[], bool]) -> None:
    """Wait for something, with a generous deadline."""
    end = time.monotonic() + 300
    while not probe():
        assert time.monotonic() < end
        time.sleep(0.05)
