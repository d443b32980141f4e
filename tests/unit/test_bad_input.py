"""What people and machines get wrong: each is one clear error with a way out, and nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nxc_core import paths, state
from nxc_core.errors import ConfigError, PreflightError, StateError, TeardownError, TestFailed
from nxc_core.machine import NodeHandle
from nxc_core.model import Composition, Event, Status
from nxc_core.operation import Operation
from nxc_core.plugins import Plugins
from nxc_core.session import Session
from nxc_core.state import Journal, Workspace
from nxc_debian import doctor, evaluation
from nxc_vm import qemu
from nxc_vm.check import require_host
from nxc_vm.options import MachineOptions
from tests import fake_plugin
from tests.command_line import run_process, start_process
from tests.fake_node import FakeRunning

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    folder.mkdir()
    write(folder, {"roles": {"server": 1}, "test": 'server.succeed("true")\n'})
    (folder / "nxc.toml").write_text('base = "paper"\nflavour = "folder"\n')
    return folder


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def session(project: Path, events: list[Event]) -> Session:
    return Session.open(project, sinks=[events.append], plugins=Plugins.discover(extra=[fake_plugin]))


@pytest.fixture
def op(tmp_path: Path) -> Iterator[Operation]:
    yield Session.open(tmp_path).operation(tmp_path, "bad")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a program on the path that says a version and can do nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, says: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (folder / name).chmod(0o755)

    return put


def write(folder: Path, document: object) -> Path:
    path = folder / "composition.nix"
    path.write_text(json.dumps(document))
    return path


def run(project: Path, *argv: str) -> tuple[int, str]:
    told = run_process(project, *argv)
    return told.code, told.out + told.err


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


# Compositions


@pytest.mark.parametrize(
    ("roles", "says"), [({"nobody": 1}, "no role nobody"), ({"server": ["a", "a"]}, "two nodes are called a")]
)
def test_wrong_roles_are_refused_before_anything_is_built(
    session: Session, events: list[Event], roles: dict[str, int], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as told:
        session.start(session.workspace.project, flavour="folder", base="paper", roles=roles)
    assert told.value.hint
    assert not [event for event in events if event.message.startswith("writing ")]


def test_what_the_flavour_lacks_here_is_told_before_anything_is_built(
    session: Session, events: list[Event]
) -> None:
    """A build alone may be for elsewhere."""
    given = {"flavour": "folder", "base": "paper", "options": {"folder": {"missing": True}}}
    with pytest.raises(PreflightError, match="folders is asked") as told:
        session.start(session.workspace.project, **given)  # type: ignore[arg-type]
    assert told.value.hint == "remove folder-is-broken"
    assert not [event for event in events if event.message.startswith("writing ")]
    assert not session.workspace.deployments()
    assert session.build(session.workspace.project, **given)  # type: ignore[arg-type]


def test_a_test_script_that_is_no_python_boots_nothing(project: Path) -> None:
    write(project, {"roles": {"server": 1}, "test": "server.succeed("})
    code, said = run(project, "up", "--test")
    assert code == 1
    assert "testScript, line 1: '(' was never closed" in said
    assert "writing" not in said
    assert "starting" not in said
    assert not Workspace(project).deployments()


def test_a_missing_test_script_is_told_before_anything_is_built(project: Path) -> None:
    write(project, {"roles": {"server": 1}})
    code, said = run(project, "up", "--test")
    assert code == 3
    assert "has no testScript" in said
    assert "writing" not in said


def test_a_hint_survives_the_taking_down(project: Path) -> None:
    code, said = run(project, "up", "-o", "folder.trouble=full")
    assert code == 10
    assert "somewhere: No space left on device" in said
    assert "Traceback" not in said
    write(project, {"roles": {"server": 1}, "test": "server.sing()"})
    code, said = run(project, "up", "--test")
    assert code == 1
    assert "it was taken down (--keep leaves it); `nxc logs -d " in said


def test_files_that_the_script_names_by_nix_paths_are_copied(tmp_path: Path) -> None:
    named = "/nix/store/" + "y" * 32
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "data").write_text("it")
    running = FakeRunning(tmp_path, {"server": 1})
    running.files = {f"{named}-data": tmp_path / "here" / "data", f"{named}-dir": tmp_path / "here"}
    node: NodeHandle = running["server"]
    for source, target in ((f"{named}-data", "one"), (f"{named}-dir/data", "two")):
        node.copy_from_host(source, str(tmp_path / target))
        assert (tmp_path / target).read_text() == "it"
    with pytest.raises(TestFailed, match="does not exist on this machine"):
        node.copy_from_host(f"{named}-datum", "/x")


def test_files_named_in_a_text_are_found_in_nxcs_own_store(tmp_path: Path) -> None:
    one, other = (f"/nix/store/{letter * 32}-f.txt" for letter in "ab")
    real = evaluation.store_dir(tmp_path) / one.lstrip("/")
    real.parent.mkdir(parents=True)
    real.write_text("it")
    text = f'n.copy_from_host("{one}", "/x")\nn.succeed("{other}/bin/x")'
    assert evaluation.files_named(text, tmp_path) == {one: real}


# Programs


@pytest.mark.parametrize(
    ("name", "says", "told", "least"),
    [
        ("nix-instantiate", "nix-instantiate (Nix) 2.3.16", "2.3 is too old", "2.8 or later"),
        ("mmdebstrap", "mmdebstrap 0.8.4", "0.8 is too old", "1.2 or later"),
        ("mksquashfs", "mksquashfs version 4.3", "4.3 is too old", "4.5 or later"),
        ("unshare", "unshare from util-linux 2.36.1", "2.36 is too old", "2.38 or later"),
    ],
)
def test_programs_of_the_debian_base_that_are_too_old(
    program: Callable[[str, str], None], op: Operation, name: str, says: str, told: str, least: str
) -> None:
    program(name, says)
    with pytest.raises(PreflightError) as caught:
        doctor.require(op)
    assert name in caught.value.message
    assert told in caught.value.message
    assert least in caught.value.hint


def test_a_nix_that_is_too_old_or_odd(program: Callable[[str, str], None], op: Operation) -> None:
    program("nix-instantiate", "nix-instantiate (Nix) 2.3.16")
    with pytest.raises(PreflightError, match=r"nix 2\.3 is too old") as told:
        evaluation.find_nix(op)
    assert "2.8" in told.value.hint
    program("nix-instantiate", "hello")
    with pytest.raises(PreflightError, match="does not say its version"):
        evaluation.find_nix(op)


@pytest.mark.parametrize("name", ["nix-instantiate", "mmdebstrap", "mksquashfs"])
def test_programs_that_are_missing(op: Operation, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = shutil.which
    monkeypatch.setattr(
        shutil,
        "which",
        lambda word, *rest, **more: None if word == name else real(word, *rest, **more),
    )
    with pytest.raises(PreflightError, match=f"{name} is not installed") as told:
        doctor.require(op)
    assert "install the Debian package" in told.value.hint


def test_a_qemu_that_is_missing_or_too_old(
    program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(qemu.PROGRAM, "QEMU emulator version 4.2.1")
    with pytest.raises(PreflightError, match=r"is 4\.2") as told:
        require_host(MachineOptions())
    assert "7.0 or later" in told.value.hint
    program(qemu.PROGRAM, "QEMU emulator version 7.2.9 (Debian)")
    require_host(MachineOptions())
    monkeypatch.setattr(qemu, "PROGRAM", "qemu-system-none")
    with pytest.raises(PreflightError, match="qemu-system-none is not installed") as told:
        require_host(MachineOptions())
    assert qemu.PACKAGE in told.value.hint


# Disks that are full


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise FULL

    document, journal = tmp_path / "deployment.json", Journal(tmp_path / "journal.jsonl")
    document.write_text("old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left") as told:
        state.save(document, {"a": 1})
    assert told.value.filename == str(document)
    with pytest.raises(OSError, match="No space left") as told:
        journal.append({"op": "x"})
    assert told.value.filename == str(journal.path)
    assert document.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deployment.json", "journal.jsonl"]


def test_on_a_full_disk_everything_is_released_and_told_later(
    session: Session, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = session.start(project, flavour="folder", base="paper")
    (folder,) = (Path(claim.id) for claim in running.op.claimed("fake.folder"))
    real = Journal.append

    def append(self: Journal, record: dict[str, object]) -> None:
        if record["op"] == "release":
            raise FULL
        real(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", append)
        with pytest.raises(TeardownError, match="No space left on device") as told:
            session.down(running.id)
    assert not folder.exists()
    assert f"`nxc down {running.id}` again" in told.value.hint
    session.down(running.id)
    assert session.workspace.load(running.id).status is Status.STOPPED


def test_a_lock_is_held_on_a_full_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(os, "pwrite", refuse)
    with state.locked(tmp_path / "lock", what="it"):
        pass


# Two at once, and leftovers


def test_a_failing_up_leaves_what_another_nxc_starts_meanwhile(project: Path) -> None:
    with start_process(project, "up", "--new", "-o", "folder.slow=300", "-q") as other:
        until(lambda: bool(list(project.glob(".nxc/deployments/*/fake/server"))))
        code, said = run(project, "up", "--new", "-o", "folder.fails=server")
        assert code == 7, said
        assert "it burnt" in said
        (paths.cache_dir() / "hurry").touch()
        told, err = other.communicate(timeout=60)
        assert other.returncode == 0, err
    assert Workspace(project).load(told.strip()).status is Status.RUNNING
    assert run(project, "down", "--all")[0] == 0


def test_going_on_with_what_another_nxc_is_starting_is_refused(project: Path) -> None:
    with start_process(project, "start", "-o", "folder.slow=300", "-q") as other:
        until(lambda: bool(list(project.glob(".nxc/deployments/*/fake/server"))))
        code, said = run(project, "start", "-o", "folder.slow=300")
        assert code == 10
        assert "another nxc is at work on web-folder-" in said
        assert f"(process {other.pid})" in said
        (paths.cache_dir() / "hurry").touch()
        other.communicate(timeout=60)
        assert other.returncode == 0
    run(project, "down")


def test_no_folders_for_sockets_are_left(project: Path) -> None:
    session = Session.open(project, plugins=Plugins.discover(extra=[fake_plugin]))
    running = session.start(project, flavour="folder", base="paper")
    assert running.op.runtime.is_dir()
    running.down()
    session.attach(running.id)
    assert not running.op.runtime.exists()
    own = [session.operation(folder, "x").runtime for folder in (project, session.workspace.root)]
    assert not any(folder.exists() for folder in own)


def test_what_was_never_started_is_told_with_the_way_out(project: Path) -> None:
    workspace = Workspace(project)
    workspace.prepare()
    workspace.deployment_dir("web-folder-1").mkdir(parents=True)
    code, said = run(project, "status")
    assert code == 0
    assert "it was never started (`nxc down web-folder-1` takes away what is left)" in said
    assert run(project, "down", "web-folder-1")[0] == 0
    assert workspace.deployments() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("stage", ["booting", "testing"])
def test_ended_at_any_stage_nothing_is_left(project: Path, number: signal.Signals, stage: str) -> None:
    script = "import os, time\nopen('testing', 'w').close()\ntime.sleep(300)\n"
    write(project, {"roles": {"server": 1}, "test": script})
    slow = 300 if stage == "booting" else 0
    seen = ".nxc/deployments/*/fake/server" if stage == "booting" else "testing"
    with start_process(project, "up", "--test", "-o", f"folder.slow={slow}") as child:
        until(lambda: bool(list(project.glob(seen))))
        child.send_signal(number)
        out, err = child.communicate(timeout=120)
    assert "Traceback" not in err
    workspace = Workspace(project)
    (id,) = workspace.deployments()
    if number is signal.SIGKILL:
        assert child.returncode == -signal.SIGKILL
        code, said = run(project, "down")
        assert code == 0, said
    else:
        assert child.returncode == 130
        assert re.search(r"error: interrupted", err)
    assert workspace.load(id).status is Status.STOPPED
    assert workspace.journal(id).outstanding() == []
    assert not list(project.glob(".nxc/deployments/*/fake/*"))


# State of someone else


def test_a_project_of_someone_else(session: Session, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session.workspace.prepare()
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(StateError, match="belongs to someone else") as told:
        session.build(project, flavour="folder", base="paper")
    assert told.value.hint


def test_deployments_of_someone_else_are_listed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(project)
    workspace.prepare()
    for name in ("web-folder-1", "web-folder-2"):
        workspace.deployment_dir(name).mkdir(parents=True)
    real = Path.stat

    def stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if self.parent.name == "web-folder-1":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    assert workspace.deployments() == ["web-folder-1", "web-folder-2"]


def test_what_accept_refuses_is_not_built_whether_it_was_built_or_not(
    session: Session, project: Path
) -> None:
    def refuse(composition: Composition) -> None:
        raise ConfigError(f"not {composition.name}", hint="another")

    for _ in range(2):
        with pytest.raises(ConfigError, match="not web"):
            session.build(project, flavour="folder", base="paper", accept=refuse)
        session.build(project, flavour="folder", base="paper")
