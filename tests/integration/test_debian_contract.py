"""The contract of bases, on the Debian base: real builds that share the run's cache."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from nxc_core.model import Guest
from nxc_core.testing.base import BaseContract

TEXT = """
{ pkgs, ... }:
{
  roles.first.environment.systemPackages = [ pkgs.hello ];
  roles.second.environment.etc.token.text = "TOKEN";
  testScript = "pass";
}
"""


@pytest.mark.live
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("cached")
class TestDebianBase(BaseContract):
    """Every promise of a base."""

    plugin = "nxc_debian.plugin"
    base = "debian"
    guest = Guest(kernel_modules=("virtio_net",), seed="fw_cfg")

    @pytest.fixture
    def composition(self, tmp_path: Path) -> Path:
        (tmp_path / "composition").mkdir()
        path = tmp_path / "composition" / "composition.nix"
        path.write_text(TEXT)
        return path

    def change(self, composition: Path) -> None:
        composition.write_text(TEXT.replace("TOKEN", secrets.token_hex(8)))
