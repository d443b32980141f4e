"""A stand-in for nixpkgs and a Nix store of one's own: evaluations and builds without NixOS or a network.

``stand_in(home)`` gives a store in which paths are /nix/store/..., though it lies in ``home``: Nix builds in
a namespace of its own that sees this machine's /usr. It works for root and for ordinary users.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

ROOT = Path(__file__).resolve().parents[1]
NIX = ROOT / "nix"
EXAMPLES = ROOT / "examples"
_TREE = ROOT / "tests/nix/nixpkgs"
_ALLOWED = ("PATH", "TERM", "TMPDIR", "LANG")
_SANDBOX = "/bin=/usr/bin /usr /lib=/usr/lib /lib64=/usr/lib64 /etc/alternatives"


@frozen(kw_only=True)
class StandIn:
    """A materialised stand-in for nixpkgs, and a store to build with it."""

    home: Path
    nixpkgs: Path

    @property
    def store(self) -> Path:
        """What Nix takes for the machine's root: ``store``/nix/store/... holds what is built."""
        return self.home / "store"

    def variables(self) -> dict[str, str]:
        """Return what makes any Nix program use this store, and nothing else of this machine."""
        registry = self.home / "registry.json"
        settings = {
            "experimental-features": "nix-command flakes",
            "substituters": "",
            "build-users-group": "",
            "sandbox": "true",
            "sandbox-fallback": "false",
            "extra-sandbox-paths": _SANDBOX,
            "flake-registry": str(registry),
            "warn-dirty": "false",
            "connect-timeout": "1",
        }
        return {
            "HOME": str(self.home / "user"),
            "XDG_CACHE_HOME": str(self.home / "user/.cache"),
            "NIX_CONF_DIR": str(self.home / "conf"),
            "NIX_CONFIG": "".join(f"{key} = {value}\n" for key, value in settings.items()),
            "NIX_REMOTE": str(self.store),
        }

    def environment(self, **more: str) -> dict[str, str]:
        """Return a whole environment with these variables."""
        kept = {name: os.environ[name] for name in _ALLOWED if name in os.environ}
        return kept | self.variables() | more

    def attempt(
        self, *argv: str, cwd: Path | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with this store; it may fail."""
        return subprocess.run(
            argv,
            env=self.environment(),
            cwd=cwd or self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def run(self, *argv: str, cwd: Path | None = None, timeout: float = 120) -> str:
        """Run a program that must succeed, and return what it prints."""
        done = self.attempt(*argv, cwd=cwd, timeout=timeout)
        assert done.returncode == 0, f"{argv}\n{done.stderr}"
        return done.stdout

    def evaluate(self, expression: str) -> Any:
        """Return the JSON of an expression, in which ``nixpkgs`` is the stand-in."""
        wanted = ("--eval", "--strict", "--json", "--read-write-mode", "-E", self._scoped(expression))
        return json.loads(self.run("nix-instantiate", *wanted))

    def instantiate(self, expression: str) -> list[str]:
        """Return the .drv of each derivation in the set, list or derivation that an expression gives."""
        return self.run("nix-instantiate", "-E", self._scoped(expression)).split()

    def build(self, expression: str, *options: str) -> list[Path]:
        """Build what an expression gives; return where the results are on this machine."""
        printed = self.run(
            "nix-build", "--no-out-link", "--keep-going", *options, "-E", self._scoped(expression)
        )
        return [self.physical(path) for path in printed.split()]

    def physical(self, path: str | Path) -> Path:
        """Return where a /nix/store path is on this machine, links on the way followed."""
        found = Path(f"{self.store}{path}")
        while found.is_symlink() and str(found.readlink()).startswith("/nix/store/"):
            found = Path(f"{self.store}{found.readlink()}")
        return found

    def _scoped(self, expression: str) -> str:
        return f"let nixpkgs = {nix_path(self.nixpkgs)}; nxc = {nix_path(NIX)}; in {expression}"


def nix_path(path: Path) -> str:
    """Write a path as a Nix expression, whatever characters are in it."""
    return f"(/. + {json.dumps(str(path))})"


def materialise(folder: Path, machine: Path | None = None) -> Path:
    """Put the stand-in for nixpkgs into a new folder, with the project's own ``lib`` as its lib.

    ``machine`` holds the kernel and the programs of a system that is to boot, see ``standin_machine``.
    """
    shutil.copytree(_TREE, folder)
    shutil.copytree(NIX / "lib", folder / "lib")
    if machine is not None:
        shutil.copytree(machine, folder / "machine", symlinks=True, copy_function=os.link)
    return folder


def stand_in(home: Path, machine: Path | None = None) -> StandIn:
    """Make a stand-in for nixpkgs, and an empty store, in an existing folder."""
    for name in ("conf", "user", "user/.cache"):
        (home / name).mkdir()
    (home / "registry.json").write_text('{"version": 2, "flakes": []}')
    atexit.register(_remove, home / "store")
    return StandIn(home=home, nixpkgs=materialise(home / "nixpkgs", machine))


def _remove(store: Path) -> None:
    """Remove a store, whose folders nobody can write: pytest would stumble over it, days later."""
    for folder, _, _ in os.walk(store):
        Path(folder).chmod(0o700)
    shutil.rmtree(store, ignore_errors=True)


def plain_project(found: StandIn, folder: Path, example: str | Path) -> Path:
    """Copy an example, or any folder with a composition, without a flake."""
    source = EXAMPLES / example
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".nxc"), dirs_exist_ok=True)
    return folder


_FLAKE = """{
  inputs = {
    nixpkgs.url = "path:@nixpkgs@";
    nxc.url = "path:@nxc@";
    nxc.inputs.nixpkgs.follows = "nixpkgs";
  };
  outputs =
    {
      self,
      nixpkgs,
      nxc,
    }:
    let
      system = "x86_64-linux";
    in
    {
      packages.${system} = nxc.lib.compose {
        inherit nixpkgs system;
        @compositions@
      };
    };
}
"""


def flake_project(
    found: StandIn,
    folder: Path,
    example: str | Path,
    *,
    compositions: str = "composition = ./composition.nix;",
    commit: bool = False,
) -> Path:
    """Copy an example and write the flake.nix that upstream's users write, its inputs on this machine.

    ``commit`` makes it a git repository with everything committed.
    """
    plain_project(found, folder, example)
    values = {"nixpkgs": str(found.nixpkgs), "nxc": str(NIX), "compositions": compositions}
    text = _FLAKE
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    (folder / "flake.nix").write_text(text)
    if commit:
        git = (
            "git",
            "-c",
            "user.name=nxc",
            "-c",
            "user.email=nxc@localhost",
            "-c",
            "init.defaultBranch=main",
        )
        for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "All")):
            found.run(*git, *arguments, cwd=folder)
    return folder


def set_variables(patch: Any, variables: Mapping[str, str]) -> None:
    """Set environment variables with pytest's monkeypatch, such as ``found.variables()``."""
    for name, value in variables.items():
        patch.setenv(name, value)
