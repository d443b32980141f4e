"""What nxc tells of itself: new projects, lists and descriptions, settings, help, completion."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nxc_core.cli import GROUPS, VERBS
from tests.command_line import Nxc, nxc, project, run_process

__all__ = ["nxc", "project"]  # fixtures


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
