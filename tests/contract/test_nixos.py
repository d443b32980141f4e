"""The NixOS base keeps the contract, on a stand-in for nixpkgs made of this machine's programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from nxc_core.model import RAMDISK, ROOTFS_TAR, Artifact, Guest, Json, Kind
from nxc_core.testing import BaseContract
from tests import nixos_bench
from tests.standin import StandIn, set_variables, stand_in

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    """One store for all tests of this file."""
    return stand_in(tmp_path_factory.mktemp("standin"))


class Stand:
    """What the contract is kept on."""

    plugin = "nxc_nixos.plugin"
    base = "nixos"
    own_caches = True
    options: ClassVar[Mapping[str, Json]] = {}

    @pytest.fixture(autouse=True)
    def _nix(self, standin: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        set_variables(monkeypatch, standin.variables())
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        type(self).options = {"nixpkgs": str(standin.nixpkgs)}

    @pytest.fixture
    def composition(self, standin: StandIn, tmp_path: Path) -> Path:
        """Three roles."""
        return nixos_bench.plain(standin, tmp_path / "three").source

    def change(self, composition: Path) -> None:
        """Another file in one of the roles."""
        composition.write_text(composition.read_text().replace('"b"', '"changed"'))


class TestBooted(Stand, BaseContract):
    """Kinds with a kernel, everything in memory."""

    kinds = (RAMDISK, Kind("nfs-store"))
    guest = Guest(console="ttyS0", seed="fw_cfg")

    def honours(self, artifact: Artifact, guest: Guest) -> None:
        """The kernel's console is the guest's, and the role is chosen by its init."""
        for boot in artifact.roles.values():
            assert f"console={guest.console}" in boot.cmdline
            assert f"init={boot.init}" in boot.cmdline


class TestContainer(Stand, BaseContract):
    """A kind without a kernel. ``closure`` is built below: its artifact is the store, which grows."""

    kinds = (Kind("docker-archive"),)
    guest = Guest(kernel=False, root="container")


class TestDisk(Stand, BaseContract):
    """A file system for a disk."""

    kinds = (ROOTFS_TAR,)
    guest = Guest(console="ttyS0", root="ext4", seed="push", firmware=True)


@pytest.mark.parametrize(
    "guest", [Guest(kernel=False, root="container"), Guest(share="9p", console="ttyS0", seed="fw_cfg")]
)
def test_a_closure_is_the_store(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guest: Guest
) -> None:
    set_variables(monkeypatch, standin.variables())
    bench = nixos_bench.plain(standin, tmp_path / "three")
    base, op = bench.base(), bench.op()
    artifact = base.build(bench.request(base, op, Kind("closure"), guest), op)
    assert artifact.files["store"] == standin.store / "nix/store"
    assert artifact.files["registration"].read_text().startswith("/nix/store/")
    for boot in artifact.roles.values():
        assert boot.init is not None
        assert boot.init.startswith("/nix/store/"), "as the guest sees it"
        assert (artifact.files["store"].parents[1] / boot.init.lstrip("/")).is_file()
        assert (boot.kernel is not None and boot.kernel.is_file()) == guest.kernel
