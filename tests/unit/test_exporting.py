"""``nxc export``: a folder that needs no nxc, or nothing at all."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.errors import ConfigError, Interrupted, UsageError
from nxc_core.model import Event
from nxc_core.plugins import Plugins
from nxc_core.session import Session
from tests import fake_plugin
from tests.command_line import Nxc, nxc, project, start_process

__all__ = ["nxc", "project"]  # fixtures


@pytest.fixture
def session(project: Path) -> Session:
    return Session.open(project, plugins=Plugins.discover(extra=[fake_plugin]))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing temporary is left, whatever happens."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert list(folder.iterdir()) == []


def files(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_with_all_that_is_needed(nxc: Nxc, project: Path, tmp_path: Path) -> None:
    goal = tmp_path / "new" / "parcel"
    told = nxc("export", "-f", "parcel", str(goal), "-r", "client=ann,bob", "-p", "size=10")
    assert (told.code, told.out) == (0, f"{goal}\n")
    kept = files(goal)
    assert {name for name in kept if not name.startswith("nodes")} == {
        "README",
        "known_hosts",
        *(f"sheets/{node}" for node in ("server", "ann", "bob")),
    }
    documents = {
        name: json.loads((goal / "nodes" / name / "node.json").read_text()) for name in ("ann", "server")
    }
    assert all(kept[f"nodes/{name}/node.json"] == 0o600 for name in documents)
    assert (goal / "nodes").stat().st_mode & 0o777 == 0o700
    assert documents["ann"]["parameters"] == {"size": "10"}
    assert set(documents["server"]["hosts"]) == {"server", "ann", "bob"}
    assert (goal / "README").read_text() == "parcel: server, ann, bob\n", (
        "the kind that is exported was built"
    )
    assert nxc("status", "--all").err == "nothing is deployed in this project\n"


def test_a_composition_may_be_named(nxc: Nxc, project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "composition.nix").write_text(json.dumps({"roles": {"alone": 1}}))
    assert nxc("export", "out", str(other), "-f", "parcel").code == 0
    assert (project / "out" / "README").read_text() == "parcel: alone\n"


def test_what_is_there_is_never_touched(nxc: Nxc, project: Path) -> None:
    full, file = project / "full", project / "file"
    full.mkdir()
    for path in (full / "mine", file):
        path.write_text("mine")
    (project / "dangling").symlink_to("nowhere")
    for name, phrase in (
        ("full", "full is not empty"),
        ("file", "file is not a folder"),
        ("composition.nix", "composition.nix is not a folder"),
        ("dangling", "dangling is not a folder"),
        ("file/below", "cannot be made: Not a directory"),
    ):
        told = nxc("export", "-f", "parcel", name)
        assert told.code == UsageError.exit_code
        assert phrase in told.err
        assert "hint: " in told.err
    assert (full / "mine").read_text() == file.read_text() == "mine"
    (project / "empty").mkdir()
    assert nxc("export", "-f", "parcel", "empty").code == 0


def test_a_flavour_that_cannot_names_those_that_can(nxc: Nxc, project: Path) -> None:
    told = nxc("export", "out")
    assert told.code == ConfigError.exit_code
    assert "flavour folder cannot export" in told.err
    assert "parcel" in told.err.split("these can: ")[1]
    assert not (project / "out").exists()


def test_nodes_that_cannot_be_are_refused_before_the_build(nxc: Nxc, project: Path) -> None:
    for words, phrase in (
        (("-r", "klient=1"), "there is no role klient"),
        (("-r", "client=10"), "10 folders are too many"),
    ):
        told = nxc("export", "-f", "parcel", "out", *words)
        assert (told.code, phrase in told.err) == (ConfigError.exit_code, True), told.err
        assert "writing" not in told.err
    assert not (project / "out").exists()


def test_a_failure_leaves_nothing(nxc: Nxc, project: Path) -> None:
    (project / "empty").mkdir()
    for place in ("new/er/out", "empty"):
        told = nxc("export", "-f", "parcel", place, "-o", "parcel.trouble=full")
        assert (told.code, "No space left on device" in told.err) == (10, True)
    assert list((project / "empty").iterdir()) == []
    assert not (project / "new").exists()


def test_interrupted_it_leaves_nothing(project: Path) -> None:
    with start_process(project, "export", "-f", "parcel", "out", "-o", "parcel.slow=50") as child:
        assert child.stderr is not None
        for line in child.stderr:
            if "packing" in line:
                break
        assert (project / "out" / "nodes").exists()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert child.returncode == Interrupted.exit_code
    assert "Traceback" not in err
    assert not (project / "out").exists()


def test_the_driver_claims_in_vain(session: Session, project: Path, tmp_path: Path) -> None:
    """What it made outside the folder is gone when the session's call returns."""
    events: list[Event] = []
    session.sinks.append(events.append)
    session.export(project, tmp_path / "out", flavour="parcel", base="paper")
    assert [event.topic for event in events].count("export") == 1
    assert session.deployments() == []
