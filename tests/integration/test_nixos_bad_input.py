"""What can be wrong with a NixOS composition or its machine, through `nxc build`: one clear error each."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.standin import StandIn, flake_project, stand_in

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

NXC = Path(sys.executable).with_name("nxc")
SOUND = "{ pkgs, ... }: { roles.one = { }; }\n"
ROLE = """{{ pkgs, ... }}: {{
  roles.good = {{ }};
  roles.web =
    {{ config, lib, pkgs, ... }}:
    {{
      {}
    }};
}}
"""
LINE = 6
"""Where in ROLE the role's own lines begin."""


@frozen(kw_only=True)
class Said:
    """How nxc ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one error: its lines without the hint."""
        assert "Traceback" not in self.err
        assert self.err.count("\nerror: ") + self.err.startswith("error: ") == 1, self.err
        return re.split(r"^error: ", self.err, flags=re.M)[1].split("\nhint: ")[0]

    @property
    def hint(self) -> str:
        """What to do about it."""
        return self.err.partition("\nhint: ")[2]


@frozen(kw_only=True)
class Project:
    """A project without a flake, whose nixpkgs is the stand-in."""

    found: StandIn
    folder: Path

    def write(self, composition: str, name: str = "composition.nix") -> Project:
        """Write a composition, or another of its files."""
        (self.folder / name).write_text(composition)
        return self

    def argv(self, *more: str) -> list[str]:
        """Return the command that builds it."""
        words = [str(NXC), "build", "-f", "vm-ramdisk", "--base", "nixos", *more]
        if not (self.folder / "flake.nix").exists():
            words += ["-o", f"nixos.nixpkgs={self.found.nixpkgs}"]
        return words

    def build(self, *more: str, **variables: str) -> Said:
        """Build it."""
        environment = self.found.environment(**variables)
        done = subprocess.run(
            self.argv(*more), cwd=self.folder, env=environment, capture_output=True, text=True, timeout=200
        )
        return Said(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return stand_in(tmp_path_factory.mktemp("nixos"))


@pytest.fixture
def project(found: StandIn, tmp_path: Path) -> Project:
    folder = tmp_path / "web"
    folder.mkdir()
    return Project(found=found, folder=folder)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def builders(mark: str) -> list[int]:
    """List the living processes in whose environment, as a builder's script, ``mark`` is."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


# What is written


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        pytest.param(
            "environment.systemPackages = [ pkgs.helo ];",
            f"attribute 'helo' missing\n  at composition.nix:{LINE}\n",
            "did you mean hello?",
            id="a missing package",
        ),
        pytest.param(
            'networking.hostName = throw "no name";',
            "no name\n  at composition.nix",
            "--show-trace",
            id="an error of one's own",
        ),
        pytest.param(
            "environment.etc.x.text = config.environment.etc.x.text;",
            "infinite recursion in the option environment.etc.x.text",
            "--show-trace",
            id="infinite recursion",
        ),
        pytest.param(
            'environment.etc.x.source = pkgs.stdenv.mkDerivation { name = "gold"; buildCommand = ":"; '
            "meta.license.free = false; };",
            "gold has an unfree licence",
            "nixpkgs.config.allowUnfree = true",
            id="an unfree package",
        ),
        pytest.param(
            'assertions = [ { assertion = false; message = "there is no disk"; } ];',
            "does not hold:\n  there is no disk\n  of role web",
            "",
            id="an assertion",
        ),
        pytest.param(
            'imports = [ { networking.hostName = "a"; } ]; networking.hostName = "b";',
            "networking.hostName",
            "",
            id="a conflict",
        ),
        pytest.param(
            "networking.hostName = 7;", "networking.hostName", "", id="a wrong type"
        ),
        pytest.param(
            'networking.hostName = "a"',
            f"syntax error, unexpected '}}', expecting ';'\n  at composition.nix:{LINE + 1}",
            "", id="a syntax error",
        ),
        pytest.param("imports = [ ./rolls.nix ];", "there is no file rolls.nix", "did you mean roles.nix?",
                     id="a missing file"),
    ],
)  # fmt: skip
def test_what_a_role_says_wrong(project: Project, lines: str, message: str, hint: str) -> None:
    project.write("{ }", "roles.nix")
    said = project.write(ROLE.format(lines)).build()
    assert said.code == 3, said.err
    assert message in re.sub(r"^  - ", "  ", said.error, flags=re.M) + "\n"
    assert hint in said.hint
    assert str(project.folder) not in said.error
    kept = Path(said.hint.strip().rsplit("all that Nix said: ", 1)[1])
    assert kept.is_relative_to(project.folder / ".nxc")
    assert kept.read_text().startswith("error:")


def test_show_trace_shows_how_nix_got_there(project: Project) -> None:
    project.write(ROLE.format('networking.hostName = throw "no name";'))
    assert "while evaluating" not in project.build().err.replace("  while evaluating the option", "")
    assert "… while evaluating" in project.build("--show-trace").err


def test_a_build_for_another_system(project: Project) -> None:
    other = 'derivation { name = "far"; system = "riscv64-linux"; builder = "/bin/sh"; }'
    said = project.write(ROLE.format(f"environment.etc.x.source = {other};")).build()
    assert said.code == 5, said.err
    assert said.error.startswith("far is for riscv64-linux, this machine is x86_64-linux")
    assert "builders" in said.hint


def test_a_builder_that_fails_shows_its_last_words(project: Project) -> None:
    bad = 'pkgs.runCommand "bad" { } "for n in 1 2 3; do echo word $n; done; exit 3"'
    said = project.write(ROLE.format(f"environment.etc.x.source = {bad};")).build()
    assert said.code == 6, said.err
    assert said.error == "bad could not be built: failed with exit code 3\n  | word 1\n  | word 2\n  | word 3"
    assert "nix log" in said.hint


# Flakes


def test_a_flake_without_nixpkgs(project: Project) -> None:
    project.write(SOUND).write("{ outputs = { self }: { }; }", "flake.nix")
    said = project.build()
    assert said.code == 3, said.err
    assert "nixpkgs" in said.error
    assert "inputs.nixpkgs.url" in said.err


def test_a_project_without_any_nixpkgs(project: Project) -> None:
    project.write(SOUND)
    argv = project.argv()[:-2]
    done = subprocess.run(
        argv, cwd=project.folder, env=project.found.environment(), capture_output=True, text=True, timeout=100
    )
    said = Said(code=done.returncode, out=done.stdout, err=done.stderr)
    assert said.code in (3, 5), said.err
    assert "nixpkgs" in said.error


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, timeout=30)


@pytest.mark.parametrize("commit", [False, True])
def test_an_error_in_a_flake_is_in_the_users_own_file(project: Project, tmp_path: Path, commit: bool) -> None:
    """Nix evaluates a copy of it, in its store."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "composition.nix").write_text(ROLE.format("environment.systemPackages = [ pkgs.helo ];"))
    flake_project(project.found, project.folder, source, commit=commit)
    said = project.build()
    assert said.code == 3, said.err
    assert said.error.splitlines()[:2] == ["attribute 'helo' missing", f"  at composition.nix:{LINE}"]
    assert "warning" not in said.err


def test_files_that_git_does_not_know(project: Project) -> None:
    """A flake outside git is taken as it is; in git, what is not added is named."""
    flake_project(project.found, project.folder, project.folder)
    project.write("{ ... }: { roles.one = import ./role.nix; }").write("{ }", "role.nix")
    assert project.build("--dry-run").code == 0
    git(project.folder, "init", "-q")
    for name in ("flake.nix", "composition.nix", "role.nix"):
        said = project.build("--dry-run")
        assert said.code == 3, said.err
        assert name in said.error
        assert "git" in said.error
        assert f"add {name}" in said.hint or f" {name}" in said.hint.partition("add")[2]
        git(project.folder, "add", name)
    assert project.build("--dry-run").code == 0


def test_an_input_that_is_not_locked_is_not_waited_for_offline(project: Project) -> None:
    project.write(SOUND).write(
        '{ inputs.nixpkgs.url = "github:NixOS/nixpkgs"; outputs = { self, nixpkgs }: { }; }', "flake.nix"
    )
    said = project.build("--offline")
    assert said.code == 5, said.err
    assert "offline" in said.error
    assert "trying again" not in said.err
    assert "flake.lock" in said.hint


# The machine


def test_a_nix_that_is_too_old(project: Project, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    old = tmp_path / "bin/nix-instantiate"
    old.write_text("#!/bin/sh\necho 'nix-instantiate (Nix) 2.3.16'\n")
    old.chmod(0o755)
    said = project.write(SOUND).build(PATH=f"{old.parent}:{os.environ['PATH']}")
    assert said.code == 5, said.err
    assert "nix 2.3.16 is too old" in said.error
    assert "2.8 or later" in said.hint


def test_a_nixpkgs_that_needs_a_newer_nix(project: Project, tmp_path: Path) -> None:
    newer = tmp_path / "nixpkgs"
    shutil.copytree(project.found.nixpkgs, newer)
    for name in ("default.nix", "nixos/lib/eval-config.nix"):
        text = 'abort "\\nThis version of Nixpkgs requires Nix >= 99.2, please upgrade:\\n"'
        (newer / name).write_text(text)
    project.write(SOUND)
    argv = [word.replace(str(project.found.nixpkgs), str(newer)) for word in project.argv("--dry-run")]
    done = subprocess.run(
        argv, cwd=project.folder, env=project.found.environment(), capture_output=True, text=True, timeout=100
    )
    said = Said(code=done.returncode, out=done.stdout, err=done.stderr)
    assert said.code == 5, said.err
    assert "needs nix 99.2 or later" in said.error


def test_a_daemon_that_does_not_run(project: Project, tmp_path: Path) -> None:
    said = project.write(SOUND).build(NIX_REMOTE="daemon", NIX_DAEMON_SOCKET_PATH=str(tmp_path / "none"))
    assert said.code == 5, said.err
    assert f"Nix' daemon does not answer at {tmp_path}/none" in said.error
    assert "systemctl start nix-daemon" in said.hint


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param("", id="Nix' own files"),
        pytest.param(
            'environment.etc.x.source = pkgs.runCommand "big" { } "head -c 9000000 /dev/zero > $out";',
            id="a builder",
        ),
    ],
)
def test_a_full_disk(project: Project, tmpfs: Path, lines: str) -> None:
    if not lines:
        (tmpfs / "ballast").write_bytes(bytes(3_900_000))
    said = project.write(ROLE.format(lines)).build("-o", f"nixos.store={tmpfs}")
    assert said.code == 6, said.err
    assert "no space left for Nix' store" in said.error
    assert str(tmpfs) in said.error


