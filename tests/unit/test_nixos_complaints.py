"""What Nix complains of, on what the Nix of this machine really says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from nxc_core.errors import BuildError, ConfigError, NxcError, PreflightError, UsageError
from nxc_nixos import nix as asking
from nxc_nixos.complaints import complain
from nxc_nixos.log import rendered
from nxc_nixos.options import NixosOptions
from tests.nix_here import Here, nix_in, variables

LIB = Path(os.environ.get("NXC_TEST_NIXPKGS_LIB") or Path(__file__).resolve().parents[2] / "nix/lib")
OPTIONS = """
{ lib, ... }: {
  options.a.flag = lib.mkOption { type = lib.types.bool; };
  options.a.text = lib.mkOption { type = lib.types.str; default = "x"; };
  options.a.two = lib.mkOption { type = lib.types.str; default = "x"; };
}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    for name, value in variables(tmp_path / "nix").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "project").mkdir()
    return nix_in(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


def complaint(here: Here, project: Path, text: str, **files: str) -> NxcError:
    """Evaluate modules of a project with a module system, and return the error."""
    (project / "options.nix").write_text(OPTIONS)
    for name, content in files.items():
        (project / f"{name}.nix").write_text(content)
    modules = " ".join(f"{project}/{name}.nix" for name in ("options", *files))
    expression = f"let lib = import {LIB}; in (lib.evalModules {{ modules = [ {modules} ]; }}).config.a{text}"
    return here.fails(lambda: here.evaluate(expression, project=project))


def test_an_error_in_a_module_names_its_line_and_the_option(here: Here, project: Path) -> None:
    error = complaint(
        here, project, "", one='{\n  a.flag = true;\n  a.text = "x" + (throw "no such disk");\n}'
    )
    assert isinstance(error, ConfigError)
    lines = error.message.splitlines()
    assert lines[0] == "no such disk"
    assert any(line.startswith("  at one.nix") for line in lines)
    assert "  while evaluating the option a.text" in lines
    assert len(lines) <= 4


def test_a_missing_attribute_names_its_line_and_a_near_name(here: Here, project: Path) -> None:
    error = complaint(
        here, project, "", one="{ config, ... }: {\n  a.flag = true;\n  a.text = config.a.tow;\n}"
    )
    assert error.message.splitlines()[:2] == ["attribute 'tow' missing", "  at one.nix:3"]
    assert error.hint.startswith("did you mean two?") or "did you mean one of" in error.hint


def test_an_unknown_option_names_its_file_and_near_ones(here: Here, project: Path) -> None:
    error = complaint(here, project, "", one='{ a.flag = true; a.txt = "x"; }')
    assert isinstance(error, ConfigError)
    assert "a.txt" in error.message
    assert "one.nix" in error.message
    assert str(project) not in error.message


def test_a_wrong_type_names_the_file_and_the_value(here: Here, project: Path) -> None:
    error = complaint(here, project, "", one='{ a.flag = "yes"; }')
    assert "a.flag" in error.message
    assert "bool" in error.message
    assert "one.nix" in error.message
    assert '"yes"' in error.message


def test_a_conflict_names_both_definitions_and_the_way_out(here: Here, project: Path) -> None:
    error = complaint(here, project, "", one='{ a.flag = true; a.text = "1"; }', two='{ a.text = "2"; }')
    assert "conflicting" in error.message
    assert "one.nix" in error.message
    assert "two.nix" in error.message
    assert f"{error.message} {error.hint}".count("mkForce") == 1


def test_an_infinite_recursion_names_the_option_and_the_file(here: Here, project: Path) -> None:
    error = complaint(
        here, project, "", one="{ config, ... }: {\n  a.flag = true;\n  a.text = config.a.text;\n}"
    )
    assert isinstance(error, ConfigError)
    assert "infinite recursion in the option a.text" in error.message
    assert "at one.nix" in error.message
    assert "--show-trace" in error.hint


def test_a_syntax_error_names_its_line(here: Here, project: Path) -> None:
    error = complaint(here, project, "", one='{\n  a.flag = true\n  a.text = "x";\n}')
    assert error.message.startswith("syntax error, unexpected ")
    assert error.message.splitlines()[1] == "  at one.nix:3"


def test_an_undefined_variable_names_its_line(here: Here, project: Path) -> None:
    error = complaint(here, project, "", one="{\n  a.flag = flase;\n}")
    assert error.message.splitlines() == ["undefined variable 'flase'", "  at one.nix:2"]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("let f = x: 1 + f x; in f 1", "calls itself without end"),
        ('1 + "x"', "cannot add a string to an integer"),
        ("({ a }: a) { }", "called without required argument 'a'"),
        ("assert 1 == 2; 1", "failed"),
        ('throw "\\nFailed assertions:\\n- no disk\\n- no bed"', "does not hold:\n  - no disk\n  - no bed"),
        ('throw "nxc: roles must be a set\\nhint: see docs"', "roles must be a set"),
    ],
)  # fmt: skip
def test_other_errors_of_an_expression(here: Here, expression: str, words: str) -> None:
    error = here.fails(lambda: here.evaluate(expression))
    assert isinstance(error, ConfigError)
    assert words in error.message


