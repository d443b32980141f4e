"""What cleaning measures, keeps and removes."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nxc_core import clean, state
from nxc_core.clean import Item, Survey, measure, remove, survey
from nxc_core.cli_tools import spell_size
from nxc_core.errors import StateError
from nxc_core.model import Build
from nxc_core.paths import cache_dir
from nxc_core.plugins import Plugins
from nxc_core.projects import projects, register
from nxc_core.session import Session
from tests import fake_plugin


def make_session(folder: Path, *roles: str) -> Session:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "composition.nix").write_text(json.dumps({"roles": dict.fromkeys(roles, 1)}))
    return Session.open(folder, plugins=Plugins.discover(extra=[fake_plugin]))


def build(session: Session) -> list[Path]:
    register(session.workspace.project)
    made = session.build(session.workspace.project / "composition.nix", flavour="folder", base="paper")
    return list(made.artifact.paths())


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    yield make_session(tmp_path / "one", "server")


def items(session: Session, *, every: bool = False) -> dict[str, Item]:
    return {item.what.split("-")[0]: item for item in survey(session, every=every).items}


def test_what_a_build_uses_is_kept(session: Session) -> None:
    (used,) = build(session)
    source = used.with_name(f"source-of-{used.name}")
    stray = used.with_name("stray")
    for path in (source, stray):
        path.write_text("x" * 10_000)
    found = items(session)
    assert found["build one"].spare == 0
    assert "last build of its composition" in found["build one"].note
    assert found["cache paper sheets"].removable == (stray,)
    assert remove(session, survey(session)) >= 10_000
    assert used.exists() and source.exists() and not stray.exists()
    assert survey(session).spare == 0


def test_nothing_goes_by_looking(session: Session) -> None:
    (used,) = build(session)
    stray = used.with_name("stray")
    stray.write_text("x")
    survey(session, every=True)
    assert used.exists() and stray.exists()


def test_all_removes_builds_that_nothing_runs_on(session: Session) -> None:
    (used,) = build(session)
    remove(session, survey(session, every=True), every=True)
    assert not used.exists()
    assert not session.workspace.builds()
    assert session.build(session.workspace.project / "composition.nix", flavour="folder", base="paper")


def test_what_a_deployment_runs_on_is_kept_by_all(session: Session) -> None:
    (used,) = build(session)
    running = session.start(session.workspace.project / "composition.nix", flavour="folder", base="paper")
    remove(session, survey(session, every=True), every=True)
    assert used.exists()
    assert session.workspace.builds()
    assert "running" in items(session)["deployment one"].note
    running.down()
    remove(session, survey(session, every=True), every=True)
    assert not used.exists()
    assert not session.workspace.deployments()


def test_other_projects_are_kept_whatever_is_asked(session: Session, tmp_path: Path) -> None:
    other = make_session(tmp_path / "two", "client")
    (theirs,), (ours,) = build(other), build(session)
    assert projects() == [tmp_path / "one", tmp_path / "two"]
    remove(session, survey(session, every=True), every=True)
    assert theirs.exists() and not ours.exists()
    assert other.workspace.builds()


def test_projects_that_are_gone_hold_nothing(session: Session, tmp_path: Path) -> None:
    other = make_session(tmp_path / "two", "client")
    (theirs,) = build(other)
    (tmp_path / "two" / ".nxc").rename(tmp_path / "two" / "gone")
    remove(session, survey(session))
    assert not theirs.exists()
    assert projects() == []


def test_a_build_whose_composition_is_gone_is_removable(session: Session) -> None:
    build(session)
    (session.workspace.project / "composition.nix").unlink()
    assert items(session)["build one"].note == ""


def test_a_deployment_that_still_holds_something_is_kept(session: Session) -> None:
    running = session.start(session.workspace.project / "composition.nix", flavour="folder", base="paper")
    running.down()
    session.workspace.journal(running.id).append({"op": "claim", "kind": "x", "id": "y"})
    assert "still holds 1 things" in items(session)["deployment one"].note
    remove(session, survey(session))
    assert session.workspace.deployments() == [running.id]


def test_what_cannot_be_read_is_kept_and_told(session: Session) -> None:
    running = session.start(session.workspace.project / "composition.nix", flavour="folder", base="paper")
    (used,) = running.plan().artifact.paths()
    session.workspace.deployment_file(running.id).write_text("damaged")
    found = survey(session, every=True)
    assert any("damaged" in line and "kept" in line for line in found.trouble)
    remove(session, found, every=True)
    assert used.exists()
    assert session.workspace.deployments() == [running.id]


def test_a_build_under_way_anywhere_stops_cleaning(session: Session, tmp_path: Path) -> None:
    other = make_session(tmp_path / "two", "client")
    (theirs,) = build(other)
    stray = theirs.with_name("stray")
    stray.write_text("x")
    folder = other.workspace.build_dir(other.workspace.builds()[0])
    child = os.fork()
    if child == 0:  # fcntl locks are between processes
        with state.locked(folder / "lock", what="it"):
            (tmp_path / "held").touch()
            while (tmp_path / "held").exists():
                time.sleep(0.01)
        os._exit(0)
    try:
        while not (tmp_path / "held").exists():
            time.sleep(0.01)
        with pytest.raises(StateError, match="another nxc is at work"):
            remove(session, survey(session))
        assert stray.exists()
    finally:
        (tmp_path / "held").unlink()
        os.waitpid(child, 0)


def test_a_build_that_begins_meanwhile_waits(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    build(session)
    folder = session.workspace.project / "more"
    folder.mkdir()
    (folder / "composition.nix").write_text(json.dumps({"roles": {"client": 1}}))
    waiting = threading.Event()
    other = Session.open(
        session.workspace.project,
        plugins=Plugins.discover(extra=[fake_plugin]),
        sinks=[lambda event: waiting.set() if event.message.startswith("waiting") else None],
    )
    with ThreadPoolExecutor() as pool:
        begun: list[Future[Build]] = []

        def look(*arguments: Any, **named: Any) -> Survey:
            if not begun:
                begun.append(
                    pool.submit(other.build, folder / "composition.nix", flavour="folder", base="paper")
                )
                assert waiting.wait(60), "it builds what is being removed"
            return survey(*arguments, **named)

        monkeypatch.setattr(clean, "survey", look)
        remove(session, survey(session))
        made = begun[0].result(60)
    assert made.artifact.paths() and all(path.exists() for path in made.artifact.paths())
    assert len(session.workspace.builds()) == 2


def test_folders_without_write_permission_go_too(session: Session) -> None:
    build(session)
    store = cache_dir() / "paper" / "nix" / "store" / "abc"
    store.mkdir(parents=True)
    (store / "file").write_text("x")
    store.chmod(0o555)
    store.parent.chmod(0o555)
    remove(session, survey(session))
    assert not (cache_dir() / "paper" / "nix").exists()


def test_locks_and_the_list_of_projects_stay(session: Session) -> None:
    build(session)
    (cache_dir() / "paper" / "x.lock").touch()
    (cache_dir() / "paper" / "locks").mkdir()
    (cache_dir() / "paper" / "locks" / "key").touch()
    (cache_dir() / "crash").mkdir()
    (cache_dir() / "crash" / "1.txt").write_text("trace")
    remove(session, survey(session))
    assert (cache_dir() / "paper" / "x.lock").exists()
    assert (cache_dir() / "paper" / "locks" / "key").exists()
    assert not (cache_dir() / "crash" / "1.txt").exists()
    assert projects() == [session.workspace.project]


def test_without_the_plugin_of_a_build_its_own_files_are_kept(session: Session) -> None:
    (used,) = build(session)
    blind = Session.open(session.workspace.project, plugins=Plugins.discover())
    remove(blind, survey(blind))
    assert used.exists()


def test_what_nobody_knows_goes_with_all_only(session: Session) -> None:
    build(session)
    unknown = cache_dir() / "unknown" / "file"
    unknown.parent.mkdir()
    unknown.write_text("x")
    assert "no base here" in items(session)["cache unknown"].note
    remove(session, survey(session))
    assert unknown.exists()
    remove(session, survey(session, every=True), every=True)
    assert not unknown.exists()


def test_links_count_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    once = measure(tmp_path)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert once <= measure(tmp_path) < once + 50_000


def test_no_cache_and_no_project_is_nothing(tmp_path: Path) -> None:
    assert survey(Session.open(tmp_path, plugins=Plugins.discover())).items == ()
    (cache_dir() / "x").mkdir(parents=True)
    (cache_dir() / "projects.json").write_text("damaged")
    assert projects() == []


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
)
def test_sizes_are_spelt_for_people(size: int, text: str) -> None:
    assert spell_size(size) == text
