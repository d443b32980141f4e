"""Each finding, made true."""

from __future__ import annotations

import json
import os
import shutil
import signal
from importlib import metadata
from pathlib import Path

import pytest

from nxc_core import doctor, paths, process
from nxc_core.errors import PreflightError
from nxc_core.model import Finding
from nxc_core.plugins import Broken, Plugins
from nxc_core.session import Session
from tests import fake_plugin


@pytest.fixture
def everything(tmp_path: Path) -> Session:
    """With all plugins, each of which has a look at the machine."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "composition.nix").write_text(json.dumps({"roles": {"server": 1}}))
    return Session.open(tmp_path / "web", plugins=Plugins.discover(extra=[fake_plugin]))


@pytest.fixture
def session(everything: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """With the stand-ins alone: what is looked at is the core's."""
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "entry_points", lambda **_: ())
        return Session.open(everything.workspace.project, plugins=Plugins.discover(extra=[fake_plugin]))


def find(session: Session, subject: str) -> Finding:
    found = doctor.examine(session, flavour="folder", base="paper").findings
    (one,) = [finding for _, finding in found if finding.subject.startswith(subject)]
    return one


def in_the_way(session: Session, *, flavour: str = "folder", base: str = "paper") -> list[str]:
    found = doctor.examine(session, flavour=flavour, base=base)
    return [finding.subject for finding in found.in_the_way()]


def test_a_sound_machine_has_nothing_in_the_way(everything: Session) -> None:
    assert in_the_way(everything) == []
    assert all(
        finding.ok for _, finding in doctor.examine(everything, flavour="folder", base="paper").findings[:3]
    )


def test_looking_changes_nothing(everything: Session) -> None:
    doctor.examine(everything, flavour="folder", base="paper")
    assert not everything.workspace.root.exists()
    assert not paths.cache_dir().exists()


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_another_system(session: Session, monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert in_the_way(session) == ["system"]
    with pytest.raises(PreflightError, match=f"this is {system} on {machine}") as caught:
        doctor.check_platform()
    assert "Debian 12" in caught.value.hint


def test_an_old_python() -> None:
    assert not doctor.examine_python((3, 10, 9)).ok
    assert doctor.examine_python((3, 11, 0)).ok


def test_a_clock_that_is_behind() -> None:
    finding = doctor.examine_clock(0.0)
    assert not finding.ok
    assert finding.detail == "1970-01-01 00:00 UTC is before nxc was installed"
    assert doctor.examine_clock().ok


def test_a_cache_that_is_a_file(session: Session) -> None:
    paths.cache_dir().write_text("")
    assert not find(session, "cache folder").ok


@pytest.mark.root  # only root can give files away
def test_a_cache_of_someone_else(session: Session) -> None:
    paths.cache_dir().mkdir()
    os.chown(paths.cache_dir(), 12345, 12345)
    finding = find(session, "cache folder")
    assert "belongs to someone else" in finding.detail
    assert "chown" in finding.hint
    assert in_the_way(session) == ["cache folder"]


def test_a_project_that_cannot_be_written(session: Session) -> None:
    finding = doctor.examine_folder("project", Path("/proc/1/.nxc"))
    assert "cannot be written" in finding.detail
    assert not finding.ok


@pytest.mark.root  # mounting takes root
def test_little_room_on_a_small_tmpfs(session: Session) -> None:
    paths.cache_dir().mkdir()
    process.run(("mount", "-t", "tmpfs", "-o", "size=1m", "none", str(paths.cache_dir())), timeout=10)
    try:
        finding = find(session, "room for cache")
    finally:
        process.run(("umount", str(paths.cache_dir())), timeout=10)
    assert not finding.ok
    assert finding.detail.startswith("1 MiB free")
    assert finding.advice, "a small project may still fit"


def test_a_runtime_folder_that_others_enter(
    session: Session, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Path(f"/tmp/nxc-test-{os.getpid()}")
    (short / "nxc").mkdir(parents=True)
    try:
        (short / "nxc").chmod(0o777)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
        finding = find(session, "runtime folder")
        assert "not a private folder of yours" in finding.detail
        assert "runtime folder" in in_the_way(session)
    finally:
        shutil.rmtree(short)


def test_a_driver_that_lacks_something(session: Session) -> None:
    paths.cache_dir().mkdir()
    (paths.cache_dir() / "folder-is-broken").touch()
    assert in_the_way(session) == ["folders"]
    assert in_the_way(session, flavour="other") == ["flavour other"], "another flavour's trouble is its own"


def test_a_flavour_and_a_base_that_are_not_installed(session: Session) -> None:
    assert in_the_way(session, flavour="nope", base="none") == ["flavour nope", "base none"]


def test_a_broken_plugin(session: Session) -> None:
    session.plugins.broken.append(Broken(name="bad", reason="ImportError: no docker"))
    finding = find(session, "plugin bad")
    assert (finding.ok, finding.detail) == (False, "ImportError: no docker")
    assert in_the_way(session) == [], "it is not the one that is used"


def test_a_process_that_a_lost_deployment_left(session: Session, tmp_path: Path) -> None:
    token = "lost-folder-123/fake.process/it"
    pid = process.spawn(("sleep", "60"), token=token, log=tmp_path / "log")
    try:
        finding = find(session, "processes of lost-folder-123")
        assert f"kill {pid}" in finding.hint
        assert finding.advice
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_process_of_a_live_deployment_is_none(session: Session, tmp_path: Path) -> None:
    source = session.workspace.project / "composition.nix"
    running = session.start(source, flavour="folder", base="paper")
    pid = process.spawn(("sleep", "60"), token=f"{running.id}/fake.process/it", log=tmp_path / "log")
    try:
        subjects = [f.subject for _, f in doctor.examine(session, flavour="folder", base="paper").findings]
        assert f"processes of {running.id}" not in subjects
    finally:
        os.kill(pid, signal.SIGKILL)


def test_the_verb_exits_with_five(everything: Session, capsys: pytest.CaptureFixture[str]) -> None:
    from nxc_core.cli import run

    argv = ["doctor", "-C", str(everything.workspace.project)]
    (everything.workspace.project / "nxc.toml").write_text('base = "paper"\nflavour = "folder"\n')
    assert run(argv, extra=[fake_plugin]) == 0
    assert "  ok    Python: 3." in capsys.readouterr().out
    paths.cache_dir().mkdir(exist_ok=True)
    (paths.cache_dir() / "folder-is-broken").touch()
    assert run(argv, extra=[fake_plugin]) == 5
    told = capsys.readouterr()
    assert "  FAIL  folders: asked\n        remove folder-is-broken" in told.out
    assert "1 of these stand in the way of folder on paper" in told.err
    assert "machines: none are named yet" in told.out
    (everything.workspace.project / "nxc.toml").write_text(
        'base = "paper"\nflavour = "folder"\nmachines = "a,b"\n'
    )
    assert run(argv, extra=[fake_plugin]) == 5
    assert "machines: 2 are named" in capsys.readouterr().out
    assert run([*argv, "--json"], extra=[fake_plugin]) == 5
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["ok"]) == ("nxc.doctor/1", False)
