"""A NixOS project on the stand-in for nixpkgs, and a base that is watched at work."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from nxc_core import paths
from nxc_core.model import BuildRequest, Composition, Event, Guest, Kind
from nxc_core.operation import Operation
from nxc_nixos.answers import Evaluated
from nxc_nixos.base import NixosBase
from nxc_nixos.options import NixosOptions
from tests.operations import operation_in
from tests.standin import StandIn, set_variables, stand_in

RAMDISK = Kind("ramdisk")
GUEST = Guest(console="ttyS0", kernel_modules=("virtio_pci", "virtio_net", "qemu_fw_cfg"), seed="fw_cfg")
THREE = """{ pkgs, ... }:
let
  token = "secret";
in
{
  roles = {
    # a comment
    alpha = { ... }: { environment.etc."alpha".text = token; };
    beta = { ... }: { environment.etc."beta".text = "b"; };
    gamma = { ... }: { environment.etc."gamma".text = "c"; };
  };
  testScript = "alpha.succeed('true')";
}
"""
ALL = ["alpha", "beta", "gamma"]


@define(kw_only=True)
class Bench:
    """A project and what the base said. Each question is asked by a new base, as by a new nxc."""

    folder: Path
    standin: StandIn
    options: dict[str, Any] = field(factory=dict)
    events: list[Event] = field(factory=list)

    def base(self) -> NixosBase:
        return NixosBase(NixosOptions(**self.options))

    def op(self, *, dry: bool = False) -> Operation:
        work = Path(tempfile.mkdtemp(dir=self.standin.home))
        return operation_in(work, "bench", cache=paths.cache_dir(), hear=self.events.append, dry=dry)

    @property
    def source(self) -> Path:
        return self.folder / "composition.nix"

    def read(self) -> Composition:
        return self.base().read(self.source, self.op())

    def evaluate(self, kind: Kind = RAMDISK, guest: Guest = GUEST) -> Evaluated:
        return self.base()._answers(self.source, self.op()).evaluate(kind, guest)

    def request(
        self, base: NixosBase, op: Operation, kind: Kind = RAMDISK, guest: Guest = GUEST
    ) -> BuildRequest:
        return BuildRequest(composition=base.read(self.source, op), kind=kind, guest=guest)

    def fingerprint(self) -> str:
        return self.base().fingerprint(self.source, RAMDISK, GUEST, self.op())

    def roles(self) -> list[str]:
        """Return the roles that were evaluated since this was asked last, in order."""
        found = [role for event in self.events for role in _roles(event)]
        self.events.clear()
        return sorted(found)

    def warnings(self) -> list[str]:
        """Return what the base warned of."""
        return [event.message for event in self.events if event.topic == "warning"]

    def edit(self, old: str, new: str, name: str = "composition.nix") -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


def _roles(event: Event) -> Sequence[str]:
    roles = event.data.get("roles", ())
    return [str(role) for role in roles] if isinstance(roles, (list, tuple)) else []


def plain(standin: StandIn, folder: Path, text: str = THREE, **files: str) -> Bench:
    """Write a project without a flake; ``files`` by name, with ``_nix`` for ``.nix``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nxc.toml").write_text("")
    (folder / "composition.nix").write_text(text)
    for name, content in files.items():
        (folder / name.replace("_nix", ".nix").replace("_txt", ".txt")).write_text(content)
    return Bench(folder=folder, standin=standin, options={"nixpkgs": str(standin.nixpkgs)})


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return stand_in(tmp_path_factory.mktemp("standin"))


@pytest.fixture(scope="module")
def evaluated(standin: StandIn) -> Path:
    """Keep a project of three roles that was evaluated, and the cache, as each test is to find them."""
    here, kept = standin.home / "bench", standin.home / "kept"
    with pytest.MonkeyPatch.context() as patch:
        set_variables(patch, standin.variables())
        patch.setenv("XDG_CACHE_HOME", str(here / "cache"))
        found = plain(standin, here / "project")
        found.evaluate()
        assert found.roles() == ALL
    here.rename(kept)
    return kept


@pytest.fixture
def bench(standin: StandIn, evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A project of three roles, evaluated once."""
    here = standin.home / "bench"
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(evaluated, here)
    set_variables(monkeypatch, standin.variables())
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    options = {"nixpkgs": str(standin.nixpkgs)}
    return Bench(folder=here / "project", standin=standin, options=options)
