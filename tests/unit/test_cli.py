"""The command line as people and programs use it, over a plugin whose nodes are folders."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from nxc_core import FlavourEntry, hookimpl, main as entry
from nxc_core.cli import GROUPS, VERBS
from nxc_core.errors import ConfigError, StateError
from nxc_core.paths import cache_dir
from tests import fake_plugin
from tests.terminal import Terminal

REPOSITORY = Path(__file__).parents[2]
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
def nxc(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nxc:
    """Run a command line in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def run(*argv: str) -> Told:
        capfd.readouterr()
        try:
            entry.main(argv, extra=[fake_plugin])
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


# The verbs


def test_a_life(nxc: Nxc, project: Path) -> None:
    assert nxc("build").code == 0
    assert "nothing changed" in nxc("build").err
    started = nxc("start")
    assert started.code == 0
    id = started.out.strip()
    assert ids(nxc) == [id]
    told = nxc("status").out
    assert re.search(rf"^{id}  running  folder  since ", told)
    assert re.search(r"^  client2 +client +ready +10\.", told, re.M)
    assert nxc("start").out.strip() == id, "what runs is not started twice"
    other = nxc("start", "--new").out.strip()
    assert sorted(ids(nxc)) == sorted([id, other])
    assert nxc("down").code == 10, "which one?"
    assert nxc("down", id[:-2]).code == 0
    assert ids(nxc) == [other]
    assert nxc("stop", "--all").code == 0
    assert ids(nxc) == []
    assert len(ids(nxc, "--all")) == 2
    assert nxc("down", id).code == 0, "twice is once"
    assert (nxc("down").code, nxc("down").err) == (0, "nothing is deployed in this project\n")


def test_up_leaves_it_running_and_down_ends_it(nxc: Nxc, project: Path) -> None:
    id = nxc("up").out.strip()
    assert ids(nxc) == [id]
    assert nxc("down").code == 0
    assert not (project / ".nxc" / "deployments" / id / "fake" / "server").exists()


def test_up_with_test_runs_it_and_takes_it_down(nxc: Nxc, project: Path) -> None:
    told = nxc("up", "-t")
    assert told.code == 0
    assert "all good" in told.err
    assert ids(nxc) == []


def test_up_with_keep_leaves_it(nxc: Nxc, project: Path) -> None:
    assert nxc("up", "--test", "--keep").code == 0
    assert len(ids(nxc)) == 1


def test_a_failing_test_shows_its_own_lines_and_is_taken_down(nxc: Nxc, project: Path) -> None:
    (project / "composition.nix").write_text(json.dumps({**COMPOSITION, "test": 'server.succeed("false")\n'}))
    told = nxc("up", "-t")
    assert told.code == 1
    assert "testScript" in told.err
    assert "Traceback" not in told.err.replace('Traceback (most recent call last):\n  File "testScript', "")
    assert "nxc_core/" not in told.err
    assert ids(nxc) == []
    assert nxc("up", "-t", "--keep").code == 1
    assert len(ids(nxc)) == 1


def test_a_start_that_fails_names_the_node_and_is_taken_down(nxc: Nxc, project: Path) -> None:
    told = nxc("up", "-o", "folder.fails=client1")
    assert told.code == 7
    assert "client1 (client): it burnt" in told.err
    assert "last line: smoke" in told.err
    assert "\x1b" not in told.err
    assert ids(nxc) == []
    (id,) = ids(nxc, "-a")
    assert f"nxc logs -d {id} NODE" in told.err
    assert nxc("logs", "-d", id, "server").out == "boot\nlogin:\n"


def test_a_test_of_a_composition_without_one(nxc: Nxc, project: Path) -> None:
    (project / "composition.nix").write_text(json.dumps({"roles": {"a": 1}}))
    told = nxc("up", "-t")
    assert told.code == 3
    assert "has no testScript" in told.err


def test_what_cannot_be_released_is_told_and_kept(nxc: Nxc, project: Path) -> None:
    nxc("up", "-o", "folder.trouble=keep")
    told = nxc("down")
    assert told.code == 9
    assert "fake.folder" in told.err
    assert len(ids(nxc)) == 1


def test_dry_run_says_what_would_be_built(nxc: Nxc, project: Path) -> None:
    told = nxc("build", "--dry-run")
    assert "web: paper by paper for folder" in told.out
    assert "client1, client2" in told.out
    assert not (project / ".nxc").exists()
    document = nxc("build", "--dry-run", "--json").json()
    assert document == {
        "base": "paper", "flavour": "folder", "kind": "paper",
        "roles": {"server": ["server"], "client": ["client1", "client2"]},
        "missing": ["paper of web"], "reason": "asked for",
    }  # fmt: skip


