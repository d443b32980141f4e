"""Finding Nix, its settings, evaluation, building, interruption; and what the doctor says of all that."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from attrs import evolve

from nxc_core.errors import BuildError, Interrupted, PreflightError
from nxc_core.model import Finding
from nxc_nixos import doctor, nix as asking, stores
from nxc_nixos.options import NixosOptions
from tests.nix_here import Here, nix_in, variables
from tests.processes import command_lines


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    for name, value in variables(tmp_path / "nix").items():
        monkeypatch.setenv(name, value)
    return nix_in(tmp_path)


def stand_in(folder: Path, printed: str) -> Path:
    """Write a program that only prints something."""
    folder.mkdir()
    program = folder / "nix-instantiate"
    program.write_text(f"#!/bin/sh\necho '{printed}'\n")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("nix-instantiate (Nix) 2.28.3", (2, 28, 3)),
        ("nix-instantiate (Nix) 2.31pre20250712_b1245123", (2, 31)),
        ("nix-instantiate (Lix, like Nix) 2.93.3", (2, 93, 3)),
        ("nix-instantiate (Determinate Nix 3.8.5) 2.30.2", (2, 30, 2)),
    ],
)
def test_versions_as_they_are_printed(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, version: tuple[int, ...]
) -> None:
    monkeypatch.setenv("PATH", f"{stand_in(tmp_path / 'bin', printed)}:{os.environ['PATH']}")
    assert nix_in(tmp_path).nix.version == version


@pytest.mark.parametrize(
    ("printed", "told"), [("nix-instantiate (Nix) 2.3.16", "nix 2.3.16 is too old"), ("hello", "not say its")]
)
def test_a_nix_that_cannot_be_used_says_why(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, told: str
) -> None:
    monkeypatch.setenv("PATH", f"{stand_in(tmp_path / 'bin', printed)}:{os.environ['PATH']}")
    error = here.fails(lambda: nix_in(tmp_path))
    assert isinstance(error, PreflightError)
    assert told in error.message
    assert "2.8 or later" in error.hint


def test_no_nix_at_all(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(asking, "_PLACES", ())
    error = here.fails(lambda: nix_in(tmp_path))
    assert isinstance(error, PreflightError)
    assert "nix-bin" in error.hint


def test_a_nix_that_its_installer_put_aside_is_found(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = stand_in(tmp_path / "aside", "nix-instantiate (Nix) 2.24.1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(asking, "_PLACES", (str(aside),))
    assert asking.find_programs() == aside


# Settings


def test_the_users_settings_stay_and_ours_are_added(tmp_path: Path) -> None:
    store = stores.parse("daemon", {})
    made = asking.environment(store, environ={"NIX_CONFIG": "cores = 3", "A": "b"})
    assert made["NIX_CONFIG"].splitlines() == ["cores = 3", asking._FEATURES]
    assert made["A"] == "b"
    assert made["NIX_REMOTE"] == "daemon"
    assert "substitute = false" in asking.environment(store, offline=True, environ={})["NIX_CONFIG"]


def test_offline_nothing_leaves_the_machine(here: Here, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.tar.gz"
        offline = nix_in(tmp_path, offline=True)
        for expression in (
            f'builtins.fetchTarball "{address}"',
            f'builtins.fetchGit "{address}"',
            f'(builtins.getFlake "{address}").outPath',
        ):
            assert "not" in offline.fails(lambda text=expression: offline.evaluate(text)).message  # type: ignore[misc]
        with pytest.raises(BlockingIOError):
            server.accept()


def test_features_can_be_used_whatever_the_user_set(here: Here, tmp_path: Path) -> None:
    settings = f"experimental-features =\n{here.nix.environment['NIX_CONFIG']}"
    nix = evolve(here.nix, environment={**here.nix.environment, "NIX_CONFIG": settings})
    assert evolve(here, nix=nix).evaluate("builtins ? getFlake") is True


def test_root_builds_without_a_group_of_builders_unless_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "nix.conf").write_text("build-users-group = builders\n")
    assert asking._has_build_users({"NIX_CONF_DIR": str(tmp_path)})
    assert asking._has_build_users({"NIX_CONFIG": "build-users-group ="}), "it is the user's choice"


def test_flags_are_sorted_by_who_takes_them(here: Here, tmp_path: Path) -> None:
    flags = "--override-input nixpkgs path:/x --option cores 1 --impure --keep-going"
    nix = nix_in(tmp_path, NixosOptions(flags=flags, builders="ssh://b")).nix
    assert nix.flake_flags == ("--override-input", "nixpkgs", "path:/x", "--impure")
    assert nix.flags == ("--option", "cores", "1", "--keep-going", "--builders", "ssh://b")


def test_nix_own_number_of_jobs_stays_unless_another_is_asked_for(here: Here) -> None:
    processors = len(os.sched_getaffinity(0))
    assert "--max-jobs" not in asking.build_command(here.nix, ["/x.drv"], jobs=processors)
    words = asking.build_command(here.nix, ["/x.drv"], jobs=processors + 1)
    assert words[words.index("--max-jobs") + 1] == str(processors + 1)


def test_flags_reach_nix(here: Here, tmp_path: Path) -> None:
    flagged = nix_in(tmp_path, NixosOptions(flags="--arg a '1 + 1' --option restrict-eval true"))
    assert flagged.evaluate("{ a }: a") == 2
    assert "cannot be read" in flagged.fails(lambda: flagged.evaluate("builtins.readDir /etc")).message


# Asking


def test_a_value_of_every_kind(here: Here) -> None:
    assert here.evaluate('{ a = [ 1 null true ]; b.c = "é"; }') == {"a": [1, None, True], "b": {"c": "é"}}


def test_pure_evaluation_sees_no_environment(here: Here) -> None:
    def ask(pure: bool) -> object:
        return asking.evaluate(
            here.nix, 'builtins.getEnv "HOME"', here.op, project=here.home, what="x", pure=pure
        )

    assert ask(False) == str(here.home / "nix")
    assert ask(True) == ""


def test_derivations_are_kept_by_a_link(here: Here) -> None:
    expression = 'derivation { name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; }'
    link = here.home / "kept"
    (path,) = asking.instantiate(here.nix, expression, here.op, project=here.home, what="x", link=link)
    assert path.endswith("-x.drv")
    assert str(link.readlink()) == path


def test_building_nothing_asks_no_one(here: Here) -> None:
    nowhere = evolve(here.nix, programs=Path("/nonexistent"))
    assert asking.build(nowhere, [], here.op, project=here.home) == {}


def test_an_evaluation_that_takes_too_long_is_one_error(here: Here, tmp_path: Path) -> None:
    (tmp_path / "nix-instantiate").write_text("#!/bin/sh\nsleep 600\n")
    (tmp_path / "nix-instantiate").chmod(0o755)
    nix = evolve(here.nix, programs=tmp_path)
    error = here.fails(
        lambda: asking.evaluate(nix, "1", here.op, project=here.home, what="reading", timeout=0.2)
    )
    assert isinstance(error, BuildError)
    assert "\n" not in error.message
    assert "not done" in error.message


def living(mark: str) -> list[int]:
    """List processes whose command line names ``mark``."""
    return [pid for pid, words in command_lines().items() if mark in words]


def test_a_cancelled_build_ends_its_builders_and_the_next_one_works(here: Here, tmp_path: Path) -> None:
    mark = secrets.token_hex(8)
    go = tmp_path / "go"
    script = f"trap '' TERM; echo {mark}; while [ ! -e {go} ]; do sleep 0.02; done; echo done > $out"
    (path,) = here.derivations(f'{{ name = "slow"; script = "{script}"; }}')
    ended: list[BaseException] = []

    def build() -> None:
        try:
            here.build(path)
        except Interrupted as error:
            ended.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    while not living(mark):
        assert thread.is_alive()
        time.sleep(0.01)
    here.op.cancel.set()
    thread.join(30)
    assert ended
    assert living(mark) == []
    go.touch()
    here.op.cancel.clear()
    assert here.build(path)[path].endswith("-slow")


@pytest.fixture
def daemon(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """A store that only a daemon writes to, the daemon being this test's own."""
    socket_path = tmp_path / "nix/state/daemon-socket/socket"
    child = subprocess.Popen(["nix-daemon"], env=dict(here.nix.environment) | {"NIX_REMOTE": ""})
    try:
        end = time.monotonic() + 30
        while not socket_path.exists():
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        monkeypatch.setenv("NIX_REMOTE", "daemon")
        yield nix_in(tmp_path)
    finally:
        child.terminate()
        child.wait(30)


