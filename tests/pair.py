"""A project of two nodes on the example flavour, and the verbs on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.model import Event
from nxc_core.running import Running
from nxc_core.session import Session
from nxc_core.testing.workbench import scratch_folders, spawned, sweep

PAIR = """
test_script = "server.succeed('true')"

[roles.server.files]
"index.html" = "hello"

[roles.client]
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "pair.toml").write_text(PAIR)
    yield tmp_path
    sweep(Session.open(tmp_path))


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def session(project: Path, events: list[Event]) -> Session:
    return Session.open(project, sinks=[events.append])


def start(session: Session, **given: object) -> Running:
    chosen = {"flavour": "local", "base": "plain", **given}
    return session.start(session.workspace.project / "pair.toml", **chosen)  # type: ignore[arg-type]


def left(session: Session) -> list[object]:
    return [*spawned(session), *scratch_folders(session)]