def test_dry_run_refuses_what_cannot_start(nxc: Nxc, project: Path) -> None:
    told = nxc("build", "--dry-run", "-o", "folder.most=1")
    assert (told.code, told.err) == (3, "error: role client: 2 folders are too many\n")
    (project / "nxc.toml").write_text('base = "paper"\nflavour = "folder"\n[roles]\nclient = 1\n')
    assert nxc("build", "--dry-run", "-o", "folder.most=1").code == 0
    assert nxc("build", "-o", "folder.most=1").code == 0


def test_build_as_json(nxc: Nxc, project: Path) -> None:
    document = nxc("build", "--json").json()
    assert isinstance(document, dict)
    assert set(document["artifact"]["files"]) == {"server", "client"}


def test_roles_and_parameters(nxc: Nxc, project: Path) -> None:
    (project / "roles.yaml").write_text("server: [s1, s2]\nclient: 1\n")
    id = nxc("start", "--roles", "roles.yaml", "-r", "client=x,y", "-p", "size=1.10").out.strip()
    document = json.loads((project / ".nxc" / "deployments" / id / "deployment.json").read_text())
    assert [spec["name"] for spec in document["specs"]] == ["s1", "s2", "x", "y"]
    assert document["parameters"] == {"size": "1.10"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n", "no mapping"),
        ("a: [\n", "roles.yaml:2"),
        ("a: true\n", "not a number"),
        ("a: {b: 1}\n", "not a number"),
    ],
)
def test_a_wrong_roles_file(nxc: Nxc, project: Path, text: str, told: str) -> None:
    (project / "roles.yaml").write_text(text)
    answer = nxc("start", "--roles", "roles.yaml")
    assert (answer.code, told in answer.err) == (3, True), answer.err


def test_shortcuts_of_options_go_where_they_belong(nxc: Nxc, project: Path) -> None:
    assert '"mirror": null' in nxc("build", "-vv").err
    told = nxc("build", "-vv", "--mirror", "http://there", "--offline", "--relock", "--lean", "-j", "5")
    assert told.code == 0, told.err
    assert '"jobs": 5' in told.err
    assert '"mirror": "http://there"' in told.err
    assert '"offline": true' in told.err
    (project / "nxc.toml").write_text(
        'base = "paper"\nflavour = "folder"\nmirror = "x"\n[options.paper]\nmirror = "y"\n'
    )
    assert '"mirror": "y"' in nxc("build", "-vv").err, "the option itself is the nearer word"


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


def test_status_sees_a_node_that_died(nxc: Nxc, project: Path) -> None:
    id = nxc("up").out.strip()
    for path in (project / ".nxc" / "deployments" / id / "fake" / "client1").iterdir():
        path.unlink()
    (project / ".nxc" / "deployments" / id / "fake" / "client1").rmdir()
    assert re.search(r"client1 +client +lost .*its folder is gone", nxc("status").out)


def test_status_of_damaged_and_newer_state(nxc: Nxc, project: Path) -> None:
    one, two = nxc("up").out.strip(), nxc("up", "--new").out.strip()
    folder = project / ".nxc" / "deployments"
    (folder / one / "deployment.json").write_text('{"schema"')
    newer = json.loads((folder / two / "deployment.json").read_text())
    (folder / two / "deployment.json").write_text(json.dumps({**newer, "schema": "nxc.deployment/99"}))
    told = nxc("status")
    assert told.code == 0
    assert re.search(rf"{one}  unreadable: .*damaged", told.out)
    assert re.search(rf"{two}  unreadable: .*newer nxc", told.out)
    assert nxc("down", one).code == 10


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


def test_init_for_nixos_pins_nixpkgs(nxc: Nxc, tmp_path: Path) -> None:
    folder = tmp_path / "nixos"
    assert nxc("init", "--base", "nixos", "basic", str(folder)).code == 0
    assert "inputs.nixpkgs.url" in (folder / "flake.nix").read_text()
    assert 'base = "nixos"' in (folder / "nxc.toml").read_text()
    shown = nxc("-C", str(folder), "config", "--json").json()
    assert isinstance(shown, dict)
    assert nxc("init", "--base", "nixos", "basic", str(folder)).code == 3, "nothing is overwritten"
    told = nxc("init", "--base", "nixoz", "basic", str(tmp_path / "other"))
    assert (told.code, "there is no base nixoz" in told.err) == (3, True)


