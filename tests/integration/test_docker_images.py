"""Images in real engines: what is sent, what is not, and that they hold what the layers say."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from docker import errors as sdk

from nxc_core.errors import BuildError, DeployError, Interrupted
from nxc_core.model import CLOSURE, LAYERS, Artifact, Event, Layer, NodeSpec, Plan, RoleBoot
from nxc_core.operation import Operation
from nxc_docker import archive, engine as engines, images
from nxc_docker.engine import Engine
from nxc_docker.options import DockerOptions
from tests.engines import Engine as Service
from tests.operations import operation_in

pytestmark = [pytest.mark.live, pytest.mark.root]

GONE = object()


@frozen(kw_only=True)
class Bench:
    """A project of small layers that no other test has: ``mark`` is in each."""

    folder: Path
    op: Operation
    events: list[Event]
    mark: str

    def layer(self, name: str, content: Mapping[str, object]) -> Layer:
        """Make a layer; what is GONE is marked as overlayfs does."""
        path = self.folder / f"{name}-{secrets.token_hex(4)}.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for key, what in {**content, f"mark-{name}": self.mark}.items():
                member = tarfile.TarInfo(f"./{key}")
                member.mode = 0o755
                if what is None:
                    member.type = tarfile.DIRTYPE
                elif what is GONE:
                    member.type = tarfile.CHRTYPE
                data = what.encode() if isinstance(what, str) else b""
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return Layer(name=path.stem, digest=hashlib.sha256(path.read_bytes()).hexdigest(), tar=path)

    def plan(self, **roles: tuple[Layer, ...]) -> Plan:
        """Return a plan with one node of each role."""
        layers = {layer.name: layer for all in roles.values() for layer in all}
        boots = {role: RoleBoot(layers=tuple(layer.name for layer in mine)) for role, mine in roles.items()}
        return self.around(Artifact(kind=LAYERS, layers=layers, roles=boots), *roles)

    def around(self, artifact: Artifact, *roles: str) -> Plan:
        """Return a plan for an artifact."""
        return Plan(
            deployment="x",
            artifact=artifact,
            nodes=tuple(NodeSpec(name=role, role=role, index=0, machine=role) for role in roles),
            networks=(),
            documents={},
            instances={},
            key=self.folder,
            known_hosts=self.folder,
        )

    def sent(self) -> list[str]:
        """Return what was sent since the last call, without sizes."""
        found = [event.message.partition(":")[0] for event in self.events if "sending" in event.message]
        self.events.clear()
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    events: list[Event] = []
    op = operation_in(tmp_path, "x", cache=tmp_path / "cache", hear=events.append)
    return Bench(folder=tmp_path, op=op, events=events, mark=secrets.token_hex(8))


@pytest.fixture
def engine(docker_engine: Service) -> Iterator[Engine]:
    yield engines.connect(DockerOptions(url=docker_engine.url))
    engines.forget()


@pytest.fixture
def podman(podman_engine: Service) -> Iterator[Engine]:
    yield engines.connect(DockerOptions(url=podman_engine.url))
    engines.forget()


def files(tag: str, engine: Engine) -> dict[str, str]:
    """Return what a container of an image sees, without running anything."""
    container = engine.client.containers.create(tag, command=["none"])
    try:
        chunks: Any = container.export()
        content = b"".join(chunks)
    finally:
        container.remove(v=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = {}
        for member in tar:
            stream = tar.extractfile(member) if member.isreg() else None
            found[member.name.removeprefix("./").rstrip("/")] = stream.read().decode() if stream else ""
        return found


def test_only_what_an_engine_lacks_is_sent(bench: Bench, engine: Engine) -> None:
    base = bench.layer("base", {"etc": None, "etc/base": "base"})
    guest = bench.layer("guest", {"guest": "guest"})
    one, two = bench.layer("one", {"one": "1"}), bench.layer("two", {"two": "2"})
    plan = bench.plan(first=(base, guest, one), second=(base, guest, two))
    tags = images.ensure(plan, engine, bench.op)
    assert bench.sent() == ["sending the base of all roles", "sending role first", "sending role second"]
    claimed = {claim.id for claim in bench.op.claimed(images.CLAIM)}
    assert claimed > set(tags.values())
    found = files(tags["second"], engine)
    assert (found["etc/base"], found["guest"], found["two"]) == ("base", "guest", "2")
    assert "one" not in found

    assert images.ensure(plan, engine, bench.op) == tags
    assert bench.sent() == [], "what is there is not sent"

    changed = bench.plan(first=(base, guest, one), second=(base, guest, bench.layer("two", {"two": "22"})))
    size = images.wanted(changed.artifact, ["second"], bench.op)["second"].sheets[2].size
    renewed = images.ensure(changed, engine, bench.op)
    (told,) = [event for event in bench.events if "sending" in event.message]
    assert told.message.startswith("sending role second: ")
    whole = images.wanted(changed.artifact, ["second"], bench.op)["second"].size()
    assert size < int(str(told.data["bytes"])) < whole, "more than the changed layer was sent"
    assert renewed["first"] == tags["first"]
    assert files(renewed["second"], engine)["two"] == "22"


def test_the_base_stays_when_roles_go(bench: Bench, engine: Engine) -> None:
    base, role = bench.layer("base", {"base": "base" * 9999}), bench.layer("role", {"role": "role"})
    plan = bench.plan(only=(base, role))
    (tag,) = images.ensure(plan, engine, bench.op).values()
    engine.client.images.remove(tag)
    bench.events.clear()
    images.ensure(plan, engine, bench.op)
    (told,) = [event for event in bench.events if "sending" in event.message]
    assert int(str(told.data["bytes"])) < base.tar.stat().st_size


def test_a_layer_that_went_meanwhile_is_sent_after_all(bench: Bench, engine: Engine) -> None:
    plan = bench.plan(only=(bench.layer("base", {"base": "base"}), bench.layer("role", {"role": "role"})))
    image = images.wanted(plan.artifact, ["only"], bench.op)["only"]
    with pytest.raises(sdk.ImageLoadError):
        images._load(image, frozenset({image.sheets[0].diff_id}), engine, bench.op)
    bench.sent()
    images._send(image, frozenset({image.sheets[0].diff_id}), engine, bench.op)
    assert bench.sent() == ["sending role only", "sending role only"]
    assert files(image.tag, engine)["base"] == "base"


def test_a_tag_that_was_taken_is_taken_back(bench: Bench, engine: Engine) -> None:
    plan = bench.plan(only=(bench.layer("base", {"base": "base"}), bench.layer("role", {"role": "role"})))
    (tag,) = images.ensure(plan, engine, bench.op).values()
    other = bench.plan(other=(bench.layer("other", {"other": "other"}),))
    (strange,) = images.ensure(other, engine, bench.op).values()
    engine.client.images.get(strange).tag(*tag.split(":"))
    bench.sent()
    images.ensure(plan, engine, bench.op)
    assert bench.sent() == ["sending role only"]
    assert "role" in files(tag, engine)


@pytest.mark.parametrize("kind", ["engine", "podman"])
def test_what_a_layer_takes_away_is_gone(bench: Bench, kind: str, request: pytest.FixtureRequest) -> None:
    engine = request.getfixturevalue(kind)
    base = bench.layer("base", {"etc": None, "etc/old": "old", "etc/kept": "kept", "opt": None, "opt/x": "x"})
    upper = bench.layer("upper", {"etc": None, "etc/old": GONE, "opt": GONE})
    (tag,) = images.ensure(bench.plan(only=(base, upper)), engine, bench.op).values()
    found = files(tag, engine)
    assert found["etc/kept"] == "kept"
    assert not {"etc/old", "opt", "opt/x"} & set(found)
    assert not [name for name in found if ".wh." in name]


def test_engines_agree_on_what_an_image_is(bench: Bench, engine: Engine, podman: Engine) -> None:
    layers = (bench.layer("base", {"base": "b", "old": "x"}), bench.layer("role", {"role": "r", "old": GONE}))
    plan = bench.plan(first=layers, second=(layers[0], bench.layer("other", {"other": "o"})))
    assert images.ensure(plan, engine, bench.op) == images.ensure(plan, podman, bench.op)
    for tag in images.ensure(plan, engine, bench.op).values():
        ids = {str(each.client.images.get(tag).id).removeprefix("sha256:") for each in (engine, podman)}
        assert len(ids) == 1
        assert next(iter(ids))[:12] == tag.partition(":")[2]
    bench.sent()
    images.ensure(plan, podman, bench.op)
    assert bench.sent() == []


@pytest.mark.parametrize("kind", ["engine", "podman"])
def test_a_layer_that_is_another_than_it_says(
    bench: Bench, kind: str, request: pytest.FixtureRequest
) -> None:
    engine = request.getfixturevalue(kind)
    layer = bench.layer("liar", {"file": "content"})
    plan = bench.plan(only=(evolve(layer, digest=secrets.token_hex(32)),))
    with pytest.raises(BuildError) as caught:
        images.ensure(plan, engine, bench.op)
    assert "role only" in caught.value.message
    assert str(layer.tar) in caught.value.message
    assert caught.value.hint
    image = images.wanted(plan.artifact, ["only"], bench.op)["only"]
    assert not images.is_there(image, engine), "half of an image is there"


@pytest.mark.parametrize("kind", ["engine", "podman"])
def test_an_archive_that_holds_rubbish(bench: Bench, kind: str, request: pytest.FixtureRequest) -> None:
    engine = request.getfixturevalue(kind)
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}}).encode()
    tag = f"nxc-nixos:{bench.mark}"
    manifest = json.dumps([{"Config": "c.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (("c.json", config), ("layer.tar", b"rubbish" * 99), ("manifest.json", manifest)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    path = bench.folder / "image.tar"
    path.write_bytes(gzip.compress(out.getvalue()))
    artifact = Artifact(kind=images.ARCHIVE, files={"image.tar": path}, roles={"only": RoleBoot()})
    with pytest.raises(DeployError) as caught:
        images.ensure(bench.around(artifact, "only"), engine, bench.op)
    assert "the image of all roles" in caught.value.message
    assert caught.value.hint


def test_sending_can_be_interrupted(bench: Bench, engine: Engine) -> None:
    plan = bench.plan(only=(bench.layer("base", {"big": "x" * (8 << 20)}), bench.layer("role", {"r": "r"})))

    def stop_at_once(event: Event) -> None:
        if "sending" in event.message:
            bench.op.cancel.set()

    op = evolve(bench.op, emit=stop_at_once)
    with pytest.raises(Interrupted):
        images.ensure(plan, engine, op)
    bench.op.cancel.clear()
    (tag,) = images.ensure(plan, engine, bench.op).values()
    assert files(tag, engine)["r"] == "r"


@pytest.mark.parametrize("kind", ["engine", "podman"])
def test_an_empty_image_is_for_systems_elsewhere(
    bench: Bench, kind: str, request: pytest.FixtureRequest
) -> None:
    engine = request.getfixturevalue(kind)
    plan = bench.around(Artifact(kind=CLOSURE, roles={"a": RoleBoot(), "b": RoleBoot()}), "a", "b")
    tags = set(images.ensure(plan, engine, bench.op).values())
    assert len(tags) == 1
    assert {"nix/store", "nxc", "proc", "run", "tmp"} <= set(files(tags.pop(), engine))


@pytest.mark.parametrize("kind", ["engine", "podman"])
def test_what_no_container_uses_is_spare(bench: Bench, kind: str, request: pytest.FixtureRequest) -> None:
    engine = request.getfixturevalue(kind)
    base = bench.layer("base", {"base": "b" * 300000})
    used, unused = bench.layer("used", {"used": "u"}), bench.layer("unused", {"unused": "n" * 50000})
    tags = images.ensure(bench.plan(used=(base, used), unused=(base, unused)), engine, bench.op)
    bottom = archive.describe(
        "x",
        "base",
        images.wanted(bench.plan(used=(base, used)).artifact, ["used"], bench.op)["used"].sheets[:1],
    )

    def spare() -> dict[str, int]:
        found = {
            each.what.removeprefix("image ").removeprefix("localhost/"): each for each in images.spare(engine)
        }
        return {tag: found[tag].size for tag in (*tags.values(), bottom.tag) if tag in found}

    container = engine.client.containers.create(tags["used"], command=["none"])
    try:
        assert set(spare()) == {tags["unused"]}
        if kind == "engine":
            assert 50000 <= spare()[tags["unused"]] < 300000, "what the used ones share is not counted"
    finally:
        container.remove(v=True)
    assert set(spare()) == {*tags.values(), *((bottom.tag,) if kind == "engine" else ())}
    engine.client.images.get(tags["unused"]).tag("mine", "1")
    assert set(spare()) == {tags["used"]}, "what somebody gave a name is theirs, with what is below"
    engine.client.images.remove("mine:1")
    container = engine.client.containers.create(tags["unused"], command=["none"])
    derived = container.commit("mine", "2")
    container.remove(v=True)
    assert derived.labels[archive.LABEL] == "role"
    assert derived.id not in {each.id for each in images.spare(engine)}, "it only has our labels"
    engine.client.images.remove("mine:2")
    for tag in spare():
        engine.client.images.remove(tag, force=True)
    assert spare() == {}
