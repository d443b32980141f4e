"""What is on disk: torn, newer, damaged, someone else's, and locked by another nxc."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nxc_core import deploying, state
from nxc_core.errors import StateError
from nxc_core.model import (
    Build,
    Composition,
    Deployment,
    ExecEndpoint,
    Json,
    Node,
    NodeState,
    Outcome,
    Resource,
    SshEndpoint,
    Status,
)
from nxc_core.state import Journal, Workspace

PORT = Resource(kind="port", id="4242", rank=1, data={"node": "one", "deep": [1, {"x": None}]})


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def ssh_node(name: str) -> Node:
    endpoint = SshEndpoint(
        host="127.0.0.1", port=22, user="root", identity=Path("/k"), known_hosts=Path("/h"), alias=name
    )
    return Node(name=name, role="server", endpoint=endpoint, facts={"ports": [1, 2]})


def test_what_was_written_is_read(journal: Journal) -> None:
    journal.claim(PORT)
    journal.note(PORT, {"pid": 7})
    journal.node(ssh_node("one"))
    journal.node(Node(name="two", role="client", endpoint=ExecEndpoint(prefix=("env", "-C", "/"))))
    journal.outcome(Outcome(node="one", state=NodeState.BOOTING))
    journal.outcome(Outcome(node="one", state=NodeState.READY, boot_id="b"))
    again = Journal(journal.path)
    (found,) = again.outstanding()
    assert (found.key, found.rank) == (PORT.key, 1)
    assert found.data == {"node": "one", "deep": [1, {"x": None}], "pid": 7}
    assert again.nodes()["one"] == ssh_node("one")
    assert again.nodes()["two"].endpoint == ExecEndpoint(prefix=("env", "-C", "/"))
    assert again.outcomes() == {"one": Outcome(node="one", state=NodeState.READY, boot_id="b")}
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_a_claim_is_made_once_and_released(journal: Journal) -> None:
    journal.claim(PORT)
    journal.note(PORT, {"pid": 7})
    assert journal.claim(PORT).data["pid"] == 7
    assert len(list(journal.records())) == 2
    journal.release(PORT)
    journal.release(PORT)
    assert journal.outstanding() == []
    assert journal.claim(PORT).data == PORT.data


def test_a_note_on_what_is_gone_changes_nothing(journal: Journal) -> None:
    journal.note(PORT, {"pid": 7})
    assert journal.outstanding() == []


def test_a_claim_is_synced_before_it_returns(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    real = os.fsync

    def sync(handle: int) -> None:
        synced.append(journal.path.read_bytes())
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    journal.claim(PORT)
    assert b"4242" in synced[0]
    assert len(synced) == 2, "the folder of a new journal must be synced too"


def test_threads_do_not_tear_each_others_lines(journal: Journal) -> None:
    def work(thread: int) -> None:
        for number in range(25):
            journal.claim(Resource(kind="port", id=f"{thread}-{number}"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.outstanding()) == 100


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(min_value=0, max_value=400))
def test_a_torn_line_costs_only_itself(journal: Journal, cut: int) -> None:
    journal.path.unlink(missing_ok=True)
    journal.claim(PORT)
    whole = journal.path.read_bytes()
    journal.claim(Resource(kind="process", id="née", rank=2))
    torn = journal.path.read_bytes()[: len(whole) + cut]
    journal.path.write_bytes(torn)
    assert PORT.key in {found.key for found in journal.outstanding()}
    journal.claim(Resource(kind="folder", id="/tmp/x"))
    keys = {found.key for found in Journal(journal.path).outstanding()}
    assert {PORT.key, ("folder", "/tmp/x")} <= keys


def test_a_line_that_is_ended_as_it_is_read_counts_once(journal: Journal) -> None:
    """Another process writes it, and another thread of this one reads it, between two steps of a reader."""
    journal.claim(Resource(kind="k", id="a"))
    journal.path.write_bytes(journal.path.read_bytes().rstrip(b"\n"))

    class Lock(contextlib.nullcontext[None]):
        def __exit__(self, *_: object) -> None:
            journal._lock = threading.Lock()
            journal.note(Resource(kind="k", id="a"), {"pid": 3})
            list(journal.records())

    journal._lock = Lock()  # type: ignore[assignment]
    assert [one["op"] for one in journal.records()] == ["claim"]
    assert [one["op"] for one in journal.records()] == ["claim", "note"]


def test_records_of_unknown_kinds_are_kept(journal: Journal) -> None:
    journal.append({"op": "weather", "sun": True})
    journal.claim(PORT)
    assert [record["op"] for record in journal.records()] == ["weather", "claim"]
    assert len(journal.outstanding()) == 1


@pytest.mark.parametrize(
    "record",
    [
        {"v": 99, "op": "claim", "kind": "port", "id": "1"},
        {"v": "new", "op": "claim", "kind": "port", "id": "1"},
        {"v": 1, "op": "claim", "id": "1"},
        {"v": 1, "op": "claim", "kind": "port", "id": "1", "rank": "high"},
        ["claim"],
        12,
    ],
)
def test_a_journal_that_makes_no_sense_is_refused(journal: Journal, record: object) -> None:
    journal.path.write_text(json.dumps(record) + "\n")
    with pytest.raises(StateError) as told:
        journal.outstanding()
    assert "journal.jsonl" in told.value.message
    assert told.value.hint


@pytest.mark.parametrize(
    "record", [{"op": "node"}, {"op": "node", "node": {"name": 3}}, {"op": "node", "node": []}]
)
def test_a_node_that_makes_no_sense_is_refused(journal: Journal, record: dict[str, object]) -> None:
    journal.append(record)
    with pytest.raises(StateError):
        journal.nodes()


def test_an_outcome_that_makes_no_sense_is_refused(journal: Journal) -> None:
    journal.append({"op": "outcome", "outcome": {"node": "one", "state": "purple"}})
    with pytest.raises(StateError, match="journal.jsonl"):
        journal.outcomes()


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("", "is damaged"),
        ('{"schema": "nxc.deployment/1", "id":', "is damaged"),
        ("\0\0\0\0", "is damaged"),
        ("[]", "is not a nxc.deployment/1 document"),
        ("{}", "is not a nxc.deployment/1 document"),
        ('{"schema": "nxc.build/1"}', "is not a nxc.deployment/1 document"),
        ('{"schema": "nxc.deployment/one"}', "is not a nxc.deployment/1 document"),
        ('{"schema": "nxc.deployment/2"}', "was written by a newer nxc"),
        ('{"schema": "nxc.deployment/1"}', "id"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused(tmp_path: Path, text: str, phrase: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(text)
    with pytest.raises(StateError) as told:
        state.load(path, Deployment, schema="nxc.deployment/1")
    assert phrase in told.value.message
    assert str(path) in told.value.message
    assert told.value.hint


def test_a_document_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "build.json"
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(StateError, match="is damaged"):
        state.load(path, Build)


def test_someone_elses_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root reads everything, so the refusal of the kernel is played."""
    path = tmp_path / "deployment.json"
    path.write_text("{}")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StateError, match="belongs to someone else"):
        state.load(path, Deployment)
    with pytest.raises(StateError, match="belongs to someone else"):
        Journal(path).outstanding()