def test_the_librarys_own_errors_stay_as_they_are(here: Here) -> None:
    error = here.fails(lambda: here.evaluate('throw "nxc: roles must be a set\\nhint: see docs"'))
    assert error.message == "roles must be a set"
    assert error.hint.startswith("see docs")


def test_unfree_says_which_licence_and_how_to_allow_it(here: Here) -> None:
    text = (
        "Package ‘unrar-7.0’ in /x/unrar.nix:42 has an unfree license (‘unfreeRedist’), refusing to evaluate."
    )
    error = here.fails(lambda: here.evaluate(f"throw ''{text}\n\na) ...''"))
    assert isinstance(error, ConfigError)
    assert "unrar-7.0 has an unfree licence (unfreeRedist)" in error.message
    assert "nixpkgs.config.allowUnfree = true" in error.hint


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("is marked as broken, refusing to evaluate.", "x-1 is marked as broken"),
        ("is marked as insecure, refusing to\n\n\nKnown issues:\n - CVE-1", "marked as insecure\n  - CVE-1"),
        ("is not supported on ‘x86_64-linux’, refusing", "x-1 is not there for x86_64-linux"),
        (
            'is not available on the requested hostPlatform:\n  hostPlatform.system = "i686-linux"',
            "x-1 is not there for i686-linux",
        ),
    ],
)  # fmt: skip
def test_packages_that_nixpkgs_refuses(here: Here, words: str, told: str) -> None:
    text = f"Package ‘x-1’ in /x.nix:1 {words}".replace('"', '\\"')
    error = here.fails(lambda: here.evaluate(f'throw "{text}"'))
    assert told in error.message
    assert isinstance(error, ConfigError)


def test_a_nixpkgs_that_needs_a_newer_nix(here: Here) -> None:
    text = "\nThis version of Nixpkgs requires Nix >= 99.1, please upgrade:\n\n- If you are"
    error = here.fails(lambda: here.evaluate(f"abort {json.dumps(text)}"))
    assert isinstance(error, PreflightError)
    assert "needs nix 99.1 or later" in error.message
    assert ".".join(map(str, here.nix.version)) in error.message


def test_there_is_no_nixpkgs(here: Here) -> None:
    error = here.fails(lambda: here.evaluate("import <nixpkgs> { }"))
    assert isinstance(error, ConfigError)
    assert "no nixpkgs" in error.message
    assert "inputs.nixpkgs" in error.hint


def test_a_file_that_is_not_there(here: Here, project: Path) -> None:
    (project / "database.nix").write_text("1")
    error = here.fails(lambda: here.evaluate(f"import {project}/databse.nix", project=project))
    assert "there is no file databse.nix" in error.message
    assert error.hint.startswith("did you mean database.nix?")


def test_a_flake_sees_only_files_that_git_knows(here: Here, project: Path) -> None:
    (project / "flake.nix").write_text("{ outputs = { self }: { x = import ./composition.nix; }; }")
    (project / "composition.nix").write_text("1")
    (project / "keys.nix").write_text("2")
    git = ("git", "-C", str(project), "-c", "init.defaultBranch=main")
    subprocess.run((*git, "init", "-q"), check=True, timeout=30)
    reference = f'(builtins.getFlake "git+file://{project}").x'
    error = here.fails(lambda: here.evaluate(reference, project=project))
    assert isinstance(error, ConfigError)
    assert "not known to git" in error.message
    assert "flake.nix" in error.message
    subprocess.run((*git, "add", "flake.nix"), check=True, timeout=30)
    error = here.fails(lambda: here.evaluate(reference, project=project))
    assert "composition.nix is not known to git, nor keys.nix" in error.message
    assert error.hint.startswith(f"git -C {project} add composition.nix keys.nix")
    subprocess.run((*git, "add", "."), check=True, timeout=30)
    assert here.evaluate(reference, project=project) == 1


