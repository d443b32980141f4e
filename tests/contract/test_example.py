"""The example plugin keeps both contracts; this file is what an author copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from nxc_core.model import Guest
from nxc_core.testing import BaseContract, FlavourContract

COMPOSITION = """
test_script = "server.succeed('test -e index.html')"

[roles.server.files]
"index.html" = "hello"

[roles.client]
count = 2
files = { "bin/ask" = "#!/bin/sh\\necho asked\\n" }
"""


class TestLocal(FlavourContract):
    """Booting is cheap here, so the plug is pulled around every record of the journal."""

    plugin = "nxc_example.plugin"
    flavour = "local"
    base = "plain"
    crash_records = ("claim", "note", "node")
    resumes = 4

    @pytest.fixture
    def composition(self, project: Path) -> Path:
        """Three nodes."""
        path = project / "trio.toml"
        path.write_text(COMPOSITION)
        return path


class TestPlain(BaseContract):
    """Building is cheap here, so every build has a cache of its own."""

    plugin = "nxc_example.plugin"
    base = "plain"
    guest = Guest(init=False, ssh=False)
    own_caches = True

    @pytest.fixture
    def composition(self, tmp_path: Path) -> Path:
        """Two roles."""
        path = tmp_path / "trio.toml"
        path.write_text(COMPOSITION)
        return path

    def change(self, composition: Path) -> None:
        """Another file."""
        composition.write_text(COMPOSITION.replace("hello", "hello again"))
