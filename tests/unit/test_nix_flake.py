"""The library as a flake, and the driver that the nixos base calls, on flakes and on plain folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.nix_here import variables
from tests.standin import EXAMPLES, NIX, ROOT, StandIn, flake_project, materialise, nix_path

NOWHERE = "/nonexistent"
FLAKE = """{ inputs.nixpkgs.url = "path:@nixpkgs@"; outputs = { self, nixpkgs }: { @outputs@ }; }"""


@frozen(kw_only=True)
class Flakes:
    """Nix with a store of its own, and a stand-in for nixpkgs that flakes can take."""

    home: Path
    nixpkgs: Path

    def attempt(self, *argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of Nix; it may fail."""
        settings = variables(self.home / "nix")
        settings["NIX_CONFIG"] += (
            f"\nexperimental-features = nix-command flakes\nflake-registry = {NOWHERE}\n"
        )
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
        return subprocess.run(
            argv, env=kept | settings, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
        )

    def run(self, *argv: str, cwd: Path | None = None) -> str:
        """Return what a program that must succeed prints."""
        done = self.attempt(*argv, cwd=cwd)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def offline(self, *argv: str) -> str:
        """Run ``nix`` on the library's own flake, with the stand-in for its input."""
        inputs = ("--override-input", "nixpkgs", f"path:{self.nixpkgs}", "--no-write-lock-file")
        return self.run("nix", *argv, *inputs)

    def drive(self, source: str, *, attempt: bool = False, **arguments: str) -> Any:
        """Return what the driver says, or what Nix says when it fails."""
        given = "".join(
            f"{name} = {value};" for name, value in ({"flavour": '"vm-ramdisk"'} | arguments).items()
        )
        expression = f"""
          let d = import {nix_path(NIX / "driver.nix")} {{
            source = {source}; system = "x86_64-linux"; {given}
          }}; in {{ inherit (d) read templates needs; inherit (d.package) drvPath;
                    parts = builtins.mapAttrs (_: part: part.toplevel.drvPath) d.parts; }}"""
        done = self.attempt(
            "nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "-E", expression
        )
        if attempt:
            assert done.returncode != 0, done.stdout
            return next(line for line in done.stderr.splitlines() if line.startswith("error: "))
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)

    def write(self, name: str, outputs: str, **files: str) -> str:
        """Make a flake with one input, and return how it is named as a source."""
        folder = self.home / name
        folder.mkdir()
        text = FLAKE.replace("@nixpkgs@", str(self.nixpkgs)).replace("@outputs@", outputs)
        (folder / "flake.nix").write_text(text)
        for file, content in files.items():
            (folder / f"{file}.nix").write_text(content)
        self.run("nix", "flake", "lock", f"path:{folder}")
        return f'{{ flake = "path:{folder}"; }}'


@pytest.fixture(scope="module")
def flakes(tmp_path_factory: pytest.TempPathFactory) -> Flakes:
    home = tmp_path_factory.mktemp("flakes")
    return Flakes(home=home, nixpkgs=materialise(home / "nixpkgs"))


