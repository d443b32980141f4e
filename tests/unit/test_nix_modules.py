"""nix/lib gives what nixpkgs' lib gives, case by case, and says what is wrong where a composition is."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIB = ROOT / "nix" / "lib"
MODULES = ROOT / "tests" / "nix" / "modules"
EXPECTED: dict[str, dict[str, Any]] = json.loads((MODULES / "expected.json").read_text())
CASES = [(file, case) for file, cases in sorted(EXPECTED.items()) for case in sorted(cases)]


def nix(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Evaluate as any user can: without a daemon, and without a store to write to."""
    argv = ["nix-instantiate", "--eval", "--json", "--strict", "--store", "dummy://", *arguments]
    environment = {k: v for k, v in os.environ.items() if k not in ("NIX_REMOTE", "NIX_PATH")}
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environment)


def run_cases(lib: Path) -> dict[str, dict[str, Any]]:
    """Evaluate every case under one lib, in one evaluation."""
    done = nix(str(MODULES / "runner.nix"), "--arg", "lib", f"import {lib}")
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def ours() -> dict[str, dict[str, Any]]:
    return run_cases(LIB)


def test_the_record_is_complete(ours: dict[str, dict[str, Any]]) -> None:
    recorded = {(file, case) for file, cases in EXPECTED.items() for case in cases}
    assert {(file, case) for file, cases in ours.items() for case in cases} == recorded
    modules = [case for case in CASES if not case[0].startswith("lib-")]
    assert len(modules) >= 100
    assert 20 < sum("fails" in EXPECTED[file][case] for file, case in CASES) < len(CASES) / 2


@pytest.mark.parametrize(("file", "case"), CASES, ids=[f"{file}.{case}" for file, case in CASES])
def test_a_case_gives_what_nixpkgs_gave(ours: dict[str, dict[str, Any]], file: str, case: str) -> None:
    assert ours[file][case] == EXPECTED[file][case]


if "NXC_TEST_NIXPKGS_LIB" in os.environ:

    def test_nixpkgs_still_gives_the_record() -> None:
        assert run_cases(Path(os.environ["NXC_TEST_NIXPKGS_LIB"])) == EXPECTED


PRELUDE = """
let
  lib = import %s;
  inherit (lib) mkOption types;
  at = file: module: { _file = file; imports = [ module ]; };
  declared = at "base.nix" {
    options.services.nginx.enable = lib.mkEnableOption "nginx";
    options.services.nginx.virtualHosts = mkOption {
      default = { };
      type = types.attrsOf (types.submodule { options.root = mkOption { type = types.path; }; });
    };
    options.networking.firewall.allowedTCPPorts = mkOption { type = types.listOf types.port; };
    options.networking.hostName = mkOption { default = "host"; type = types.str; };
  };
  fixed = at "base.nix" { options.fixed = mkOption { readOnly = true; type = types.int; }; };
  once = at "base.nix" { options.once = mkOption { type = types.uniq types.int; }; };
  config = modules: (lib.evalModules { modules = [ declared ] ++ map (at "mine.nix") modules; }).config;
  hooked = modules: (lib.evalModules {
    modules = [ declared ] ++ map (at "mine.nix") modules;
    unknownOption = { loc, files, near }:
      "asked for ${lib.showOption loc} in ${toString files}, like ${toString near}";
  }).config;
in
"""

