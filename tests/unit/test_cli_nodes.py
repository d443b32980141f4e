"""The verbs that reach into nodes: exec, connect, driver, logs, ssh-config."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import COMPOSITION, Nxc, nxc, program, project, start_process
from tests.terminal import Terminal

__all__ = ["nxc", "project"]  # fixtures


def test_exec_answers_with_the_exit_code(nxc: Nxc, project: Path) -> None:
    nxc("up")
    told = nxc("exec", "server", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (told.code, told.out, told.err) == (3, "out\n", "err\n")
    told = nxc("exec", "all", "--", "sh", "-c", "basename $PWD")
    assert told.out.splitlines() == ["server: server", "client1: client1", "client2: client2"]
    assert nxc("exec", "client", "echo one; echo two").out.splitlines()[:2] == [
        "client1: one",
        "client1: two",
    ]
    told = nxc("exec", "client1", "server", "--", "hostname")
    assert (told.code, "client1,server" in told.err) == (2, True), told.err
    assert nxc("exec", "client1", "echo", "--", "server").out == "server\n", "a word, not a node"
    told = nxc("exec", "client1", "--")
    assert (told.code, "missing argument 'COMMAND'" in told.err) == (2, True), told.err
    told = nxc("exec", "client2,server", "--json", "--", "sh", "-c", "test $(basename $PWD) = server")
    assert told.code == 1
    document = told.json()
    assert isinstance(document, dict)
    assert {name: answer["code"] for name, answer in document.items()} == {"client2": 1, "server": 0}


def test_exec_hands_bytes_on_as_they_are(nxc: Nxc, project: Path) -> None:
    nxc("up", "-q")
    child = start_process(project, "exec", "-i", "server", "--", "cat")
    out, err = child.communicate(input="from here\n", timeout=60)
    assert (child.returncode, out, err) == (0, "from here\n", "")
    with subprocess.Popen(
        [*child.args[:3], "exec", "server", "--", "printf", r"\377\001"],  # type: ignore[index]
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as raw:  # fmt: skip
        assert raw.communicate(timeout=60)[0] == b"\xff\x01"


def test_exec_on_one_node_shows_output_as_it_comes(nxc: Nxc, project: Path) -> None:
    nxc("up")
    script = "echo first; echo wrong >&2; printf begun; read -t 60 line <more; echo $line; exit 3"
    (fifo,) = (project / ".nxc").glob("deployments/*/fake/server")
    os.mkfifo(fifo / "more")
    with start_process(project, "exec", "server", "--", "bash", "-c", script) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == "first\n"
        assert child.stdout.read(5) == "begun", "what has no end of line is shown too"
        assert child.stderr.readline() == "wrong\n"
        assert child.poll() is None
        (fifo / "more").write_text(" and ended\n")
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (3, "and ended\n", "")


def test_exec_on_one_node_shows_lines_on_a_terminal(nxc: Nxc, project: Path) -> None:
    nxc("up")
    script = r"printf 'one\r\ntwo \033[31mred\n1%%\r2%%\rlast'; sleep 0.1; printf ' word'; exit 4"
    argv = (sys.executable, "-c", program(), "exec", "server", "--", "bash", "-c", script)
    with Terminal(argv, cwd=project, env={**os.environ, "TERM": "xterm"}) as terminal:
        assert terminal.wait() == 4
        assert terminal.text.endswith("one\ntwo red\n1%\n2%\nlast word\n")
    assert b"\x1b[31m" not in terminal.shown


def test_exec_ends_with_its_reader(nxc: Nxc, project: Path) -> None:
    nxc("up")
    with start_process(project, "exec", "server", "--", "yes", "for ever") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "for ever\n"
        child.stdout.close()
        assert child.wait(60) == 0


def test_exec_and_logs_of_what_is_not_there(nxc: Nxc, project: Path) -> None:
    assert nxc("exec", "server", "--", "true").code == 10
    nxc("up")
    told = nxc("exec", "serve", "--", "true")
    assert told.code == 3
    assert "nodes: server, client1, client2; roles: client, server; or all" in told.err
    told = nxc("exec", "server", "ls", "-l")
    assert told.code == 2
    assert "put -- before the command" in told.err
    assert nxc("exec", "all", "-i", "--", "cat").code == 2
    assert nxc("logs", "nobody").code == 3


def test_a_late_command_is_an_unreached_node(nxc: Nxc, project: Path) -> None:
    nxc("up")
    told = nxc("exec", "server", "--timeout", "0.2", "--", "sleep", "20")
    assert told.code == 255
    assert "was not done after 0.2 s" in told.err


def test_connect_runs_a_command_on_the_terminal(nxc: Nxc, project: Path) -> None:
    nxc("up")
    told = nxc("connect", "server", "--", "sh", "-c", "basename $PWD; exit 4")
    assert (told.code, told.out) == (4, "server\n")
    told = nxc("connect")
    assert told.code == 2
    assert "server, client1, client2" in told.err


def test_driver_runs_the_script_as_it_is_now_or_another(nxc: Nxc, project: Path) -> None:
    nxc("up")
    (project / "composition.nix").write_text(json.dumps({**COMPOSITION, "test": 'print("changed")\n'}))
    told = nxc("driver", "-t")
    assert (told.code, "changed" in told.err) == (0, True)
    (project / "other.py").write_text('assert client1.succeed("echo x") == "y"\n')
    told = nxc("driver", "other.py")
    assert told.code == 1
    assert "other.py" in told.err
    assert nxc("driver", "missing.py").code == 3


def test_driver_fails_as_the_script_on_its_standard_input_does(
    nxc: Nxc, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nxc("up")
    monkeypatch.setattr("sys.stdin", io.StringIO('assert client1.succeed("echo x") == "y"\n'))
    told = nxc("driver")
    assert told.code == 1
    assert "<stdin>" in told.err


def test_logs_are_printable_lines(nxc: Nxc, project: Path) -> None:
    nxc("up")
    assert nxc("logs", "server").out == "boot\nlogin:\n"
    assert nxc("logs", "server", "-n", "1").out == "login:\n"


def test_logs_show_once_what_a_console_draws_anew(nxc: Nxc, project: Path) -> None:
    nxc("up")
    (console,) = (project / ".nxc").glob("deployments/*/log/server.log")
    drawn = "".join(
        f"[\x1b[31m*\x1b[0m     ] Job a.service/start running ({n}s / 90s)\r\r\n\r" for n in (1, 2, 3)
    )
    console.write_text(f"boot\n{drawn}[   ok] done\n[***   ] (1 of 2) Job b/stop running (1s / no limit)\n")
    assert nxc("logs", "server").out.splitlines() == [
        "boot",
        "[*     ] Job a.service/start running (3s / 90s)",
        "",
        "[   ok] done",
        "[***   ] (1 of 2) Job b/stop running (1s / no limit)",
    ]


def test_ssh_config_is_what_ssh_reads(nxc: Nxc, project: Path, tmp_path: Path) -> None:
    nxc("up", "-o", "folder.ssh=true")
    told = nxc("ssh-config")
    assert told.code == 0, told.err
    path = tmp_path / "config"
    path.write_text(told.out)
    read = subprocess.run(
        ["ssh", "-G", "-F", path, "client1"], check=True, capture_output=True, text=True
    ).stdout
    for line in ("hostname 127.0.0.1", "port 1", "user root", "hostkeyalias client1.x", "identitiesonly yes"):
        assert line in read.splitlines()
    assert "stricthostkeychecking true" in read or "stricthostkeychecking yes" in read
    assert str(project) in read


def test_ssh_config_where_nothing_speaks_ssh(nxc: Nxc, project: Path) -> None:
    nxc("up")
    assert nxc("ssh-config").code == 3
