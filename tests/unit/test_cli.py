"""The command line as people and programs use it: from build to down, parameters and global options."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.command_line import COMPOSITION, Nxc, ids, nxc, project

__all__ = ["nxc", "project"]  # fixtures


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