MESSAGES = {
    "a misspelt option": (
        "config [ { services.ngnix.enable = true; } ]",
        "nxc: mine.nix: option `services.ngnix' does not exist; did you mean `services.nginx'?",
    ),
    "an option in the wrong place": (
        "config [ { nginx.enable = true; } ]",
        "nxc: mine.nix: option `nginx' does not exist; did you mean `services.nginx'?",
    ),
    "a misspelt last part": (
        "config [ { networking.firewall.allowTCPPorts = [ 80 ]; } ]",
        "option `networking.firewall.allowTCPPorts' does not exist; did you mean "
        "`networking.firewall.allowedTCPPorts'?",
    ),
    "the same end elsewhere": (
        "config [ { programs.web.nginx.enable = true; } ]",
        "nxc: mine.nix: option `programs.web.nginx.enable' does not exist; did you mean "
        "`services.nginx.enable'?",
    ),
    "nothing like it": (
        "config [ (lib.mkIf true { virtualisation.docker.enable = true; }) ]",
        "nxc: mine.nix: option `virtualisation.docker.enable' does not exist\n",
    ),
    "an unknown option with a broken value": (
        'config [ { unheard = throw "of"; } ]',
        "nxc: mine.nix: option `unheard' does not exist\n",
    ),
    "a misspelt option of a submodule": (
        'config [ { services.nginx.virtualHosts.site.rooot = "/srv"; } ]',
        "nxc: mine.nix: option `services.nginx.virtualHosts.site.rooot' does not exist; did you mean "
        "`services.nginx.virtualHosts.site.root'?",
    ),
    "the caller's words": (
        "hooked [ { services.ngnix.enable = true; } ]",
        "nxc: asked for services.ngnix in mine.nix, like services.nginx\n",
    ),
    "the caller's words in a submodule": (
        'hooked [ { services.nginx.virtualHosts = lib.mkIf true { site.rooot = "/srv"; }; } ]',
        "nxc: asked for services.nginx.virtualHosts.site.rooot in mine.nix, "
        "like services.nginx.virtualHosts.site.root\n",
    ),
    "a wrong type": (
        'config [ { services.nginx.enable = "yes"; } ]',
        'nxc: mine.nix: option `services.nginx.enable\' expects boolean, found "yes"\n',
    ),
    "a wrong type in a list": (
        'config [ { networking.firewall.allowedTCPPorts = [ 80 "443" ]; } ]',
        "nxc: mine.nix: entry 2 of option `networking.firewall.allowedTCPPorts' expects "
        '16 bit unsigned integer; between 0 and 65535 (both inclusive), found "443"\n',
    ),
    "a long value": (
        'config [ { networking.hostName = lib.genList (n: "element ${toString n}") 100; } ]',
        'option `networking.hostName\' expects string, found [ "element 0" ',
    ),
    "a conflict": (
        'config [ { networking.hostName = "a"; } (at "other.nix" { networking.hostName = "b"; }) ]',
        "nxc: option `networking.hostName' has conflicting definitions: "
        '"b" in other.nix, and "a" in mine.nix; lib.mkForce or lib.mkDefault gives one of them precedence\n',
    ),
    "a missing value": (
        "config [ fixed ]",
        "nxc: option `fixed' is used but has no value; it is declared in base.nix\n",
    ),
    "two values where one is taken": (
        'config [ once { once = 1; } (at "other.nix" { once = 1; }) ]',
        "option `once' is defined 2 times but takes one definition: 1 in other.nix, and 1 in mine.nix",
    ),
    "a read-only option": (
        'config [ fixed { fixed = 1; } (at "other.nix" { fixed = 2; }) ]',
        "nxc: option `fixed' is read-only but is set 2 times: other.nix, and mine.nix\n",
    ),
    "a number as a set of options": (
        "config [ { networking = 4; } ]",
        "nxc: mine.nix: `networking' holds options and expects an attribute set, found 4\n",
    ),
    "a list as a module": (
        "config [ [ ] ]",
        "nxc: mine.nix: expected a module (an attribute set, a function or a path), found a list",
    ),
    "a number as a module": (
        "config [ 4 ]",
        "nxc: mine.nix: expected a module (an attribute set, a function or a path), found int\n",
    ),
    "attributes beside config": (
        "config [ { config = { }; services = { }; } ]",
        "nxc: mine.nix: a module with `config' or `options' must move `services' into `config'\n",
    ),
    "an argument that nobody gives": (
        "config [ ({ nothing, ... }: { networking.hostName = nothing; }) ]",
        "nxc: mine.nix: no argument `nothing' is given to modules\n",
    ),
    "an option declared twice": (
        'config [ fixed (at "again.nix" { options.fixed = mkOption { type = types.str; }; }) ]',
        "nxc: option `fixed' is declared in `base.nix' and `again.nix', and the declarations do not join\n",
    ),
    "options below an option": (
        "config [ once { options.once.more = mkOption { }; } ]",
        "nxc: base.nix: option `once' is of type signed integer, which cannot hold the options that "
        "`mine.nix' declares below it\n",
    ),
    "a type as a declaration": (
        "config [ { options.x = types.int; } ]",
        "nxc: mine.nix: option `x' is declared by a value of type option-type instead of lib.mkOption",
    ),
    "a condition that is no boolean": (
        'config [ once { once = lib.mkIf "yes" 1; } ]',
        "nxc: the condition of lib.mkIf is a string, not a boolean\n",
    ),
}


@pytest.mark.parametrize(("expression", "message"), MESSAGES.values(), ids=MESSAGES)
def test_what_is_wrong_is_said_in_one_sentence(expression: str, message: str) -> None:
    done = nix("-E", PRELUDE % LIB + expression)
    assert done.returncode != 0
    assert "error: nxc: " in done.stderr
    assert message in done.stderr


def test_infinite_recursion_names_the_options() -> None:
    module = "({ config, ... }: { options.a = mkOption { default = config.a; }; })"
    done = nix("-E", PRELUDE % LIB + "config [ " + module + " ]", "--show-trace")
    assert "infinite recursion" in done.stderr
    assert "while evaluating the option `a'" in done.stderr


def test_an_empty_evaluation_is_quick() -> None:
    times = []
    for _ in range(5):
        start = time.monotonic()
        assert nix("-E", f"((import {LIB}).evalModules {{ modules = [ ]; }}).config").stdout.strip() == "{}"
        times.append(time.monotonic() - start)
    bare = time.monotonic()
    nix("-E", "1")
    bare = time.monotonic() - bare
    assert min(times) - bare < 0.15


def test_no_file_outgrows_a_sitting() -> None:
    assert {p.name: n for p in LIB.glob("*.nix") if (n := len(p.read_text().splitlines())) > 400} == {}