def test_someone_elses_workspace_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    workspace.prepare()
    assert (workspace.root / ".gitignore").read_text() == "*\n"
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(StateError, match="belongs to someone else"):
        workspace.prepare()


def test_a_lock_keeps_other_threads_out(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    entered: list[str] = []

    def enter() -> None:
        with state.locked(lock, what="it", wait=True):
            entered.append("second")

    with state.locked(lock, what="it"):
        with pytest.raises(StateError, match="another thread"), state.locked(lock, what="it"):
            pass
        second = threading.Thread(target=enter)
        second.start()
        entered.append("first")
    second.join(60)
    assert entered == ["first", "second"]


def test_a_lock_that_its_holder_removed_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may go, with its folder, just when another has opened it."""
    lock = tmp_path / "folder" / "lock"
    take = fcntl.lockf
    removed: list[Path] = []

    def late(handle: int, how: int) -> None:
        if not removed:
            shutil.rmtree(lock.parent)
            removed.append(lock)
        take(handle, how)

    monkeypatch.setattr(fcntl, "lockf", late)
    with state.locked(lock, what="it"):
        assert lock.read_text() == str(os.getpid()), "it keeps out nobody"


def test_deployments_are_listed_by_age_not_by_change(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for age, name in enumerate(("new", "old")):
        folder = workspace.deployment_dir(name)
        folder.mkdir(parents=True)
        (folder / "build.json").write_text("{}")
        os.utime(folder / "build.json", (1000 - age, 1000 - age))
        os.utime(folder, (1000 + age, 1000 + age))
    assert workspace.deployments() == ["old", "new"]


DEPLOYMENT = Deployment(
    id="d",
    name="c",
    composition=Composition(name="c", base="b", source=Path("/c"), roles=()),
    groups=(),
    networks=(),
    specs=(),
    instances={},
)


def test_a_copy_of_a_deployment_that_lives_is_not_taken_for_it(tmp_path: Path) -> None:
    """Else ``nxc down`` in a copy of a project would end what the project runs."""
    here, copy, moved = (Workspace(tmp_path / name) for name in ("here", "copy", "moved"))
    here.deployment_dir("d").mkdir(parents=True)
    deploying.mark(here, DEPLOYMENT, Status.RUNNING)
    shutil.copytree(here.project, copy.project)
    with pytest.raises(StateError, match=f"is a copy.* in {here.deployment_dir('d')}"):
        copy.load("d")
    (tmp_path / "link").symlink_to(here.project)
    for same in (here, Workspace(tmp_path / "link")):
        assert same.load("d").status is Status.RUNNING
    deploying.mark(here, DEPLOYMENT, Status.STOPPED)
    assert copy.load("d").status is Status.RUNNING, "it holds nothing, and may be taken down"
    deploying.mark(here, DEPLOYMENT, Status.RUNNING)
    here.project.rename(moved.project)
    assert moved.load("d").status is Status.RUNNING


def test_a_deployment_that_changes_is_no_copy_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Workspace(tmp_path)
    here.deployment_dir("d").mkdir(parents=True)
    made = deploying.mark(here, DEPLOYMENT, Status.RUNNING)
    stat = Path.stat

    def change(path: Path, **named: bool) -> os.stat_result:
        found = stat(path, **named)
        if path == here.deployment_file("d"):
            deploying.mark(here, made, Status.RUNNING)
        return found

    monkeypatch.setattr(Path, "stat", change)
    assert here.load("d").status is Status.RUNNING


def test_a_workspace_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".nxc").write_text("a file in the way")
    with pytest.raises(StateError, match="cannot be written"):
        Workspace(tmp_path).prepare()


def test_a_document_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "document"
    state.replace(path, b"old", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["document"], "the unfinished copy was left"


HOLD = """
import sys, time
from pathlib import Path
from nxc_core.state import locked
with locked(Path(sys.argv[1]), what="it"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_nxc_do_not_work_on_the_same(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    argv = (sys.executable, "-c", HOLD, str(lock))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError) as told, state.locked(lock, what="my deployment"):
            raise AssertionError("both hold the lock")
        assert told.value.message == f"another nxc is at work on my deployment (process {holder.pid})"
        holder.send_signal(signal.SIGKILL)
        holder.wait(60)
    with state.locked(lock, what="my deployment"):
        assert lock.read_text() == str(os.getpid()), "a killed nxc must not keep its lock"


def test_data_of_any_shape_comes_back(tmp_path: Path) -> None:
    tree: dict[str, Json] = {"a": [1, 2.5, "x", None, True, {"b": []}], "c": {"d": {"e": "é"}}}
    state.save(tmp_path / "r", Resource(kind="k", id="i", data=tree))
    assert state.load(tmp_path / "r", Resource).data == tree
