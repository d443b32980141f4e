"""docker-archives: what is in them, the same each time; layers made ready; archives that are none."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from nxc_core.errors import BuildError, ConfigError, Interrupted, PreflightError
from nxc_core.model import CLOSURE, LAYERS, RAMDISK, Artifact, Layer, RoleBoot
from nxc_core.operation import Operation
from nxc_docker import archive, images
from nxc_docker.archive import CHUNK, Image, Sheet
from tests.operations import operation_in

GONE = "gone"
OPAQUE = {"SCHILY.xattr.trusted.overlay.opaque": "y"}
CAPABILITY = {"SCHILY.xattr.security.capability": "\x01cap"}


@pytest.fixture
def op(tmp_path: Path) -> Operation:
    return operation_in(tmp_path, cache=tmp_path / "cache")


def pack(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a layer: text for a file, None for a folder, GONE for a whiteout, a mapping for its xattrs."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in content.items():
            member = tarfile.TarInfo(f"./{name}")
            member.mtime = 1234
            if what is None or isinstance(what, dict):
                member.type, member.mode = tarfile.DIRTYPE, 0o750
                member.pax_headers = what or {}
                tar.addfile(member)
            elif what == GONE:
                member.type = tarfile.CHRTYPE
                tar.addfile(member)
            else:
                member.size = len(what)
                tar.addfile(member, io.BytesIO(what.encode()))
    return path


def layer(path: Path, **content: Any) -> Layer:
    pack(path, content)
    return Layer(name=path.stem, digest=hashlib.sha256(path.read_bytes()).hexdigest(), tar=path)


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = {}
        for member in tar:
            assert (member.uid, member.gid, member.mtime) == (0, 0, archive.EPOCH), member.name
            stream = tar.extractfile(member)
            found[member.name] = stream.read() if stream is not None else b""
        return found


@pytest.fixture
def image(tmp_path: Path, op: Operation) -> Image:
    lower = layer(tmp_path / "lower.tar", etc=None, **{"etc/a": "one"})
    upper = layer(tmp_path / "upper.tar", **{"etc/b": "two"})
    return archive.describe("role x", "role", [archive.sheet(each, op.cache, op) for each in (lower, upper)])


# An archive


def test_an_archive_names_its_image_by_content(image: Image) -> None:
    content = b"".join(image.archive())
    found = members(content)
    ((entry),) = json.loads(found["manifest.json"])
    assert entry["RepoTags"] == [image.tag] == [f"nxc-role:{image.id[:12]}"]
    config = found[entry["Config"]]
    assert hashlib.sha256(config).hexdigest() == image.id
    told = json.loads(config)
    assert told["config"]["StopSignal"] == "SIGRTMIN+3"
    assert told["config"]["Env"] == ["container=docker"]
    assert told["config"]["Labels"] == {"nxc.image": "role"}
    assert "Cmd" not in told["config"]
    assert told["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(found[name]).hexdigest()}" for name in entry["Layers"]
    ]
    assert len(content) == image.size()


def test_the_same_layers_give_the_same_bytes(image: Image) -> None:
    again = archive.describe("another title", "role", image.sheets)
    assert (again.id, again.tag) == (image.id, image.tag)
    assert b"".join(again.archive()) == b"".join(image.archive())
    other = archive.describe("role x", "role", image.sheets[:1])
    assert other.id != image.id


def test_layers_are_left_out_but_named(image: Image) -> None:
    lower, upper = image.sheets
    content = b"".join(image.archive({lower.diff_id}))
    found = members(content)
    assert f"{lower.diff_id}.tar" not in found
    assert f"{upper.diff_id}.tar" in found
    ((entry),) = json.loads(found["manifest.json"])
    assert entry["Layers"] == [f"{lower.diff_id}.tar", f"{upper.diff_id}.tar"]
    assert len(content) == image.size({lower.diff_id}) < image.size()


def test_an_archive_is_a_stream(tmp_path: Path) -> None:
    big = tmp_path / "big.tar"
    with big.open("wb") as out:
        out.truncate(64 << 20)
    sheet = Sheet(diff_id="0" * 64, content=big, size=64 << 20)
    assert max(len(chunk) for chunk in archive.describe("x", "role", [sheet]).archive()) <= CHUNK


def test_a_layer_that_changes_while_it_is_read(image: Image) -> None:
    path = image.sheets[1].content
    assert isinstance(path, Path)
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(BuildError, match="changed while it was read"):
        list(image.archive())


# Layers


def test_a_layer_without_marks_is_taken_as_it_is(tmp_path: Path, op: Operation) -> None:
    given = layer(tmp_path / "plain.tar", usr=None, **{"usr/x": "x"})
    found = archive.sheet(given, op.cache, op)
    assert (found.content, found.diff_id) == (given.tar, given.digest)
    assert list(op.cache.glob("*.tar")) == []


def test_what_is_gone_is_said_as_engines_read_it(tmp_path: Path, op: Operation) -> None:
    given = layer(
        tmp_path / "marked.tar",
        **{"etc": None, "etc/kept": "kept", "etc/old": GONE, "top": GONE, "opt": {**OPAQUE, **CAPABILITY}},
        **{"opt/new": "new"},
    )
    found = archive.sheet(given, op.cache, op)
    assert isinstance(found.content, Path)
    assert found.diff_id == hashlib.sha256(found.content.read_bytes()).hexdigest() != given.digest
    assert found.size == found.content.stat().st_size
    with tarfile.open(found.content) as tar:
        there = {member.name: member for member in tar}
        stream = tar.extractfile(there["./etc/kept"])
        assert stream is not None
        assert stream.read() == b"kept"
    order = ["./etc", "./etc/kept", "./etc/.wh.old", "./.wh.top", "./opt", "./opt/.wh..wh..opq", "./opt/new"]
    assert list(there) == order
    assert there["./etc/.wh.old"].isreg()
    assert there["./etc/.wh.old"].size == 0
    assert there["./opt"].mode == 0o750
    assert there["./opt"].pax_headers == CAPABILITY


def test_a_conversion_is_kept_and_made_again_when_lost(tmp_path: Path, op: Operation) -> None:
    given = layer(tmp_path / "marked.tar", **{"old": GONE})
    first = archive.sheet(given, op.cache, op)
    given.tar.rename(tmp_path / "away.tar")
    assert archive.sheet(given, op.cache, op) == first, "it was read again"
    (tmp_path / "away.tar").rename(given.tar)
    assert isinstance(first.content, Path)
    before = first.content.read_bytes()
    first.content.unlink()
    assert archive.sheet(given, op.cache, op) == first
    assert first.content.read_bytes() == before
    assert [path.name for path in op.cache.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("harm", ["cut", "noise", "gone"])
def test_a_damaged_layer_is_named(tmp_path: Path, op: Operation, harm: str) -> None:
    given = layer(tmp_path / "base-1.tar", usr=None, **{"usr/x": "x" * 4000, "usr/y": GONE})
    if harm == "cut":
        given.tar.write_bytes(given.tar.read_bytes()[:1800])
    elif harm == "noise":
        given.tar.write_bytes(b"\x07" * 10240)
    else:
        given.tar.unlink()
    with pytest.raises(BuildError, match=r"base-1") as caught:
        archive.sheet(given, op.cache, op)
    assert "nxc build" in caught.value.hint
    assert not op.cache.exists() or list(op.cache.iterdir()) == []


def test_a_system_in_a_store_has_places_to_mount_on() -> None:
    sheet = archive.empty_sheet()
    assert sheet == archive.empty_sheet()
    assert isinstance(sheet.content, bytes)
    with tarfile.open(fileobj=io.BytesIO(sheet.content)) as tar:
        found = {member.name.removeprefix("./"): member for member in tar}
    assert {"nix/store", "nxc", "proc", "sys", "dev", "run", "tmp", "etc", "var"} <= set(found)
    assert all(member.isdir() for member in found.values())
    assert (found["tmp"].mode, found["root"].mode) == (0o1777, 0o700)
    names = list(found)
    assert all(name.rpartition("/")[0] in ("", *names[:n]) for n, name in enumerate(names)), names


# Archives that are there


def ready(path: Path, files: Mapping[str, bytes], *, packed: bool = True) -> Path:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    path.write_bytes(gzip.compress(out.getvalue()) if packed else out.getvalue())
    return path


CONFIG = json.dumps({"rootfs": {"diff_ids": ["sha256:" + "1" * 64]}}).encode()
MANIFEST = json.dumps([{"Config": "c.json", "RepoTags": ["nxc-nixos:1"], "Layers": ["layer.tar"]}]).encode()


@pytest.mark.parametrize("packed", [True, False])
def test_an_archive_is_sent_as_it_is(tmp_path: Path, packed: bool) -> None:
    files = {"c.json": CONFIG, "layer.tar": b"x" * 3000, "manifest.json": MANIFEST}
    path = ready(tmp_path / "image.tar", files, packed=packed)
    found = archive.read_archive(path, "all", tmp_path / "cache")
    assert (found.tag, found.diff_ids) == ("nxc-nixos:1", ("sha256:" + "1" * 64,))
    assert found.id == hashlib.sha256(CONFIG).hexdigest()
    assert b"".join(found.archive()) == path.read_bytes()
    assert found.size() == path.stat().st_size


def test_an_archive_is_looked_into_once(tmp_path: Path) -> None:
    path = ready(tmp_path / "image.tar", {"c.json": CONFIG, "manifest.json": MANIFEST})
    first = archive.read_archive(path, "all", tmp_path / "cache")
    seen = path.stat()
    path.write_bytes(b"?" * seen.st_size)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert archive.read_archive(path, "all", tmp_path / "cache") == first
    os.utime(path, ns=(0, 0))
    with pytest.raises(BuildError):
        archive.read_archive(path, "all", tmp_path / "cache")


TWO = json.dumps([{"Config": "c.json", "RepoTags": ["a:1"]}, {"Config": "c.json", "RepoTags": ["b:1"]}])


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"c.json": CONFIG}, "no manifest.json"),
        ({"manifest.json": MANIFEST}, "no manifest.json of one image"),
        ({"manifest.json": b"[]", "c.json": CONFIG}, "no manifest.json of one image"),
        ({"manifest.json": b"what?", "c.json": CONFIG}, "no manifest.json of one image"),
        ({"manifest.json": TWO.encode(), "c.json": CONFIG}, "no manifest.json of one image"),
        ({"manifest.json": MANIFEST, "c.json": b"{}"}, "names no layers"),
    ],
)
def test_what_is_no_docker_archive(tmp_path: Path, files: dict[str, bytes], why: str) -> None:
    path = ready(tmp_path / "image.tar", files)
    with pytest.raises(BuildError, match=why) as caught:
        archive.read_archive(path, "all", tmp_path / "cache")
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"garbage" * 999, gzip.compress(b"\0" * 99999, mtime=0)[:60]])
def test_what_is_no_tar(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(content)
    with pytest.raises(BuildError, match="is no docker-archive"):
        archive.read_archive(path, "all", tmp_path / "cache")


# What roles need


def artifact(tmp_path: Path) -> Artifact:
    layers = {
        name: layer(tmp_path / f"{name}.tar", **{name: name}) for name in ("base", "guest", "one", "two")
    }
    boots = {
        "a": ("base", "guest", "one"),
        "b": ("base", "guest", "two"),
        "c": ("base", "guest", "two"),
        "d": ("base", "guest"),
    }
    return Artifact(
        kind=LAYERS, layers=layers, roles={name: RoleBoot(layers=each) for name, each in boots.items()}
    )


def test_roles_of_one_content_share_an_image(tmp_path: Path, op: Operation) -> None:
    found = images.wanted(artifact(tmp_path), ["a", "b", "c", "d"], op)
    assert len({image.tag for image in found.values()}) == 3
    assert found["b"] is found["c"]
    assert [len(found[role].sheets) for role in "abcd"] == [3, 3, 3, 2]


def test_only_roles_with_nodes_count(tmp_path: Path, op: Operation) -> None:
    made = artifact(tmp_path)
    made.layers["two"].tar.unlink()
    assert set(images.wanted(made, ["a"], op)) == {"a"}


def test_systems_of_a_store_share_an_empty_image(op: Operation) -> None:
    found = images.wanted(Artifact(kind=CLOSURE), ["a", "b"], op)
    assert found["a"] is found["b"]
    assert found["a"].size() < 30000


def test_what_cannot_be_an_image(tmp_path: Path, op: Operation) -> None:
    made = artifact(tmp_path)
    with pytest.raises(ConfigError, match="ramdisk"):
        images.wanted(evolve(made, kind=RAMDISK), ["a"], op)
    with pytest.raises(ConfigError, match="no layers for role x"):
        images.wanted(made, ["x"], op)
    with pytest.raises(ConfigError, match="no layer two"):
        images.wanted(
            evolve(made, layers={"base": made.layers["base"], "guest": made.layers["guest"]}), ["b"], op
        )


def test_what_an_engine_holds_is_known_by_all_that_is_below(image: Image) -> None:
    lower, upper = image.diff_ids
    held = images._held
    assert held(image, []) == frozenset()
    assert held(image, [(lower, "sha256:other")]) == {lower.removeprefix("sha256:")}
    assert held(image, [(upper, lower)]) == frozenset(), "the upper one stands on another there"
    assert held(image, [("sha256:other",), image.diff_ids]) == {sheet.diff_id for sheet in image.sheets}


def test_a_cancelled_operation_stops_sending(image: Image, op: Operation) -> None:
    chunks = images._until_cancelled(image.archive(), op)
    next(chunks)
    op.cancel.set()
    with pytest.raises(Interrupted):
        next(chunks)


def test_a_full_disk_is_said_before_anything_is_written(
    tmp_path: Path, op: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(total=1, used=1, free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    given = layer(tmp_path / "marked.tar", **{"old": GONE})
    with pytest.raises(PreflightError, match="converting a layer"):
        archive.sheet(given, op.cache, op)