def test_a_daemon_builds_keeps_and_tells_as_a_store_of_ones_own(daemon: Here) -> None:
    assert daemon.nix.store.is_daemon
    (path,) = daemon.derivations('{ name = "one"; script = "echo hello; echo > $out"; }')
    built = daemon.build(path, links=daemon.home / "links")[path]
    assert daemon.nix.store.locate(built).exists()
    assert "building one" in daemon.messages("build")
    subprocess.run(["nix-store", "--gc"], env=daemon.nix.environment, check=True, timeout=60)
    assert daemon.nix.store.holds([built])
    (bad,) = daemon.derivations('{ name = "bad"; script = "echo oh; exit 3"; }')
    error = daemon.fails(lambda: daemon.build(bad))
    assert error.message == "bad could not be built: failed with exit code 3\n  | oh"
    assert subjects(doctor.findings(NixosOptions(), daemon.op))["store"].ok


def test_a_killed_nix_is_one_error(here: Here) -> None:
    mark = secrets.token_hex(8)
    (path,) = here.derivations(f'{{ name = "slow"; script = "echo {mark}; while :; do sleep 1; done"; }}')

    def kill() -> None:
        while not (builders := living(mark)):
            time.sleep(0.01)
        for pid in living(path):
            os.kill(pid, signal.SIGKILL)
        for pid in builders:  # nobody is left to end them
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    error = here.fails(lambda: here.build(path))
    thread.join(30)
    assert isinstance(error, BuildError)
    assert "nix was killed" in error.message


