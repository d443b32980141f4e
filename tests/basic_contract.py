"""The contract of a flavour, kept by the first example."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nxc_core.testing import FlavourContract

BASIC = Path(__file__).parents[1] / "examples" / "basic"


class BasicContract(FlavourContract):
    """Two nodes of Debian, with the images that all live tests share."""

    __test__ = False
    base = "debian"

    @pytest.fixture(autouse=True)
    def _images(self, cached: Path) -> None:
        """Share the images."""

    @pytest.fixture
    def composition(self, project: Path) -> Path:
        """The first example."""
        if not (project / "basic").exists():
            shutil.copytree(BASIC, project / "basic", ignore=shutil.ignore_patterns(".nxc"))
        return project / "basic" / "composition.nix"
