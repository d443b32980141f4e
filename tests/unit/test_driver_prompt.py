"""``nxc driver`` at a prompt, on a real terminal; and what Tab offers there."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nxc_core.script_completion import Completer
from tests.command_line import Nxc, nxc, project
from tests.processes import command_lines
from tests.terminal import PATIENCE, Terminal
from tests.unit.test_connect_panes import PROGRAM

__all__ = ["nxc", "project"]  # fixtures


class Node:
    """Has what a node's handle has: methods, attributes, and properties that act."""

    limit = 5

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def acts(self) -> Any:
        raise AssertionError("a property was evaluated")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")

    def succeed(self) -> None:
        """Do it."""

    def shutdown(self) -> None:
        """Do it not."""

    @staticmethod
    def spell() -> None:
        """Neither."""


SCOPE = {
    "server": Node("server"),
    "machines": [Node("server"), Node("client-1")],
    "nodes": {"server": Node("server"), "client-1": Node("client-1"), "client-2": Node("client-2")},
    "sys": sys,
}


@pytest.mark.parametrize(
    ("line", "word", "found"),
    [
        ("", "", ["    "]),
        ("    ", "", ["    "]),
        ("serv", "serv", ["server"]),
        ("x = mach", "mach", ["machines"]),
        ("whi", "whi", ["while"]),
        ("isinst", "isinst", ["isinstance("]),
        ("server.su", "server.su", ["server.succeed("]),
        ("server.s", "server.s", ["server.shutdown(", "server.spell(", "server.succeed("]),
        ("server.ac", "server.ac", ["server.acts"]),
        ("server.lim", "server.lim", ["server.limit"]),
        ("server.acts.x", "server.acts.x", []),
        ("f(server.name, server.su", "server.su", ["server.succeed("]),
        ("machines[1].su", ".su", [".succeed("]),
        ("machines[7].su", ".su", []),
        ("machines[0].acts.x", ".acts.x", []),
        ('nodes["server"].su', ".su", [".succeed("]),
        ("nodes['client-1'].su", ".su", [".succeed("]),
        ('nodes["cl', "cl", ["client-1", "client-2"]),
        ("nodes['client-", "client-", ["client-1", "client-2"]),
        ('nodes["client-', "", ["1", "2"]),
        ('server.succeed("serv', "serv", []),
        ("# serv", "serv", []),
        ("'it\\'s' + serv", "serv", ["server"]),
        ("nobody.x", "nobody.x", []),
        ("f().su", ".su", []),
        ("server.succeed().su", ".su", []),
        ("sys.version_inf", "sys.version_inf", ["sys.version_info"]),
        ("3.x", ".x", []),
    ],
)
def test_what_tab_offers(line: str, word: str, found: list[str]) -> None:
    assert Completer(SCOPE).complete(line, word) == found


def test_private_names_come_when_asked_for() -> None:
    completer = Completer({**SCOPE, "_hidden": 1})
    assert not [name for name in completer.complete("x + ", "") if name.startswith("_")]
    assert completer.complete("_hid", "_hid") == ["_hidden"]
    assert "server.__init__(" in completer.complete("server.__in", "server.__in")


@pytest.fixture
def up(nxc: Nxc, project: Path) -> Iterator[Path]:
    assert nxc("up").code == 0
    yield project
    nxc("down")


@pytest.fixture
def prompt(up: Path, isolated: dict[str, str]) -> Iterator[Terminal]:
    with Terminal((sys.executable, "-c", PROGRAM, "driver"), cwd=up, env=isolated) as terminal:
        terminal.expect("nodes server, client1, client2; also start_all()")
        terminal.expect(">>> ")
        yield terminal


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    import os

    return {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null", "COLUMNS": "200"}


def sleepers(seconds: int) -> int:
    """Count the processes that sleep so long."""
    return sum(words.endswith(f"sleep\0{seconds}\0") for words in command_lines().values())


def await_sleepers(seconds: int, count: int) -> None:
    end = time.monotonic() + PATIENCE
    while sleepers(seconds) != count:
        assert time.monotonic() < end, f"{sleepers(seconds)} sleep {seconds} s, not {count}"
        time.sleep(0.05)


def interrupt(prompt: Terminal) -> None:
    """Press Ctrl-C until it counts: readline at work tells of it with the next key."""
    for _ in range(10):
        prompt.press("\x03")
        with contextlib.suppress(AssertionError):
            prompt.expect("KeyboardInterrupt", patience=PATIENCE / 10)
            return
    raise AssertionError(f"it is not interrupted; it shows {prompt.text[-3000:]!r}")


def test_tab_completes_names_methods_and_keys(prompt: Terminal) -> None:
    prompt.press("serv\t.suc\t'echo $((40+2)) on $(basename $PWD)')\r")
    prompt.expect("42 on server\\n'")
    prompt.expect(">>> ")
    prompt.press('nodes["cli\t1\t].ro\t\r')
    prompt.expect("'client'")
    prompt.press("server.wait_for_\t\t")
    assert "server.wait_for_open_port(" in prompt.expect("server.wait_for_unit(")
    prompt.expect(">>> server.wait_for_")
    interrupt(prompt)
    prompt.expect(">>> ")
    prompt.press("print('still', 'here')\r")
    prompt.expect("still here")


def test_several_lines_and_the_end_of_input(prompt: Terminal) -> None:
    prompt.press("for one in machines:\r")
    prompt.expect("... ")
    prompt.press("\tprint(one.name + '!')\r\r")
    prompt.expect("client2!")
    prompt.expect(">>> ")
    prompt.press("\x04")
    assert prompt.wait() == 0
    assert "Traceback" not in prompt.text


def test_interrupting_one_command(prompt: Terminal) -> None:
    prompt.press("server.succeed('sleep 7701')\r")
    await_sleepers(7701, 1)
    prompt.press("\x03")
    prompt.expect("interrupted")
    prompt.expect(">>> ")
    await_sleepers(7701, 0)
    prompt.press("server.succeed('echo goes $((1+1)) on')\r")
    prompt.expect("goes 2 on")
    assert "Traceback" not in prompt.text


def test_interrupting_many_at_once(prompt: Terminal) -> None:
    prompt.press("parallel(*[lambda m=m: m.succeed('sleep 7702') for m in machines])\r")
    await_sleepers(7702, 3)
    prompt.press("\x03")
    prompt.expect("interrupted")
    prompt.expect(">>> ")
    await_sleepers(7702, 0)
    prompt.press("parallel(lambda: server.succeed('exit 3'), lambda: machines[1].fail('true'))\r")
    prompt.expect("`exit 3` failed with exit code 3")
    prompt.expect("client1: `true` unexpectedly succeeded")
    prompt.press("server.succeed('echo goes $((1+1)) on')\r")
    prompt.expect("goes 2 on")
    assert "Traceback" not in prompt.text


def test_lines_are_remembered(up: Path, isolated: dict[str, str]) -> None:
    argv = (sys.executable, "-c", PROGRAM, "driver")
    with Terminal(argv, cwd=up, env=isolated) as first:
        first.expect(">>> ")
        first.press("print('remember', 'me')\r")
        first.expect("remember me")
        first.press("exit()\r")
        assert first.wait() == 0
    history = up / ".nxc" / "driver_history"
    assert "print('remember', 'me')" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
    with Terminal(argv, cwd=up, env=isolated) as second:
        second.expect(">>> ")
        second.press("\x1b[A\x1b[A\r")
        second.expect("remember me")
