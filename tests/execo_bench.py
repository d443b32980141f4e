"""A project for scripts that use execo, and what is left of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nxc_core.session import Session
from nxc_core.spawned import find_all_spawned

ROOT = Path(__file__).parents[1]
COMPOSITION = """
[roles.server.files]
"index.html" = "hello"

[roles.client]
"""
HEAD = """
import sys
from pathlib import Path
import nxc_execo
from nxc_execo import deployed, get_oar_job_nodes_nxc
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two roles of the smallest base, and settings that choose the smallest flavour."""
    (tmp_path / "pair.toml").write_text(COMPOSITION)
    (tmp_path / "nxc.toml").write_text('composition = "pair.toml"\nbase = "plain"\nflavour = "local"\n')
    return tmp_path


def begin(project: Path, body: str) -> subprocess.Popen[str]:
    """Start a script in a project."""
    (project / "script.py").write_text(HEAD + textwrap.dedent(body))
    return subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(project: Path, body: str, code: int = 0) -> str:
    """Run a script to its end."""
    script = begin(project, body)
    said, _ = script.communicate(timeout=300)
    assert script.returncode == code, said
    return said


def nothing_is_left(project: Path) -> list[str]:
    """Check that all was given back; return what there was."""
    session = Session.open(project)
    ids = [summary.id for summary in session.deployments()]
    for id in ids:
        assert session.workspace.load(id).status == "stopped"
        assert session.workspace.journal(id).outstanding() == []
        assert find_all_spawned(f"{id}/") == {}
    return ids
