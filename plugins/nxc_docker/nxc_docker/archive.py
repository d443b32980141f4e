"""docker-archives: written as a stream, the same bytes for the same layers; read to know what they hold."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import field, frozen

from nxc_core.errors import BuildError
from nxc_core.model import Layer
from nxc_core.operation import Operation

CHUNK = 1 << 20
BLOCK = 512
EPOCH = 1
"""When everything was made: one second after the beginning of time."""
STOP_SIGNAL = "SIGRTMIN+3"
LABEL = "nxc.image"
"""Every image of ours carries it; the value says what it is: base, role, empty or nixos."""
_CREATED = "1970-01-01T00:00:01Z"
_END = b"\0" * 2 * BLOCK
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_XATTR = "SCHILY.xattr."
_OVERLAY = tuple(f"{_XATTR}{space}.overlay." for space in ("trusted", "user"))
_OPAQUE = tuple(f"{name}opaque" for name in _OVERLAY)
_FOLDERS = ("dev", "etc", "home", "nix", "nix/store", "nxc", "proc", "run", "sbin", "sys", "usr", "var")
_CONVERSION = 1
"""Count up when a layer is converted otherwise, so that no former one is taken."""


@frozen(kw_only=True)
class Sheet:
    """A layer as engines take it. ``diff_id`` is the sha256 of its tar, which is ``content``."""

    diff_id: str
    content: Path | bytes = field(repr=False)
    size: int


@frozen(kw_only=True)
class Image:
    """What one archive holds. ``id`` is the sha256 of ``config``; ``file`` is an archive that is there."""

    title: str
    tag: str
    id: str
    config: bytes = field(repr=False)
    diff_ids: tuple[str, ...]
    sheets: tuple[Sheet, ...] = ()
    file: Path | None = None

    def size(self, without: Collection[str] = ()) -> int:
        """Return the bytes of the archive, those of the layers in ``without`` left out."""
        if self.file is not None:
            return self.file.stat().st_size
        kept = [sheet for sheet in self.sheets if sheet.diff_id not in without]
        members = [len(self.config), len(self.manifest), *(sheet.size for sheet in kept)]
        return sum(BLOCK + _padded(size) for size in members) + len(_END)

    @property
    def manifest(self) -> bytes:
        """What an engine reads first: one image, its tag, its layers' names."""
        names = [_name(sheet) for sheet in self.sheets]
        return _json([{"Config": f"{self.id}.json", "Layers": names, "RepoTags": [self.tag]}])

    def archive(self, without: Collection[str] = ()) -> Iterator[bytes]:
        """Yield the archive; an engine that has the layers in ``without`` needs them not."""
        if self.file is not None:
            return read_chunks(self.file)
        return _archive(self, without)


def describe(title: str, name: str, sheets: Sequence[Sheet]) -> Image:
    """Return the image of some layers, lowest first; its tag says what is in it."""
    config = _config(name, [sheet.diff_id for sheet in sheets])
    id = hashlib.sha256(config).hexdigest()
    return Image(
        title=title,
        tag=f"nxc-{name}:{id[:12]}",
        id=id,
        config=config,
        diff_ids=tuple(f"sha256:{sheet.diff_id}" for sheet in sheets),
        sheets=tuple(sheets),
    )