# The doctor


def subjects(found: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in found}


def test_the_doctor_is_content_with_a_store_of_ones_own(here: Here) -> None:
    found = subjects(doctor.findings(NixosOptions(), here.op))
    assert {name for name in ("nix", "flakes", "store") if found[name].ok} == {"nix", "flakes", "store"}
    assert found["binary caches"].advice
    assert "substituters = https://cache.nixos.org" in found["binary caches"].hint


def test_the_doctor_says_that_there_is_no_nix(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(asking, "_PLACES", ())
    (finding,) = doctor.findings(NixosOptions(), here.op)
    assert (finding.ok, finding.subject) == (False, "nix")
    assert "nix-bin" in finding.hint


def test_the_doctor_says_that_no_daemon_answers(here: Here, tmp_path: Path) -> None:
    finding = subjects(doctor.findings(NixosOptions(store=f"unix://{tmp_path}/none"), here.op))["store"]
    assert not finding.ok
    assert f"no daemon at {tmp_path}/none" in finding.detail
    assert "nix-daemon" in finding.hint


def test_the_doctor_says_that_a_store_cannot_be_written(here: Here) -> None:
    finding = subjects(doctor.findings(NixosOptions(store="/dev/null/x"), here.op))["store"]
    assert not finding.ok
    assert "-o nixos.store" in finding.hint


def test_the_doctor_advises_on_a_cache_that_does_not_answer(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIX_CONFIG", f"{os.environ['NIX_CONFIG']}\nsubstituters = http://127.0.0.1:9")
    finding = subjects(doctor.findings(NixosOptions(), here.op))["binary cache"]
    assert (finding.ok, finding.advice) == (False, True)
    assert finding.detail.startswith("http://127.0.0.1:9")


def test_the_doctor_changes_nothing(here: Here, tmp_path: Path) -> None:
    shutil.rmtree(here.home / "nix")
    doctor.findings(NixosOptions(store=str(tmp_path / "own")), here.op)
    assert not (tmp_path / "own").exists()
