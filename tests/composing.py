"""The Nix library with a stand-in for nixpkgs, evaluated as any user can: without a store to write to."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.standin import NIX, ROOT, materialise, nix_path

CASES = ROOT / "tests/nix/compose"
NUR = CASES / "NUR.nix"
BAD = tomllib.loads((CASES / "bad.toml").read_text())


@frozen(kw_only=True)
class Library:
    """``home`` is the folder that expressions see, ``nixpkgs`` the stand-in."""

    home: Path
    nixpkgs: Path

    def attempt(self, expression: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Evaluate where ``all`` composes, ``one`` gives a package, ``roles`` that of some roles."""
        scope = f"""
          let
            nixpkgs = {nix_path(self.nixpkgs)};
            nxc = import {nix_path(NIX)} {{ inherit nixpkgs; }};
            all = arguments: nxc.compose (arguments // {{ system = "x86_64-linux"; }});
            one = arguments: (all ({{ flavour = "vm-ramdisk"; }} // arguments))."composition::vm-ramdisk";
            roles = roles: one {{ composition = {{ inherit roles; }}; }};
            system = package: role: package.nxc.parts.${{role}}.toplevel;
            folder = {nix_path(self.home)};
          in
          {expression}"""
        argv = ["nix-instantiate", "--eval", "--json", "--strict", "--store", "dummy://", "-E", scope]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NIX_")}
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=kept | {"NIX_CONF_DIR": str(self.home)} | variables,
        )

    def value(self, expression: str) -> Any:
        """Return the value of a sound expression."""
        done = self.attempt(expression)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)

    def complaint(self, expression: str) -> str:
        """Return what Nix says of an expression that fails."""
        done = self.attempt(expression)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def traces(self, expression: str, word: str) -> int:
        """Return how often the word was traced."""
        done = self.attempt(expression)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stderr.splitlines().count(f"trace: {word}")

    def write(self, name: str, text: str) -> Path:
        """Put a file into the folder that expressions see."""
        path = self.home / name
        path.write_text(text)
        return path


def make_library(home: Path) -> Library:
    """Make a stand-in for nixpkgs, and a folder with a role and a composition."""
    nixpkgs = materialise(home / "nixpkgs")
    folder = home / "project"
    folder.mkdir()
    (folder / "role.nix").write_text('{ pkgs, ... }: { environment.etc.byPath.text = "yes"; }\n')
    (folder / "composition.nix").write_text("{ pkgs, ... }: { roles.foo = ./role.nix; }\n")
    return Library(home=folder, nixpkgs=nixpkgs)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return make_library(tmp_path_factory.mktemp("compose"))
