"""Mistakes, bugs and full disks on the command line: a message, a hint, an exit code, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from nxc_core import FlavourEntry, hookimpl, main as entry
from nxc_core.errors import ConfigError, StateError
from nxc_core.paths import cache_dir
from tests import fake_plugin
from tests.command_line import Nxc, nxc, project

__all__ = ["nxc", "project"]  # fixtures


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


# Options of drivers


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
