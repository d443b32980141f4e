"""The user's projects that have built something: cleaning from one keeps what the others use."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from nxc_core import paths, state

SCHEMA = "nxc.projects/1"


def _registry() -> Path:
    return paths.cache_dir() / "projects.json"


def projects() -> list[Path]:
    """List the projects of this user that have built something and are still there."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(_registry().read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("schema") == SCHEMA:
            return [Path(str(one)) for one in content["projects"] if (Path(str(one)) / ".nxc").is_dir()]
    return []


def register(project: Path) -> None:
    """Remember a project."""
    if project in projects():
        return
    _registry().parent.mkdir(parents=True, exist_ok=True)
    with state.locked(_registry().with_name("projects.lock"), what="the list of projects", wait=True):
        state.Workspace(project).prepare()
        every = sorted({*map(str, projects()), str(project)})
        state.save(_registry(), {"schema": SCHEMA, "projects": every})