def test_what_was_collected_as_garbage_is_built_again(project: Project) -> None:
    assert project.write(SOUND).build().code == 0
    said = project.build()
    assert "nothing changed" in said.err
    for roots in project.folder.glob(".nxc/builds/*/roots"):
        shutil.rmtree(roots)
    project.found.run("nix-store", "--gc")
    said = project.build("--json")
    assert said.code == 0, said.err
    assert "nothing changed" not in said.err
    named = re.findall(rf"{re.escape(str(project.found.store))}/nix/store/[^\"\s]+", said.out)
    assert named
    assert all(Path(path).exists() for path in named)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_build_ends_its_builders_and_the_next_one_succeeds(
    project: Project, tmp_path: Path, number: signal.Signals
) -> None:
    mark = secrets.token_hex(8)
    gate = tmp_path / "gate"
    gate.mkdir()
    script = f"trap '' TERM; echo {mark}; while [ ! -e {gate}/open ]; do sleep 0.05; done; echo > $out"
    project.write(ROLE.format(f'environment.etc.x.source = pkgs.runCommand "slow" {{ }} "{script}";'))
    settings = f"{project.found.variables()['NIX_CONFIG']}extra-sandbox-paths = {gate}\n"
    environment = project.found.environment(NIX_CONFIG=settings)
    child = subprocess.Popen(
        project.argv(), cwd=project.folder, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 100
        while not builders(mark):
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        child.send_signal(number)
        _, err = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    if number is signal.SIGINT:
        assert child.returncode == 130, err
        assert Said(code=130, out="", err=err).error.strip() == "interrupted"
    end = time.monotonic() + (0 if number is signal.SIGINT else 30)
    while builders(mark):
        assert time.monotonic() < end
        time.sleep(0.05)
    (gate / "open").touch()
    said = project.build(NIX_CONFIG=settings)
    assert said.code == 0, said.err