@pytest.fixture(scope="module")
def checkout(flakes: Flakes) -> Path:
    """What the flake of the repository is made of, without what else lies in a checkout."""
    folder = flakes.home / "checkout"
    for name in ("nix", "examples", "plugins", "nxc_core"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".nxc"))
    for name in ("flake.nix", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def test_the_flake_offers_what_upstreams_does(flakes: Flakes, checkout: Path) -> None:
    outputs = json.loads(flakes.offline("flake", "show", "--json", f"path:{checkout}"))
    assert set(outputs) >= {"checks", "devShells", "lib", "overlay", "overlays", "packages", "templates"}
    assert set(outputs["devShells"]["x86_64-linux"]) >= {"nxcShell", "nxcShellLite", "default"}
    assert set(outputs["templates"]) >= {path.parent.name for path in EXAMPLES.glob("*/composition.nix")}
    assert all(template["description"] for template in outputs["templates"].values())
    library = f"path:{checkout}#lib"
    functions = json.loads(flakes.offline("eval", "--json", library, "--apply", "builtins.attrNames"))
    assert set(functions) >= {
        "compose",
        "nur",
        "setup",
        "flavours",
        "makeMany",
        "makeManyById",
        "mapListToAttrs",
    }


def test_its_checks_evaluate_every_example(flakes: Flakes, checkout: Path) -> None:
    (built,) = json.loads(
        flakes.offline("build", "--json", "--no-link", f"path:{checkout}#checks.x86_64-linux.examples")
    )
    derivations = json.loads(Path(built["outputs"]["out"]).read_text())
    names = {path.parent.name for path in EXAMPLES.glob("*/composition.nix")}
    assert {name.split("::")[0] for name in derivations} == names | {""}
    assert all(path.endswith(".drv") and Path(path).exists() for path in derivations.values())


def test_the_library_alone_is_a_flake_too_and_its_checks_pass(flakes: Flakes) -> None:
    flakes.offline("flake", "check", f"path:{NIX}")


def test_the_template_is_a_whole_project(flakes: Flakes, tmp_path: Path) -> None:
    shutil.copytree(NIX / "template", tmp_path / "mine")
    nxc = ("--override-input", "nxc", f"path:{NIX}")
    packages = f"path:{tmp_path}/mine#packages.x86_64-linux"
    names = json.loads(flakes.offline("eval", "--json", packages, "--apply", "builtins.attrNames", *nxc))
    assert "composition::vm-ramdisk" in names


def test_a_flake_and_a_plain_folder_give_the_same(flakes: Flakes) -> None:
    stand_in = StandIn(home=flakes.home, nixpkgs=flakes.nixpkgs)
    project = flake_project(stand_in, flakes.home / "project", "webserver")
    flakes.run("nix", "flake", "lock", f"path:{project}")
    composition = nix_path(EXAMPLES / "webserver/composition.nix")
    plain = flakes.drive(f"{{ composition = {composition}; nixpkgs = {nix_path(flakes.nixpkgs)}; }}")
    flake = flakes.drive(f'{{ flake = "path:{project}"; }}')
    assert flake["read"] == plain["read"]
    assert set(flake["parts"]) == set(plain["read"]["roles"]) == {"client", "server"}
    assert flake["templates"] == {"client": "client", "server": "server"}
    # The site of the example comes from another place in the store, the rest is one.
    assert flake["parts"]["client"] == plain["parts"]["client"]


def test_what_nxc_states_of_a_flavour_stands_for_what_the_flake_says(flakes: Flakes) -> None:
    source = flakes.write("stated", "", composition="{ roles.a = { }; }")
    known = flakes.drive(source)
    same = flakes.drive(
        source,
        kind='"ramdisk"',
        guest=f"(builtins.fromJSON (builtins.readFile {nix_path(NIX / 'guests.json')})).vm-ramdisk.guest",
    )
    other = flakes.drive(source, kind='"ramdisk"', guest='{ console = "ttyS5"; }')
    third = flakes.drive(source, flavour='"third"', kind='"closure"', guest="{ kernel = false; }")
    assert known == same
    assert len({one["drvPath"] for one in (known, other, third)}) == 3


def test_a_flake_without_packages_is_composed_with_its_own_nixpkgs(flakes: Flakes) -> None:
    source = flakes.write(
        "bare",
        "",
        composition='{ setup, ... }: { roles.a = { }; testScript = setup.params.word or "none"; }',
    )
    assert flakes.drive(source)["read"]["testScript"] == "none"
    given = '{ params.word = "given"; }'
    assert flakes.drive(source, setup=given)["read"]["testScript"] == "given"


def test_one_of_several_compositions_is_chosen(flakes: Flakes) -> None:
    source = flakes.write("several", "", compositions="{ foo.roles.a = { }; bar.roles.b = { }; }")
    assert flakes.drive(source, composition='"bar"')["read"]["roles"] == ["b"]
    assert flakes.drive(source, composition='""')["read"]["roles"] == ["bar.b", "foo.a"]
    assert "several compositions, say which one: `bar', `foo'" in flakes.drive(source, attempt=True)
    complaint = flakes.drive(source, attempt=True, composition='"fo"')
    assert "there is no composition `fo' (did you mean `foo'?); there are `bar', `foo'" in complaint


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        (
            "",
            "the flake makes no packages by nxc.lib.compose, and has no composition.nix (in a flake, git add",
        ),
        (
            'packages.aarch64-linux."composition::vm" = { };',
            "the flake makes packages for `aarch64-linux', none for `x86_64-linux'",
        ),
        (
            'packages.x86_64-linux."composition::vm" = { };',
            "the flake's packages are made by another compose than ours: let its input be this library",
        ),
    ],
    ids=["nothing", "another system", "another compose"],
)
def test_a_flake_that_makes_nothing_of_ours(flakes: Flakes, outputs: str, told: str) -> None:
    source = flakes.write(f"amiss{len(told)}", outputs)
    complaint = flakes.drive(source, attempt=True)
    assert complaint.startswith("error: nxc: path:/")
    assert told in complaint


def test_a_flake_without_nixpkgs(flakes: Flakes) -> None:
    folder = flakes.home / "lonely"
    folder.mkdir()
    (folder / "flake.nix").write_text("{ outputs = { self }: { }; }")
    (folder / "composition.nix").write_text("{ roles.a = { }; }")
    flakes.run("nix", "flake", "lock", f"path:{folder}")
    complaint = flakes.drive(f'{{ flake = "path:{folder}"; }}', attempt=True)
    assert "the flake has no input `nixpkgs': add inputs.nixpkgs.url to flake.nix" in complaint


def test_a_flavour_that_nobody_knows(flakes: Flakes) -> None:
    source = flakes.write("unknown", "", composition="{ roles.a = { }; }")
    complaint = flakes.drive(source, attempt=True, flavour='"vm-ramdsk"')
    assert "there is no flavour `vm-ramdsk' (did you mean `vm-ramdisk'?)" in complaint
