"""``nxc connect`` to several nodes: geometry, and what a real tmux makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

from nxc_core import panes
from nxc_core.errors import PreflightError, UsageError
from tests.command_line import Nxc, nxc, program, project
from tests.processes import command_lines
from tests.terminal import PATIENCE, Terminal

__all__ = ["nxc", "project"]  # fixtures

PROGRAM = program()


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("1+3+2", (1, 3, 2)),
        ("2*3", (3, 3)),
        ("3*1", (1, 1, 1)),
        ("4", (4,)),
        ("1", (1,)),
        ("10*10", (10,) * 10),
    ],
)
def test_geometry_is_columns_of_panes(text: str, columns: tuple[int, ...]) -> None:
    assert panes.read_geometry(text) == columns


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        ("", 0, "a number is wanted here"),
        ("1+x+2", 2, "a number is wanted here"),
        ("1++2", 2, "a number is wanted here"),
        ("+1", 0, "a number is wanted here"),
        ("1+2+", 4, "a number is wanted here"),
        ("2x3", 1, "a number is wanted here"),
        ("-1", 0, "a number is wanted here"),
        ("1+2*3", 1, "+ and * cannot be mixed"),
        ("2*3+1", 3, "+ and * cannot be mixed"),
        ("2*3*4", 3, "one * is all there can be"),
        ("1+0", 2, "a number from 1 to 100 is wanted here"),
        ("0*3", 0, "a number from 1 to 100 is wanted here"),
        ("999999", 0, "a number from 1 to 100 is wanted here"),
        ("²", 0, "a number is wanted here"),
    ],
)
def test_a_wrong_geometry_is_pointed_at(text: str, at: int, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        panes.read_geometry(text)
    assert caught.value.message == f"geometry: {told}\n  {text}\n  {' ' * at}^"
    assert "1+3+2" in caught.value.hint


def test_more_panes_than_a_terminal_shows() -> None:
    with pytest.raises(UsageError, match="geometry 11\\*10 has 110 panes; 100 can be"):
        panes.read_geometry("11*10")


def test_without_a_geometry_panes_are_spread_evenly() -> None:
    shown = [
        "+".join(map(str, panes.choose_geometry(count))) for count in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13)
    ]
    assert shown == ["1", "1+1", "1+2", "2+2", "2+3", "3+3", "3+4", "4+4", "3+3+3", "4+4+4", "3+3+3+4"]
    assert all(sum(panes.choose_geometry(count)) == count for count in range(1, 101))


@frozen
class Pane:
    """What tmux says of a pane."""

    id: str
    session: str
    left: int
    top: int
    title: str
    path: str


class Tmux:
    """A server of its own, reached by TMUX_TMPDIR."""

    def __init__(self, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TMUX")}
        self.env = {
            **kept,
            "TMUX_TMPDIR": str(folder),
            "HOME": str(folder),
            "SHELL": "/bin/bash",
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
        }

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ("tmux", *words), env=self.env, capture_output=True, text=True, check=False, timeout=30
        )
        return done.stdout.strip()

    def panes(self) -> list[Pane]:
        """All panes that show what they are, by place."""
        keys = ("pane_id", "session_name", "pane_left", "pane_top", "@nxc", "pane_current_path")
        lines = self("list-panes", "-a", "-F", "|".join(f"#{{{key}}}" for key in keys)).splitlines()
        rows = [line.split("|") for line in lines]
        found = [Pane(r[0], r[1], int(r[2]), int(r[3]), r[4], r[5]) for r in rows if len(r) == 6]
        return sorted((pane for pane in found if pane.title), key=lambda pane: (pane.left, pane.top))

    def await_panes(self, count: int) -> list[Pane]:
        """Wait until so many panes run what they are to run."""
        until(lambda: len(self.panes()) == count and "sleep" not in self.commands(), f"{count} panes")
        return self.panes()

    def commands(self) -> list[str]:
        return self("list-panes", "-a", "-F", "#{pane_current_command}").splitlines()

    def columns(self) -> list[list[str]]:
        """Titles of the panes, by column."""
        found: dict[int, list[str]] = {}
        for pane in self.panes():
            found.setdefault(pane.left, []).append(pane.title)
        return list(found.values())

    def local(self) -> list[str]:
        """Folders of the panes that show this machine."""
        return [pane.path for pane in self.panes() if pane.title == "this machine"]

    def screen(self, pane: Pane) -> str:
        return self("capture-pane", "-p", "-J", "-t", pane.id)


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"{what}: never"
        time.sleep(0.05)


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    with tempfile.TemporaryDirectory(prefix="nxc-tmux-", dir="/tmp") as folder:  # sockets need a short path
        server = Tmux(Path(folder))
        yield server
        pids = [int(word) for word in server("list-panes", "-a", "-F", "#{pid} #{pane_pid}").split()]
        server("kill-server")
        until(lambda: not any(command_lines().get(pid) for pid in pids), "the end of all shells")


@pytest.fixture
def id(nxc: Nxc, project: Path) -> Iterator[str]:
    told = nxc("up")
    assert told.code == 0
    yield told.out.strip()
    nxc("down")


def connect(project: Path, tmux: Tmux, *words: str, columns: int = 120, lines: int = 40) -> Terminal:
    argv = (sys.executable, "-c", PROGRAM, "connect", *words)
    return Terminal(argv, cwd=project, env=tmux.env, columns=columns, lines=lines)


def nodes_of(found: list[Pane]) -> list[str]:
    return [Path(pane.path).name for pane in found]


def test_all_nodes_each_in_its_pane(project: Path, tmux: Tmux, id: str) -> None:
    with connect(project, tmux) as terminal:
        found = tmux.await_panes(3)
        assert tmux.columns() == [["server"], ["client1", "client2"]]
        assert {pane.session for pane in found} == {f"nxc-{id}"}
        until(lambda: nodes_of(tmux.panes()) == ["server", "client1", "client2"], "shells on their nodes")
        terminal.expect("client2")
        for pane in found:
            tmux("send-keys", "-t", pane.id, "basename $PWD; echo 'I am '$((40+2))", "Enter")
        for pane in found:
            until(lambda p=pane: f"{p.title}\nI am 42" in tmux.screen(p), pane.title)  # type: ignore[misc]
        for pane in found:
            tmux("send-keys", "-t", pane.id, "exit", "Enter")
        assert terminal.wait() == 0
    assert tmux("ls") == ""


def test_nodes_roles_and_panes_that_are_left(project: Path, tmux: Tmux, id: str) -> None:
    with connect(project, tmux, "client", "server", "-g", "1+3+2"):
        tmux.await_panes(6)
        assert tmux.columns() == [["client1"], ["client2", "server", "this machine"], ["this machine"] * 2]
        until(lambda: nodes_of(tmux.panes())[:3] == ["client1", "client2", "server"], "shells on their nodes")
        until(lambda: set(tmux.local()) == {str(project)}, "the other shells in the project")


def test_a_grid_for_one_node(project: Path, tmux: Tmux, id: str) -> None:
    with connect(project, tmux, "server", "-g", "2*2"):
        tmux.await_panes(4)
        assert tmux.columns() == [["server", "this machine"], ["this machine"] * 2]


def test_a_command_arrives_word_by_word_and_its_pane_stays(project: Path, tmux: Tmux, id: str) -> None:
    script = 'printf "<%s>" "$@"; echo; touch ran; exit 3'
    words = ("sh", "-c", script, "sh", "a b", "$HOME;", "#{pane_id}", "it's", ";", "\\;", "-t")
    with connect(project, tmux, "client", "--", *words) as terminal:
        found = tmux.await_panes(2)
        for pane in found:
            until(lambda p=pane: "[it ended with 3;" in tmux.screen(p), "the end of a command")  # type: ignore[misc]
            assert "<a b><$HOME;><#{pane_id}><it's><;><\\;><-t>" in tmux.screen(pane)
        tmux("send-keys", "-t", found[0].id, "Enter")
        until(lambda: len(tmux.panes()) == 1, "one pane is closed")
        until(lambda: tmux("list-clients") != "", "it is shown on the terminal")
        terminal.press("\x02d")
        assert terminal.wait() == 0
        assert f"tmux session nxc-{id} goes on: `tmux attach -t nxc-{id}`" in terminal.text
    folders = (project / ".nxc" / "deployments" / id / "fake").iterdir()
    assert sorted(path.name for path in folders if (path / "ran").exists()) == ["client1", "client2"]


def test_a_second_one_has_a_session_of_its_own(project: Path, tmux: Tmux, id: str) -> None:
    with connect(project, tmux, "-g", "3"):
        tmux.await_panes(3)
        with connect(project, tmux, "client"):
            found = tmux.await_panes(5)
            assert {pane.session for pane in found} == {f"nxc-{id}", f"nxc-{id}-2"}


def test_inside_tmux_it_is_another_window(project: Path, tmux: Tmux, id: str) -> None:
    tmux("new-session", "-d", "-s", "mine", "-x", "120", "-y", "40", "-c", str(project))
    tmux("send-keys", "-t", "mine", f'{sys.executable} -c "{PROGRAM}" connect -g 1+2; echo left=$?', "Enter")
    found = tmux.await_panes(3)
    assert {pane.session for pane in found} == {"mine"}
    assert tmux.columns() == [["server"], ["client1", "client2"]]
    windows = ("list-windows", "-t", "mine", "-F", "#{window_name} #{window_active}")
    until(lambda: f"nxc-{id} 1" in tmux(*windows), "the new window is shown")
    until(lambda: "left=0" in tmux("capture-pane", "-p", "-t", "mine:0"), "nxc has ended")


@pytest.mark.parametrize(
    ("words", "size", "told"),
    [
        (("-g", "1+1"), (120, 40), "geometry 1+1 has 2 panes for 3 nodes"),
        (("-g", "1+x"), (120, 40), "geometry: a number is wanted here"),
        (("-g", "9*9"), (40, 10), "the terminal has no room for so many panes"),
        (("nobody",), (120, 40), "there is no node or role nobody"),
    ],
)
def test_what_cannot_be_leaves_no_session(
    project: Path, tmux: Tmux, id: str, words: tuple[str, ...], size: tuple[int, int], told: str
) -> None:
    tmux.env |= {"COLUMNS": "999", "LINES": "999"}  # some shells export how large they once were
    with connect(project, tmux, *words, columns=size[0], lines=size[1]) as terminal:
        assert terminal.wait() in (UsageError.exit_code, 3)
        assert told in terminal.text
        assert "hint: " in terminal.text
        assert "Traceback" not in terminal.text
    assert tmux("ls") == ""


def test_a_terminal_that_tmux_cannot_use(project: Path, tmux: Tmux, id: str) -> None:
    tmux.env["TERM"] = "no-such-terminal"
    with connect(project, tmux) as terminal:
        assert terminal.wait() == PreflightError.exit_code
        assert "tmux cannot use this terminal" in terminal.text
    assert tmux("ls") == ""


def test_a_tmux_that_is_gone(project: Path, tmux: Tmux, id: str) -> None:
    tmux.env["TMUX"] = f"{tmux.env['TMUX_TMPDIR']}/gone,1,0"
    with connect(project, tmux) as terminal:
        assert terminal.wait() == 3
        assert "unset TMUX" in terminal.text


def test_without_tmux_or_a_terminal(
    nxc: Nxc, id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = nxc("connect", "client")
    assert (told.code, "several nodes need a terminal" in told.err) == (UsageError.exit_code, True)
    assert nxc("connect", "server", "--", "sh", "-c", "exit 7").code == 7
    assert "there is no node or role ls" in nxc("connect", "server", "ls").err
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PreflightError, match="tmux is not installed") as caught:
        panes.show("x", {"one": ("/bin/true",)}, (1,))
    assert caught.value.hint == "install the Debian package tmux"