def test_an_error_in_a_flake_names_the_users_own_file(here: Here, project: Path) -> None:
    (project / "flake.nix").write_text("{ outputs = { self }: { x = import ./composition.nix; }; }")
    (project / "composition.nix").write_text("{\n  a = 1;\n}.b")
    error = here.fails(lambda: here.evaluate(f'(builtins.getFlake "path:{project}").x', project=project))
    assert error.message.splitlines()[:2] == ["attribute 'b' missing", "  at composition.nix:1"]


def test_a_folder_that_is_no_repository(here: Here, project: Path) -> None:
    (project / "flake.nix").write_text("{ outputs = { self }: { x = 1; }; }")
    reference = f'(builtins.getFlake "git+file://{project}").x'
    error = here.fails(lambda: here.evaluate(reference, project=project))
    assert "is not in a git repository" in error.message
    assert "path:" in error.hint


def test_an_input_that_cannot_be_fetched_fails_at_once(tmp_path: Path, here: Here) -> None:
    offline = nix_in(tmp_path, offline=True)
    lost = "http://127.0.0.1:9/x.tar.gz"
    error = offline.fails(lambda: offline.evaluate(f'builtins.fetchTarball "{lost}"'))
    assert isinstance(error, PreflightError)
    assert error.message == f"{lost} is not on this machine, and nxc is offline"
    assert "nix flake lock" in error.hint
    assert not offline.messages("warning"), "offline, nothing is tried again"


def test_a_failed_builder_shows_the_end_of_its_log(here: Here) -> None:
    (path,) = here.derivations(
        '{ name = "bad"; script = "for i in $(seq 40); do echo line $i; done; exit 3"; }'
    )
    error = here.fails(lambda: here.build(path))
    assert isinstance(error, BuildError)
    lines = error.message.splitlines()
    assert lines[0] == "bad could not be built: failed with exit code 3"
    assert lines[1:] == [f"  | line {number}" for number in range(26, 41)]
    assert f"nix log {path}" in error.hint
    kept = Path(error.hint.rsplit(": ", 1)[1])
    assert kept.parent == here.op.dir
    assert "line 1\n" in kept.read_text()


def test_what_depends_on_a_failed_build_is_not_the_message(here: Here) -> None:
    inner = '{ name = "inner"; script = "exit 1"; }'
    (path,) = here.derivations(f'{{ name = "outer"; script = "echo ${{make {inner}}} > $out"; }}')
    assert here.fails(lambda: here.build(path)).message.startswith("inner could not be built")


def test_a_wrong_hash_says_both(here: Here) -> None:
    wrong = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    fixed = f'outputHash = "{wrong}"; outputHashAlgo = "sha256"; outputHashMode = "flat";'
    (path,) = here.derivations(f'{{ name = "source"; script = "echo hello > $out"; {fixed} }}')
    error = here.fails(lambda: here.build(path))
    assert isinstance(error, BuildError)
    assert error.message.startswith("source: what was fetched is not what its hash says")
    assert wrong in error.message
    assert "found: sha256-" in error.message


def test_another_system_says_which_and_what_to_do(here: Here) -> None:
    (path,) = here.derivations('{ name = "x"; script = "exit 0"; system = "riscv64-linux"; }')
    error = here.fails(lambda: here.build(path))
    assert isinstance(error, PreflightError)
    assert error.message.startswith("x is for riscv64-linux, this machine is x86_64-linux")
    assert "builders" in error.hint
    (path,) = here.derivations('{ name = "y"; script = "exit 0"; requiredSystemFeatures = [ "gold" ]; }')
    assert "y needs a machine with gold" in here.fails(lambda: here.build(path)).message


