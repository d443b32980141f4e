"""The example plugin keeps both contracts; this file is what an author copies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nxc_core.model import Guest
from nxc_core.script import run_script
from nxc_core.session import Session
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


def test_the_tutorial_quotes_the_example() -> None:
    """Every Python excerpt of docs/plugins.md is in the example, or in this file."""
    top = Path(__file__).parents[2]
    sources = [*(top / "plugins" / "nxc_example" / "nxc_example").glob("*.py"), Path(__file__)]
    code = "\n".join(path.read_text() for path in sources)
    excerpts = re.findall(r"```python\n(.*?)```", (top / "docs" / "plugins.md").read_text(), re.DOTALL)
    assert len(excerpts) >= 6
    assert [excerpt for excerpt in excerpts if excerpt.strip("\n") not in code] == []


def test_the_example_of_the_tutorial_runs(tmp_path: Path) -> None:
    """Its composition comes up, and its test script holds."""
    text = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
    (tmp_path / "pair.toml").write_text(re.findall(r"```toml\n(# pair.*?)```", text, re.DOTALL)[0])
    session = Session.open(tmp_path)
    with session.up(tmp_path / "pair.toml", flavour="local", base="plain") as running:
        run_script(running, running.deployment.composition.test_script or "fail")