def test_init_writes_a_project_and_overwrites_nothing(nxc: Nxc, tmp_path: Path) -> None:
    known = nxc("init", "--list").out.split()
    assert {"basic", "webserver"} <= set(known)
    for name in known:
        told = nxc("init", name, str(tmp_path / name))
        assert told.code == 0, told.err
        assert (tmp_path / name / "composition.nix").exists()
        assert "flavour  " in nxc("-C", str(tmp_path / name), "config").out
        assert f"examples/{name}" not in (tmp_path / name / "README.md").read_text()
    assert (tmp_path / "webserver" / "site" / "index.html").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "nxc.toml").write_text("mine")
    told = nxc("init", "basic", str(tmp_path / "taken"))
    assert told.code == 3
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["nxc.toml"]
    told = nxc("init", "bsic")
    assert (told.code, "there are: basic" in told.err) == (3, True)


# What is there


def rows(told: str) -> list[list[str]]:
    """Split a table, however wide its columns are."""
    return [line.split(maxsplit=1) for line in told.splitlines()]


def test_lists_and_descriptions(nxc: Nxc, project: Path) -> None:
    assert ["folder", "nodes that are folders"] in rows(nxc("flavour", "list").out)
    assert ["paper", "systems that are files"] in rows(nxc("base", "list").out)
    assert {"name": "folder", "summary": "nodes that are folders"} in nxc("flavour", "list", "--json").json()  # type: ignore[operator]
    told = nxc("flavour", "show", "folder").out
    assert "accepts  paper" in told
    assert "-o folder.slow=0  (number)\n      seconds that booting takes" in told
    document = nxc("base", "show", "paper", "--json").json()
    assert isinstance(document, dict)
    assert [option["name"] for option in document["options"]] == ["mirror", "relock"]
    answer = nxc("flavour", "show", "foldr")
    assert (answer.code, "did you mean folder?" in answer.err) == (3, True)


def test_show_says_what_a_flavour_can_do_and_what_not(nxc: Nxc, project: Path) -> None:
    told = nxc("flavour", "show", "parcel")
    assert ["can", "export, reboot, sweep"] in rows(told.out)
    assert "it cannot give:\n  kernel  a folder has none\noptions:" in told.out
    assert nxc("flavour", "show", "folder", "--json").json()["can"] == ["reboot"]  # type: ignore[index]
    local = nxc("flavour", "show", "local", "--json").json()
    assert (local["can"], local["lacks"]) == (["console", "power"], {})  # type: ignore[index]
    said = nxc("flavour", "show", "kexec").out
    assert "kexec.machines=...  (list of text)" in said
    assert "kexec.firmware=true  (true or false)" in said
    assert "kexec.release=reboot  (reboot or leave)" in said
    machine = nxc("flavour", "show", "vm-ramdisk", "--json").json()
    assert {"console", "links", "power", "reboot"} <= set(machine["can"])  # type: ignore[index]


def test_config_shows_values_and_origins(nxc: Nxc, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NXC_JOBS", "7")
    told = nxc("config", "--offline").out
    assert re.search(rf"^flavour +folder +{project}/nxc.toml:2$", told, re.M)
    assert re.search(r"^jobs +7 +NXC_JOBS$", told, re.M)
    assert re.search(r"^offline +true +--offline$", told, re.M)
    document = nxc("config", "--json").json()
    assert isinstance(document, dict)
    assert document["settings"]["jobs"] == {"value": 7, "origin": "NXC_JOBS"}


def test_every_verb_helps_in_a_screen(nxc: Nxc, project: Path) -> None:
    words = [[verb] for verb in VERBS] + [
        [group, verb] for group, (_, verbs) in GROUPS.items() for verb in verbs
    ]
    for command in words:
        told = nxc(*command, "--help")
        assert told.code == 0
        assert told.out.startswith(f"Usage: nxc {' '.join(command)}")
        assert len(told.out.splitlines()) < 50
    told = nxc("-h")
    assert all(re.search(rf"^  {verb} ", told.out, re.M) for verb in (*VERBS, *GROUPS))
    assert "..." not in told.out.partition("Commands:")[2], "a summary is cut off"


# Mistakes


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (["nope"], 2, "no such command 'nope'"),
        (["build", "--nope"], 2, "no such option: --nope"),
        (["build", "missing.nix"], 3, "there is no composition"),
        (["build", "-f", "foldr"], 3, "did you mean folder?"),
        (["build", "--base", "papr"], 3, "did you mean paper?"),
        (["build", "-o", "foldr.x=1"], 3, "did you mean folder?"),
        (["build", "-o", "folder.slw=1"], 3, "did you mean folder.slow?"),
        (["build", "-o", "folder.slow=x"], 3, "folder.slow: 'x' is not a number"),
        (["build", "-o", "slow=1"], 3, "not DRIVER.OPTION=VALUE"),
        (["start", "-r", "nobody=1"], 3, "its roles are: server, client"),
        (["start", "-r", "server=a,a"], 3, "two nodes are called a"),
        (["start", "-r", "server=0", "-r", "client=0"], 3, "no node at all"),
        (["start", "-r", "server"], 3, "not ROLE=NODES"),
        (["start", "-p", "x"], 2, "not KEY=VALUE"),
        (["start", "--roles", "missing.yaml"], 3, "cannot be read"),
        (["-C", "missing", "status"], 2, "there is no folder missing"),
        (["build", "--log-file", "/proc/x"], 2, "cannot be written"),
        (["down", "x", "--all"], 2, "exclude each other"),
        (["down", "x"], 10, "there is no deployment x"),
        (["exec", "server"], 2, "missing argument"),
    ],
)
def test_a_mistake_has_a_message_a_hint_and_a_code(
    nxc: Nxc, project: Path, argv: list[str], code: int, told: str
) -> None:
    answer = nxc(*argv)
    assert answer.code == code, answer.err
    assert told in answer.err
    assert "error: " in answer.err
    assert "hint: " in answer.err
    assert "Traceback" not in answer.err