def _config(name: str, diff_ids: Sequence[str]) -> bytes:
    machine = os.uname().machine
    return _json(
        {
            "architecture": _ARCHITECTURES.get(machine, machine),
            "config": {"Env": ["container=docker"], "Labels": {LABEL: name}, "StopSignal": STOP_SIGNAL},
            "created": _CREATED,
            "os": "linux",
            "rootfs": {"diff_ids": [f"sha256:{each}" for each in diff_ids], "type": "layers"},
        }
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _archive(image: Image, without: Collection[str]) -> Iterator[bytes]:
    for diff_id, chunks in parts(image):
        if diff_id not in without:
            yield from chunks


def parts(image: Image) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the pieces of an archive, one for each layer, by its diff_id: images may share those."""
    yield "", _member(f"{image.id}.json", len(image.config), [image.config])
    for sheet in image.sheets:
        chunks = read_chunks(sheet.content) if isinstance(sheet.content, Path) else iter([sheet.content])
        yield sheet.diff_id, _member(_name(sheet), sheet.size, chunks)
    yield "", _member("manifest.json", len(image.manifest), [image.manifest])
    yield "", iter([_END])


def _name(sheet: Sheet) -> str:
    return f"{sheet.diff_id}.tar"


def _member(name: str, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    header = tarfile.TarInfo(name)
    header.mode, header.mtime, header.size = 0o644, EPOCH, size
    yield header.tobuf(tarfile.GNU_FORMAT)
    sent = 0
    for chunk in chunks:
        sent += len(chunk)
        yield chunk
    if sent != size:
        raise BuildError(
            f"{name}: a layer has {sent} bytes, not {size}: it changed while it was read", hint="try again"
        )
    yield b"\0" * (_padded(size) - size)


def _padded(size: int) -> int:
    return size + -size % BLOCK


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield what is in a file."""
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


# Layers


def empty_sheet() -> Sheet:
    """Return the layer of a system that lives in a store: folders to mount on, nothing else."""
    out = io.BytesIO()
    for name, mode in sorted([*((name, 0o755) for name in _FOLDERS), ("root", 0o700), ("tmp", 0o1777)]):
        member = tarfile.TarInfo(f"./{name}")
        member.type, member.mode, member.mtime = tarfile.DIRTYPE, mode, EPOCH
        out.write(member.tobuf(tarfile.GNU_FORMAT))
    out.write(_END)
    content = out.getvalue()
    return Sheet(diff_id=hashlib.sha256(content).hexdigest(), content=content, size=len(content))


def sheet(layer: Layer, cache: Path, op: Operation) -> Sheet:
    """Return a base's layer as engines take it: overlayfs' marks of what is gone become those of OCI.

    What was found or converted is kept in ``cache``, by the layer's digest.
    """
    note = cache / f"{layer.digest}-{_CONVERSION}.json"
    converted = note.with_suffix(".tar")
    diff_id = _noted(note)
    if diff_id is None or (diff_id != layer.digest and not converted.exists()):
        diff_id = _examine(layer, converted, op)
        with replacing(note) as part:
            part.write_text(json.dumps({"diff_id": diff_id}))
    tar = layer.tar if diff_id == layer.digest else converted
    try:
        return Sheet(diff_id=diff_id, content=tar, size=tar.stat().st_size)
    except FileNotFoundError:
        raise BuildError(f"the layer {tar} is gone", hint="`nxc build` builds it again") from None


def check(image: Image) -> None:
    """Raise BuildError for a layer whose file is not what was built: a disk, or somebody, has changed it."""
    for sheet in image.sheets:
        if not isinstance(sheet.content, Path):
            continue
        with sheet.content.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sheet.diff_id:
            raise BuildError(
                f"a layer of {image.title} is damaged: {sheet.content}",
                hint="remove that file, then `nxc build` makes it again",
            )


def _noted(note: Path) -> str | None:
    try:
        return str(json.loads(note.read_text())["diff_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _examine(layer: Layer, converted: Path, op: Operation) -> str:
    try:
        with tarfile.open(layer.tar, "r:") as tar:
            marked = any(_is_marked(member) for member in tar)
        if not marked:
            return layer.digest
        op.need_disk(converted.parent, layer.tar.stat().st_size // CHUNK + 1, "converting a layer")
        with replacing(converted) as part:
            return _convert(layer.tar, part)
    except (tarfile.TarError, EOFError) as error:
        raise BuildError(
            f"the layer {layer.name} is damaged: {layer.tar}: {error}",
            hint="remove that file, then `nxc build` makes it again",
        ) from error
    except FileNotFoundError as error:
        raise BuildError(f"the layer {layer.tar} is gone", hint="`nxc build` builds it again") from error


def _is_gone(member: tarfile.TarInfo) -> bool:
    return member.ischr() and (member.devmajor, member.devminor) == (0, 0)


def _is_marked(member: tarfile.TarInfo) -> bool:
    return _is_gone(member) or any(name.startswith(_OVERLAY) for name in member.pax_headers)


def _convert(source: Path, target: Path) -> str:
    """Write a layer's tar with OCI's marks; what carries none stays byte for byte. Returns the sha256."""
    hashed = hashlib.sha256()
    with tarfile.open(source, "r:") as tar, source.open("rb") as raw, target.open("wb") as out:
        for member in tar:
            for chunk in _converted(member, raw):
                hashed.update(chunk)
                out.write(chunk)
        hashed.update(_END)
        out.write(_END)
    return hashed.hexdigest()


def _converted(member: tarfile.TarInfo, raw: io.BufferedReader) -> Iterator[bytes]:
    end = member.offset_data + (_padded(member.size) if member.isreg() else 0)
    if not _is_marked(member):
        yield from _span(raw, member.offset, end)
        return
    place = PurePosixPath(member.name)
    if _is_gone(member):
        yield _mark(f"{place.parent}/.wh.{place.name}", member)
        return
    opaque = any(member.pax_headers.get(name, "n") != "n" for name in _OPAQUE)
    kept = {key: value for key, value in member.pax_headers.items() if not key.startswith(_OVERLAY)}
    member.pax_headers = {key: value for key, value in kept.items() if key.startswith(_XATTR)}
    yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    yield from _span(raw, member.offset_data, end)
    if opaque:
        yield _mark(f"{place}/.wh..wh..opq", member)


def _mark(name: str, member: tarfile.TarInfo) -> bytes:
    mark = tarfile.TarInfo(name if name.startswith("./") else f"./{name}")
    mark.mode, mark.mtime = 0o644, int(member.mtime)
    return mark.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _span(raw: io.BufferedReader, start: int, end: int) -> Iterator[bytes]:
    raw.seek(start)
    while start < end:
        chunk = raw.read(min(CHUNK, end - start))
        if not chunk:
            raise EOFError("it ends too early")
        start += len(chunk)
        yield chunk


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write; it takes its place when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# Archives that are there already


def read_archive(file: Path, title: str, cache: Path) -> Image:
    """Return what an archive holds; raises BuildError for what is none of one image.

    It may have to be read whole: what was found is kept in ``cache``.
    """
    try:
        seen = file.stat()
    except FileNotFoundError:
        raise BuildError(f"{file} is gone", hint="`nxc build` builds it again") from None
    key = hashlib.sha256(_json([str(file), seen.st_size, seen.st_mtime_ns])).hexdigest()
    note = cache / f"archive-{key}.json"
    try:
        told: Mapping[str, str] = json.loads(note.read_text())
        return _image(file, title, told["config"].encode(), told["tag"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        config, tag = _look_into(file)
        image = _image(file, title, config, tag)
        with replacing(note) as part:
            part.write_text(json.dumps({"config": config.decode(), "tag": tag}))
        return image


def _image(file: Path, title: str, config: bytes, tag: str) -> Image:
    try:
        diff_ids = tuple(str(each) for each in json.loads(config)["rootfs"]["diff_ids"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unusable(file, "its configuration names no layers") from error
    return Image(
        title=title,
        tag=tag,
        id=hashlib.sha256(config).hexdigest(),
        config=config,
        diff_ids=diff_ids,
        file=file,
    )


def _look_into(file: Path) -> tuple[bytes, str]:
    """Return the configuration and the tag, in one pass: the order of the members is anyone's."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(file, "r|*") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if member.isreg() and name.endswith(".json") and member.size < CHUNK:
                    stream = tar.extractfile(member)
                    found[name] = stream.read() if stream is not None else b""
        (entry,) = json.loads(found["manifest.json"])
        (tag,) = entry["RepoTags"]
        return found[entry["Config"].removeprefix("./")], str(tag)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _unusable(file, str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _unusable(file, "it has no manifest.json of one image with one tag") from error


def _unusable(file: Path, why: str) -> BuildError:
    return BuildError(f"{file} is no docker-archive: {why}", hint="`nxc build` builds it again")
