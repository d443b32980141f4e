"""Machines, spares, minima and retries on the command line; the table of what became of nodes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from nxc_core.state import Workspace
from tests import fake_plugin, fake_rack
from tests.command_line import Nxc, runner
from tests.terminal import Terminal

COMPOSITION = {"roles": {"server": 1, "client": 2}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "composition.nix").write_text(json.dumps(COMPOSITION))
    (folder / "nxc.toml").write_text('base = "paper"\nflavour = "rack"\n')
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def nxc(project: Path, capfd: pytest.CaptureFixture[str]) -> Nxc:
    return runner(capfd, fake_plugin, fake_rack)


def rows(text: str) -> list[list[str]]:
    """Read the table that is in a text: its lines are indented, cells have two blanks between."""
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    start = next(i for i, line in enumerate(lines) if line.split()[0] == "node")
    return [[cell.strip() for cell in line.strip().split("  ") if cell] for line in lines[start:]]


def nodes(nxc: Nxc) -> dict[str, Any]:
    (one,) = json.loads(nxc("status", "--json").out)["deployments"]
    return {node["name"]: node for node in one["nodes"]}


def test_nodes_run_on_the_machines_that_are_named(nxc: Nxc) -> None:
    told = nxc("start", "-m", "m1,m2,m3")
    assert told.code == 0, told.err
    assert rows(told.err) == [
        ["node", "role", "machine", "state"],
        ["server", "server", "m1", "ready"],
        ["client1", "client", "m2", "ready"],
        ["client2", "client", "m3", "ready"],
    ]
    found = nodes(nxc)
    assert {name: node["machine"] for name, node in found.items()} == {
        "server": "m1",
        "client1": "m2",
        "client2": "m3",
    }
    assert found["client1"]["addresses"] == ["10.9.0.2"]
    assert rows(nxc("status").out)[0] == ["node", "role", "machine", "state"]
    assert nxc("exec", "server", "--", "true").code == 0
    assert nxc("down").code == 0


def test_spares_take_over_and_the_table_says_why(nxc: Nxc) -> None:
    told = nxc("start", "--machines", "bad-1,m2,m3,dead-4,m5", "--spare", "2")
    assert told.code == 0, told.err
    table = rows(told.err)
    assert table[0] == ["node", "role", "machine", "state", "step", "cause", "last line"]
    cause = "kexec is forbidden: the kernel is locked down (lockdown=integrity)"
    assert ["server", "server", "m5", "ready"] in table
    assert ["bad-1", "left out", "load", cause, "kexec: Operation not permitted"] in table
    assert ["dead-4", "left out", "return", "it returned to its former system"] in table
    assert nodes(nxc)["server"]["machine"] == "m5"
    (one,) = json.loads(nxc("status", "--json").out)["deployments"]
    assert [(bad["machine"], bad["step"]) for bad in one["left_out"]] == [
        ("bad-1", "load"),
        ("dead-4", "return"),
    ]


def test_without_a_spare_the_error_names_machine_step_and_cause(nxc: Nxc) -> None:
    told = nxc("start", "-m", "m1,bad-2,m3")
    assert told.code == 7
    assert "error: 1 of 3 nodes did not come up" in told.err
    assert "client1 (client on bad-2, load): kexec is forbidden" in told.err
    assert "last line: kexec: Operation not permitted" in told.err
    assert "nxc logs" not in told.err  # a rack keeps no consoles
    assert ["client1", "client", "bad-2", "failed", "load"] in [row[:5] for row in rows(told.err)]


def test_enough_nodes_are_enough(nxc: Nxc) -> None:
    told = nxc("start", "-m", "m1,bad-2,m3", "--min", "client=1")
    assert told.code == 0, told.err
    (one,) = json.loads(nxc("status", "--json").out)["deployments"]
    assert one["status"] == "degraded"
    assert "client1" in told.err


def test_a_start_that_goes_on_may_ask_for_less(nxc: Nxc) -> None:
    assert nxc("start", "-m", "m1,bad-2,m3").code == 7
    assert nxc("start", "-m", "m1,bad-2,m3", "--min", "client=1").code == 0
    assert len(json.loads(nxc("status", "--json").out)["deployments"]) == 1


def test_a_degraded_start_of_another_flavour_shows_the_table(nxc: Nxc) -> None:
    told = nxc("start", "-f", "folder", "-o", "folder.fails=client2", "--min", "client=1")
    assert told.code == 0, told.err
    assert ["client2", "client", "failed", "it burnt", "smoke"] in rows(told.err)


def test_retries_try_again(nxc: Nxc) -> None:
    told = nxc("start", "-f", "folder", "-o", "folder.fails=client2", "--retries", "2")
    assert told.code == 7
    assert told.err.count("tried again") == 2
    assert "tried again (2 of 2): it burnt" in told.err


def test_unfit_machines_are_left_out_before_anything_is_booted(nxc: Nxc) -> None:
    told = nxc("start", "-m", "far-1,m2,m3")
    assert told.code == 7
    assert "3 machines are needed, and 2 of 3 can be used:\n  far-1: no route to host" in told.err
    assert ["far-1", "left out", "contact", "no route to host"] in rows(told.err)
    assert ["server", "server", "waiting"] in rows(told.err)  # on no machine yet
    (id,) = Workspace(Path()).deployments()
    assert f"that machines failed is forgotten by `nxc down {id}`" in told.err
    again = nxc("start", "-m", "far-1", "--min", "client=1", "--min", "server=0")
    assert "1 machine is needed at least, and 0 of 1 can be used" in again.err
    gone = nxc("up", "--new", "-m", "far-1,m2,m3")
    assert "--min ROLE=N; it was taken down (--keep leaves it)" in gone.err


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("-m", "m1,m2"), 5, "error: 3 machines are needed, and there are 2"),
        (("-m", "m1,m2", "--min", "nobody=1"), 3, "there is no such role"),
        (("-m", "m1,m2", "--min", "client=3"), 3, "at least 3 nodes of client are wanted, and there are 2"),
        (("-m", "m1,m2", "--min", "client"), 3, "'client' is not ROLE=N"),
        (("-m", "m1,m2", "--min", "client=a,b"), 3, "is not a number of nodes"),
        (("-f", "folder", "-m", "m1"), 3, "flavour folder makes its machines itself: it takes no -m"),
        (("-f", "folder", "--spare", "1"), 3, "folder makes its machines itself: none can be spare"),
        (("-m", "m1,m2,m3", "--spare", "-1"), 2, "--spare"),
        (("-m", "m1,m2,m3", "--retries", "x"), 2, "--retries"),
    ],
)
def test_what_cannot_be_meant_is_refused(nxc: Nxc, argv: tuple[str, ...], code: int, said: str) -> None:
    told = nxc("start", *argv)
    assert (told.code, said in told.err) == (code, True), told.err
    assert "hint: " in told.err or code == 2
    assert "Traceback" not in told.err


def test_the_same_from_nxc_toml(nxc: Nxc, project: Path, tmp_path: Path) -> None:
    (project / "rack.txt").write_text("bad-1 m2 m3 m4")
    (project / "nxc.toml").write_text(
        'base = "paper"\nflavour = "rack"\nmachines = "rack.txt"\n'
        "spare = 1\nretries = 1\n\n[min]\nclient = 1\n"
    )
    told = nxc("start", "-C", str(project))
    assert told.code == 0, told.err
    workspace = Workspace(project)
    (id,) = workspace.deployments()
    policy = workspace.load(id).policy
    assert (policy.spares, policy.retries, policy.minimum) == (1, 1, {"client": 1})
    assert workspace.load(id).groups[0].options["machines"] == str(project / "rack.txt")
    assert nodes(nxc)["server"]["machine"] == "m4"


def test_an_option_stands_above_the_machines_of_nxc_toml(nxc: Nxc, project: Path) -> None:
    (project / "nxc.toml").write_text('base = "paper"\nflavour = "rack"\nmachines = "m1,m2,m3"\n')
    assert nxc("start", "-o", "rack.machines=n1,n2,n3").code == 0
    assert {node["machine"] for node in nodes(nxc).values()} == {"n1", "n2", "n3"}


def test_machines_in_nxc_toml_are_not_for_flavours_that_make_their_own(nxc: Nxc, project: Path) -> None:
    (project / "nxc.toml").write_text('base = "paper"\nflavour = "folder"\nmachines = "m1,m2"\n')
    assert nxc("start").code == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("spare = -1", "nxc.toml:3: spare is -1"),
        ('spare = "two"', "nxc.toml:3: spare is 'two', not a whole number"),
        ("machines = 3", "nxc.toml:3: machines is 3, not a text"),
        ("[min]\nclient = 'a,b'", "nxc.toml:4: client: 'a,b' is not a number of nodes"),
        ("min = 3", "nxc.toml:3: min is 3, not a table"),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(nxc: Nxc, project: Path, line: str, said: str) -> None:
    (project / "nxc.toml").write_text(f'base = "paper"\nflavour = "rack"\n{line}\n')
    told = nxc("start")
    assert told.code == 3
    assert said in told.err


def test_the_environment_says_the_same(nxc: Nxc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NXC_MACHINES", "m1,bad-2,m3")
    monkeypatch.setenv("NXC_MIN", "client=1 server=1")
    assert nxc("start").code == 0


def test_ready_nodes_are_only_counted_where_there_are_many(nxc: Nxc) -> None:
    machines = ",".join([*(f"m{number}" for number in range(39)), "bad-39"])
    told = nxc("start", "-m", machines, "-r", "client=39", "--min", "client=30")
    assert told.code == 0, told.err
    assert [row[:4] for row in rows(told.err)[1:2]] == [["client39", "client", "bad-39", "failed"]]
    assert len(rows(told.err)) == 3
    assert "  39 nodes are ready\n" in told.err


def test_quiet_is_quiet(nxc: Nxc) -> None:
    told = nxc("start", "-q", "-m", "m1,m2,m3")
    assert (told.code, told.err) == (0, "")


def test_the_table_fits_a_terminal(project: Path) -> None:
    """Long causes are folded, in their own column; nothing is cut off, and the states have colours."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
        "from tests import fake_plugin, fake_rack; "
        "from nxc_core.main import main; main(extra=[fake_plugin, fake_rack])"
    )
    argv = (sys.executable, "-c", program, "start", "-m", "m1,bad-2,m3")
    env = {**os.environ, "TERM": "xterm-256color"}
    with Terminal(argv, cwd=project, env=env, columns=80) as terminal:
        terminal.expect("error: 1 of 3 nodes did not come up")
        lines = terminal.text.splitlines()
        start = next(i for i, line in enumerate(lines) if line.strip().startswith("node "))
        end = next(i for i, line in enumerate(lines) if line.startswith("error: "))
        table = lines[start:end]
        assert max(map(len, table)) <= 80
        assert len(table) > 4, table
        column = table[0].index("cause"), table[0].index("last line")
        cause = "".join(line[slice(*column)] for line in table[1:])
        cut = "kexec is forbidden: the kernel is locked down (lockdown=integrity)"
        assert "".join(cause.split()) == "".join(cut.split())
        assert b"\x1b[32mready" in terminal.shown
        assert b"\x1b[31mfailed" in terminal.shown
