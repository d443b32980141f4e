"""What the core does for flavours of containers: roles in the plan, refusals, free subnets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core import identity
from nxc_core.errors import ConfigError
from nxc_core.model import Event, Status
from nxc_core.plugins import Plugins
from nxc_core.session import Session
from tests import fake_plugin


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def session(tmp_path: Path, events: list[Event]) -> Iterator[Session]:
    folder = tmp_path / "web"
    folder.mkdir()
    write(folder, server=1, client=2)
    yield Session.open(folder, sinks=[events.append], plugins=Plugins.discover(extra=[fake_plugin]))


def write(folder: Path, **roles: int) -> None:
    (folder / "composition.nix").write_text(json.dumps({"roles": roles}))


def options(**given: object) -> dict[str, dict[str, object]]:
    return {"folder": given}


def start(session: Session, **given: object) -> str:
    chosen = {"flavour": "folder", "base": "paper", **given}
    return session.start(session.workspace.project, **chosen).id  # type: ignore[arg-type]


def test_the_plan_says_what_each_role_asks(session: Session) -> None:
    with session.up(session.workspace.project, flavour="folder", base="paper", roles={"client": 1}) as one:
        plan = one.plan()
        assert set(plan.roles) == {"server", "client"}
        assert {plan.roles[spec.role].name for spec in plan.nodes} == {"server", "client"}
        assert not plan.key.exists()


def built(events: list[Event]) -> list[str]:
    return [event.message for event in events if event.message.startswith("writing")]


def test_what_cannot_start_is_refused_before_the_build(session: Session, events: list[Event]) -> None:
    told = "role client: 2 folders are too many"
    with pytest.raises(ConfigError, match=told):
        session.build(session.workspace.project, flavour="folder", base="paper", options=options(most=1))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=told):
        start(session, options=options(most=1))
    assert built(events) == []
    assert session.deployments() == []


def test_refused_is_what_is_wanted_not_what_is_written(session: Session) -> None:
    id = start(session, options=options(most=1), roles={"client": 1})
    with pytest.raises(ConfigError, match="role client: 3 folders are too many"):
        start(session, options=options(most=2), roles={"client": 3})
    write(session.workspace.project, server=1, client=2, spare=5)
    other = start(session, options=options(most=2), roles={"spare": 0})
    for one in (id, other):
        session.down(one)


def test_a_build_that_is_there_is_looked_at_too(session: Session) -> None:
    session.build(session.workspace.project, flavour="folder", base="paper")
    with pytest.raises(ConfigError, match="too many"):
        start(session, options=options(most=1))


def subnet(session: Session, id: str) -> str:
    return session.workspace.load(id).networks[0].subnet


def test_a_deployment_leaves_taken_subnets_alone(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda n: "a" * 2 * n)
    specs = identity.distribute(
        session.build(session.workspace.project, flavour="folder", base="paper").composition
    )
    (first,) = identity.make_networks("web-folder-aaaaaa", specs)
    id = start(session, options=options(taken=f"192.168.7.0/24 {first.subnet}"))
    assert subnet(session, id) != first.subnet
    session.down(id)


def test_deployments_of_a_project_do_not_share_a_subnet(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("10.77.1.0/24", "10.77.2.0/24")
    monkeypatch.setattr(identity, "POOLS", small)
    one, two = (start(session, fresh=True) for _ in range(2))
    assert {subnet(session, one), subnet(session, two)} == set(small)
    session.down(one)
    three = start(session, fresh=True)
    assert subnet(session, three) == subnet(session, one), "what is stopped takes nothing"
    for id in (two, three):
        session.down(id)
    assert all(found.status is Status.STOPPED for found in session.deployments())
