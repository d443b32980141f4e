"""Whose a container, a volume, a network or an image is: what is a stranger's is left alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from attrs import evolve

from nxc_core import state
from nxc_core.errors import DeployError
from nxc_core.model import (
    Composition,
    Deployment,
    Group,
    Leftover,
    Resource,
    Role,
    Status,
)
from nxc_core.operation import Operation
from nxc_docker import compose, containers, images, leftovers
from tests.docker_stubs import OP, OURS, PROFILE, answer, engine_of
from tests.operations import operation_in


def test_only_both_labels_make_it_ours() -> None:
    labels = {"nxc.deployment": "web-1", "nxc.folder": str(OP.dir)}
    assert containers.is_ours(labels, "web-1", OP)
    assert not containers.is_ours({**labels, "nxc.folder": "/elsewhere"}, "web-1", OP)
    assert not containers.is_ours(labels, "web-2", OP)
    assert not containers.is_ours({}, "web-1", OP)
    assert not containers.is_ours(None, "web-1", OP)


def test_a_deployment_whose_folder_moved_keeps_what_it_has() -> None:
    claim = Resource(kind=containers.NETWORK, id="web-1", data={"folder": "/before/web-1"})
    moved = cast("Operation", SimpleNamespace(dir=OP.dir, claimed=lambda: [claim]))
    labels = {"nxc.deployment": "web-1", "nxc.folder": "/before/web-1"}
    assert containers.is_ours(labels, "web-1", moved)
    assert not containers.is_ours(labels, "web-1", OP)


def test_what_runs_an_image_of_a_node_is_not_that_node() -> None:
    """``docker commit`` and ``docker run`` hand the labels on."""
    told = [
        {"Id": "1", "Names": ["/web-1-one"], "Labels": {**OURS, "nxc.node": "one"}},
        {"Id": "2", "Names": ["/experiment"], "Labels": {**OURS, "nxc.node": "one"}},
        {"Id": "3", "Names": None, "Labels": {**OURS, "nxc.node": "two"}},  # it is being removed
        {"Id": "4", "Names": ["/other/link", "/web-1-three"], "Labels": {**OURS, "nxc.node": "three"}},
    ]
    found = containers.list_containers(engine_of(containers=lambda **_: told), "web-1", OP)
    assert list(found) == ["web-1-one", "web-1-three"]


def small_model(*volumes: str) -> compose.Model:
    network = compose.NetworkModel(name="web-1", subnet="10.0.0.0/24", gateway="10.0.0.254", labels=OURS)
    return compose.Model(deployment="web-1", network=network, services=(), volumes=volumes, labels=OURS)


def test_a_strangers_volume_is_not_used() -> None:
    op = cast("Operation", SimpleNamespace(dir=OP.dir, claimed=list, claim=lambda *_, **__: None))
    stranger = engine_of(create_volume=lambda name, **_: {"Name": name, "Labels": {"of": "a stranger"}})
    with pytest.raises(DeployError, match="volume web-1-data that is not this deployment's"):
        containers.make_volumes(small_model("web-1-data"), stranger, op)
    ours = engine_of(create_volume=lambda name, labels: {"Name": name, "Labels": labels})
    containers.make_volumes(small_model("web-1-data"), ours, op)


def test_a_subnet_in_use_is_no_strangers_network() -> None:
    """As podman says it."""

    def refuse(**_: Any) -> None:
        raise answer(500, "subnet 10.0.0.0/24 is already used on the host or by another config")

    op = cast("Operation", SimpleNamespace(dir=OP.dir, claimed=list, claim=lambda *_, **__: None))
    with pytest.raises(DeployError, match="its subnet overlaps another network's"):
        containers.make_network(small_model(), engine_of(create_network=refuse, networks=lambda **_: []), op)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"Created": "1970-01-01T00:00:01Z", "RepoTags": ["nxc-role:0123456789ab"]}, True),
        ({"Created": "1970-01-01T00:00:01Z", "RepoTags": ["localhost/nxc-role:0123456789ab"]}, True),
        ({"Created": "1970-01-01T00:00:01Z", "RepoTags": None}, True),
        ({"Created": "1970-01-01T00:00:01Z", "RepoTags": ["nxc-role:0123456789ab", "mine:1"]}, False),
        ({"Created": "2026-11-01T10:00:00.123456789Z", "RepoTags": None}, False),
        ({"Created": "", "RepoTags": []}, False),
        ({}, False),
    ],
)
def test_only_images_that_nobody_named_or_made_from_ours_are_ours(
    told: dict[str, Any], expected: bool
) -> None:
    assert images.is_ours(told) is expected


@pytest.mark.parametrize(("kind", "called"), [("docker", "lost"), ("podman", "web-1")])
def test_a_name_that_is_a_strangers_by_now_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Literal["docker", "podman"], called: str
) -> None:
    """By its id podman removes even a network that somebody is in."""
    removed: list[str] = []
    both = [
        {"Id": "lost", "Name": "web-1", "Labels": {**OURS, "nxc.owner": compose.owner()}},
        {"Id": "strange", "Name": "web-1", "Labels": {"nxc.folder": "/elsewhere"}},
    ]
    committed = {**OURS, "nxc.owner": compose.owner(), "nxc.node": "one"}
    engine = engine_of(
        containers=lambda **_: [{"Id": "1", "Names": ["/mine"], "ImageID": "i", "Labels": committed}],
        networks=lambda **_: both,
        images=lambda **_: [],
        volumes=lambda **_: {},
        remove_network=removed.append,
        profile=evolve(PROFILE, engine=kind),
    )
    op = operation_in(tmp_path)
    monkeypatch.setattr(leftovers, "is_lost", lambda labels: "nxc.owner" in labels)
    assert [(one.what, one.id) for one in leftovers.find(engine)] == [("network", "web-1")]
    found = [Leftover(what="network", id="web-1"), Leftover(what="network", id="web-2")]
    assert list(leftovers.sweep(found, engine, op)) == found
    assert removed == [called]


def test_what_a_lost_deployment_left(tmp_path: Path) -> None:
    role = Role(name="r")
    composition = Composition(name="web", base="plain", source=tmp_path / "c", roles=(role,))
    group = Group(flavour="docker", roles=("r",))
    deployment = Deployment(
        id="web-1",
        name="web",
        composition=composition,
        groups=(group,),
        networks=(),
        specs=(),
        instances={},
        created="",
    )
    folder = tmp_path / "deployments" / "web-1"
    labels = {"nxc.deployment": "web-1", "nxc.folder": str(folder), "nxc.owner": compose.owner()}
    assert leftovers.is_lost(labels), "its folder is gone"
    assert not leftovers.is_lost({**labels, "nxc.owner": "0@elsewhere"}), "it may be there, on that machine"
    assert not leftovers.is_lost({"nxc.folder": str(folder)}), "not ours at all"
    folder.mkdir(parents=True)
    assert not leftovers.is_lost(labels), "a folder without a document may be about to get one"
    state.save(folder / "deployment.json", evolve(deployment, status=Status.RUNNING))
    assert not leftovers.is_lost(labels)
    state.save(folder / "deployment.json", evolve(deployment, status=Status.STOPPED))
    assert leftovers.is_lost(labels)
    (folder / "deployment.json").write_text("{")
    assert not leftovers.is_lost(labels), "what cannot be read is left alone"