def test_a_full_disk_in_a_builder(here: Here) -> None:
    (path,) = here.derivations('{ name = "x"; script = "head -c 9 /dev/zero > /dev/full"; }')
    line = here.fails(lambda: here.build(path)).message
    assert line.startswith("building: no space left for Nix' store")
    assert "MiB free" in line


def test_a_daemon_that_is_not_there(tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_REMOTE", f"unix://{tmp_path}/none")
    away = nix_in(tmp_path)
    error = away.fails(lambda: away.derivations('{ name = "x"; script = "x"; }'))
    assert isinstance(error, PreflightError)
    assert f"Nix' daemon does not answer at {tmp_path}/none" in error.message
    assert "systemctl start nix-daemon" in error.hint


def test_flags_that_nix_does_not_take(tmp_path: Path, here: Here) -> None:
    wrong = nix_in(tmp_path, NixosOptions(flags="--no-such-flag"))
    error = wrong.fails(lambda: wrong.evaluate("1"))
    assert isinstance(error, UsageError)
    assert "--no-such-flag" in error.message


def test_show_trace_adds_all_that_nix_said(tmp_path: Path, here: Here) -> None:
    traced = nix_in(tmp_path, NixosOptions(show_trace=True))
    error = traced.fails(lambda: traced.evaluate('builtins.addErrorContext "while doing this" (throw "x")'))
    assert "while doing this" in error.message
    brief = here.fails(lambda: here.evaluate('builtins.addErrorContext "while doing this" (throw "x")'))
    assert "while doing this" not in brief.message
    kept = Path(brief.hint.rsplit(": ", 1)[1])
    assert "while doing this" in kept.read_text()


def test_the_role_that_was_evaluated_is_named(here: Here) -> None:
    expression = 'builtins.addErrorContext "while evaluating the role `db\'" (throw "x")'
    assert "of role db" in here.fails(lambda: here.evaluate(expression)).message


def test_nothing_said_at_all(tmp_path: Path) -> None:
    assert complain("", project=tmp_path, what="building").message == "building: Nix failed without a word"


def test_no_words_however_torn_are_a_failure_of_nxcs_own(here: Here, project: Path) -> None:
    (project / "one.nix").write_text("{\n  a = builtins.head [ ];\n}")
    argv = asking.evaluate_command(here.nix, f"(import {project}/one.nix).a")
    whole = here.op.run(argv, env=here.nix.environment, check=False).error_text
    assert complain(whole, project=project, what="x").message.endswith("at one.nix:2")
    for text in (whole, rendered(whole)):
        for cut in range(0, len(text), 3):
            assert complain(text[:cut], project=project, what="x").message
            assert complain(text[cut:], project=project, what="x").message


SYSTEM_OF = """
(import {nixpkgs}/nixos/lib/eval-config.nix {{
  system = "x86_64-linux";
  modules = [
    {{ boot.loader.grub.enable = false; fileSystems."/" = {{ device = "x"; fsType = "ext4"; }}; }}
    {role}
  ];
}}).config.system.build.toplevel.drvPath
"""


@pytest.mark.nixpkgs
@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("{ networking.hostName = throw ''no name''; }", "no name\n  at role.nix"),
        ("{ assertions = [ { assertion = false; message = ''no disk''; } ]; }", "not hold:\n  - no disk"),
        ("{ pkgs, ... }: { environment.systemPackages = [ pkgs.unrar ]; }", "has an unfree licence (unfree"),
        ("{ networking.hostNam = 1; }", "`networking.hostNam' "),
        ("{ networking.hostName = 1; }", "is not of type"),
        ("{ config, ... }: { networking.hostName = config.networking.hostName; }", "in the option netw"),
        ("{ config, ... }: { networking.hostName = config.networkin.hostName; }", "missing\n  at role.nix"),
    ],
)  # fmt: skip
def test_what_a_role_of_real_nixos_says_wrong(here: Here, project: Path, role: str, message: str) -> None:
    (project / "role.nix").write_text(role)
    text = SYSTEM_OF.format(nixpkgs=os.environ["NXC_TEST_NIXPKGS"], role=project / "role.nix")
    error = here.fails(lambda: here.evaluate(text, project=project))
    assert isinstance(error, ConfigError)
    assert message in error.message
    assert len(error.message.splitlines()) < 6
    assert "/nix/" not in error.message