def test_a_folder_that_is_not_there_is_told_where_a_name_could_be_meant(nxc: Nxc, project: Path) -> None:
    (project / "composition.nix").unlink()
    answer = nxc("-C", "missing", "build")
    assert answer.code == 3
    assert "hint: there is no folder missing: -C takes it for a composition's name; name a file" in answer.err


class Other:
    """A second plugin."""

    NXC_API = 1
    __name__ = "other"

    @staticmethod
    @hookimpl
    def nxc_flavours() -> list[FlavourEntry]:
        return [FlavourEntry(name="other", summary="another", target="x:y")]


def test_an_option_without_effect_is_a_warning(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nxc_core.cli import run

    assert run(["build", "-o", "other.x=1"], extra=[fake_plugin, Other()]) == 0
    assert "warning: -o other.x=1 has no effect: folder on paper is used" in capsys.readouterr().err
    (project / "nxc.toml").write_text('base = "paper"\nflavour = "folder"\n[options.other]\nx = 1\n')
    assert run(["build"], extra=[fake_plugin, Other()]) == 0
    assert "no effect" not in capsys.readouterr().err


def test_a_wrong_nxc_toml_stops_a_build_but_not_a_removal(nxc: Nxc, project: Path) -> None:
    nxc("up")
    (project / "nxc.toml").write_text("nonsense = 1\n")
    told = nxc("build")
    assert (told.code, f"{project}/nxc.toml:1: unknown key nonsense" in told.err) == (3, True)
    assert nxc("status").code == 0
    assert nxc("down").code == 0


def test_a_bug_is_one_line_and_a_file(nxc: Nxc, project: Path) -> None:
    told = nxc("start", "-o", "folder.trouble=bug")
    assert told.code == 70
    assert "error: nxc failed, which is a bug: RuntimeError: a bug\n" in told.err
    assert "Traceback" not in told.err
    (path,) = (cache_dir() / "crash").iterdir()
    assert str(path) in told.err
    assert path.stat().st_mode & 0o777 == 0o600
    assert "fake_plugin.py" in path.read_text()
    assert "nxc start -o folder.trouble=bug" in path.read_text()


def test_a_bug_where_nothing_can_be_saved(nxc: Nxc, project: Path) -> None:
    nxc("build")
    (cache_dir() / "crash").write_text("in the way")
    told = nxc("start", "-o", "folder.trouble=bug")
    assert (told.code, "Traceback" in told.err) == (70, True)


def test_a_full_disk_is_no_bug(nxc: Nxc, project: Path) -> None:
    told = nxc("start", "-o", "folder.trouble=full")
    assert told.code == 10
    assert "somewhere: No space left on device" in told.err
    assert "nxc clean" in told.err


def test_several_failures_are_told_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("several", [ConfigError("first"), ExceptionGroup("more", [StateError("second")])])
    assert entry._tell_any(group, ["x"]) == StateError.exit_code
    told = capsys.readouterr().err
    assert "error: first\n" in told
    assert "error: second\n" in told
    assert entry._tell_any(ExceptionGroup("several", [group, KeyError("a bug")]), ["x"]) == 70


def test_elsewhere_is_one_refusal(nxc: Nxc, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    for verb in ("build", "start", "up"):
        told = nxc(verb)
        assert told.code == 5
        assert "this is Linux on aarch64" in told.err
        assert "Debian 12" in told.err
    assert nxc("status").code == 0


# Global options


def test_global_options_stand_before_or_after_the_verb(nxc: Nxc, project: Path, tmp_path: Path) -> None:
    os.chdir(tmp_path)
    for argv in (
        ["-C", "web", "build"],
        ["build", "-C", "web"],
        ["build", "web/composition.nix", "--project=web/.."],
    ):
        (project / "nxc.toml").write_text('base = "paper"\nflavour = "folder"\n')
        told = nxc(*argv, "--base", "paper", "-f", "folder")
        assert told.code == 0, told.err
    assert nxc("-q", "build", "-C", "web").err == ""


def test_a_log_file(nxc: Nxc, project: Path) -> None:
    assert nxc("up", "-q", "--log-file", "log.jsonl").err == ""
    topics = {json.loads(line)["topic"] for line in (project / "log.jsonl").read_text().splitlines()}
    assert {"built", "deployed", "outcome"} <= topics
    assert (project / "log.jsonl").stat().st_mode & 0o777 == 0o600


def test_version(nxc: Nxc, project: Path) -> None:
    assert nxc("--version") == nxc("--version", "build")
    assert re.fullmatch(r"nxc \d+\.\d+\.\d+\n", nxc("--version").out)


# As a process


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
        _, err = child.communicate(timeout=20)
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
        child.communicate(timeout=30)
    assert child.returncode == 130
    assert time.monotonic() - began < 20
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


# Completion


def complete(project: Path, words: str, *, count: int | None = None) -> list[str]:
    told = run_process(
        project, _NXC_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(count or len(words.split()))
    )
    assert told.err == ""
    return told.out.split()


def test_completion(nxc: Nxc, project: Path) -> None:
    id = nxc("up").out.strip()
    assert "folder" in complete(project, "nxc build -f ")
    assert "paper" in complete(project, "nxc build --base ")
    assert complete(project, "nxc down ") == [id]
    assert complete(project, "nxc logs ") == ["client1", "client2", "server"]
    assert {"all", "client", "server", "client1"} <= set(complete(project, "nxc exec "))
    assert "folder" in complete(project, "nxc flavour show ")
    assert {"basic", "webserver"} <= set(complete(project, "nxc init "))
    assert {"status", "ssh-config"} <= set(complete(project, "nxc s", count=1))
    (project / "nxc.toml").write_text("damaged =")
    assert complete(project, "nxc down ") == [id]


def test_completion_can_be_installed(project: Path) -> None:
    # typer looks at the shell that called, which under CI is none it knows
    told = run_process(project, "--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert told.code == 0, told.err
    assert "complete" in told.out


@pytest.mark.parametrize("argv", [("config",), ("config", "--json"), ("doctor",), ("build",)])
@pytest.mark.parametrize(
    ("written", "told", "way_out"),
    [
        (
            "[options.docker]\nurl = 'tcp://a:1'\nprivilegd = true",
            ":3: docker has no option privilegd",
            "privileged",
        ),
        ("[options.docker]\ntimeout = 'long'", ":2: docker.timeout: 'long' is not a number", ""),
        ("[options]\ndocker.seed = 'mail'", ":2: docker.seed: 'mail' is not one of", ""),
        (
            "[options.docer]\nurl = 'tcp://a:1'",
            ":2: there is no driver docer",
            "did you mean [options.docker]?",
        ),
        ("[options.debian]\nmirrr = 'x'", ":2: debian has no option mirrr", "mirror"),
    ],
)
def test_a_wrong_option_of_any_driver_is_told_with_its_place(
    nxc: Nxc, project: Path, argv: tuple[str, ...], written: str, told: str, way_out: str
) -> None:
    (project / "nxc.toml").write_text(f"{written}\n")
    done = nxc(*argv)
    assert done.code == 3
    assert f"{project}/nxc.toml{told}" in done.err
    assert way_out in done.err


def test_options_of_a_plugin_that_is_not_here_are_kept_for_those_who_have_it(nxc: Nxc, project: Path) -> None:
    (project / "nxc.toml").write_text("[options.moon]\nphase = 'full'\n[options.docker]\ntimeout = 90\n")
    done = nxc("config")
    assert done.code == 0
    assert "options.docker.timeout" in done.out


def test_a_wrong_option_does_not_keep_from_looking_and_removing(nxc: Nxc, project: Path) -> None:
    (project / "nxc.toml").write_text("[options.docker]\nnone = 1\n")
    assert nxc("status").code == 0
