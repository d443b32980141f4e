"""Deterministic tars: written from a tree or from the difference of two, merged with whiteouts resolved."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from attrs import evolve, field, frozen

from nxc_debian.files import disk_full

CHUNK = 1 << 20
END = b"\0" * 1024
_KEPT_XATTRS = ("security.capability", "user.")
_OVERLAY = ("trusted.overlay.", "user.overlay.")


@frozen(kw_only=True)
class Entry:
    """One member of a tar to be. ``source`` holds a regular file's content; ``link`` a link's target."""

    name: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    source: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    size: int = 0
    link: str = ""
    hard: bool = False
    device: tuple[int, int] | None = None
    xattrs: Mapping[str, bytes] = field(factory=dict)


def whiteout(name: str, epoch: int) -> Entry:
    """Say that a lower layer's file is gone, as overlayfs says it: a character device 0:0."""
    return Entry(name=name, mode=stat.S_IFCHR, mtime=epoch, device=(0, 0))


def sort_key(name: str) -> tuple[str, ...]:
    """Order by folder, a folder before what is in it."""
    return tuple(name.split("/"))


def write(path: Path, entries: Iterable[Entry]) -> str:
    """Write a tar in the order given; returns its sha256."""
    hashed = hashlib.sha256()
    with disk_full(path), path.open("wb") as out:
        for entry in entries:
            for chunk in _member(entry):
                hashed.update(chunk)
                out.write(chunk)
        hashed.update(END)
        out.write(END)
    return hashed.hexdigest()


def _member(entry: Entry) -> Iterator[bytes]:
    member = tarfile.TarInfo("./" + entry.name if entry.name else "./")
    member.mode = stat.S_IMODE(entry.mode)
    member.uid, member.gid, member.mtime = entry.uid, entry.gid, entry.mtime
    member.type, member.linkname = _TYPES[stat.S_IFMT(entry.mode)], entry.link
    if entry.hard:
        member.type, member.linkname = tarfile.LNKTYPE, "./" + entry.link
    if entry.device is not None:
        member.devmajor, member.devminor = entry.device
    if member.type == tarfile.REGTYPE:
        member.size = entry.size
    member.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in entry.xattrs.items()
    }
    yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if member.type == tarfile.REGTYPE and entry.size:
        yield from _content(entry)
        yield b"\0" * (-entry.size % 512)


_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


def _content(entry: Entry) -> Iterator[bytes]:
    if entry.content is not None:
        yield entry.content
        return
    assert entry.source is not None
    left = entry.size
    with entry.source.open("rb") as stream:
        while left and (chunk := stream.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
    if left:
        raise OSError(f"{entry.source} became shorter while it was read")


def scan(root: Path, epoch: int, *, skip: Sequence[str] = ()) -> Iterator[Entry]:
    """Yield a tree's entries in order, times no later than ``epoch``.

    Folders in ``skip``, where things are mounted during a build, are there but empty and of that time.
    """
    links: dict[tuple[int, int], str] = {}
    yield entry_of(root, "", epoch, links)
    yield from _scan_folder(root, "", epoch, frozenset(skip), links)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _scan_folder(
    root: Path, folder: str, epoch: int, skip: frozenset[str], links: dict[tuple[int, int], str]
) -> Iterator[Entry]:
    for name in sorted(_names(root / folder)):
        path = f"{folder}/{name}" if folder else name
        entry = entry_of(root / path, path, epoch, links)
        if stat.S_ISSOCK(entry.mode):
            continue
        yield evolve(entry, mtime=epoch) if path in skip else entry
        if stat.S_ISDIR(entry.mode) and path not in skip:
            yield from _scan_folder(root, path, epoch, skip, links)


def entry_of(path: Path, name: str, epoch: int, links: dict[tuple[int, int], str]) -> Entry:
    """Look at one file. ``links`` remembers first names: later names of a file become hard links."""
    found = path.lstat()
    mode, link, hard, device = found.st_mode, "", False, None
    if stat.S_ISLNK(mode):
        link = str(path.readlink())
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        device = (os.major(found.st_rdev), os.minor(found.st_rdev))
    elif stat.S_ISREG(mode) and found.st_nlink > 1:
        first = links.setdefault((found.st_dev, found.st_ino), name)
        hard, link = first != name, first if first != name else ""
    return Entry(
        name=name,
        mode=mode,
        uid=found.st_uid,
        gid=found.st_gid,
        mtime=min(int(found.st_mtime), epoch),
        source=path,
        size=found.st_size if stat.S_ISREG(mode) else 0,
        link=link,
        hard=hard,
        device=device,
        xattrs={} if stat.S_ISLNK(mode) else _xattrs(path),
    )


def _xattrs(path: Path) -> dict[str, bytes]:
    try:
        found = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    kept = [name for name in found if name.startswith(_KEPT_XATTRS) and not name.startswith(_OVERLAY)]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(kept)}


def difference(upper: Path, lower: Path, epoch: int, *, skip: Sequence[str] = ()) -> list[Entry]:
    """List what an overlay's upper folder changes, in order; nothing that came out as it was."""
    links: dict[tuple[int, int], str] = {}
    found = _difference(upper, lower, "", epoch, frozenset(skip), links)
    return [entry_of(upper, "", epoch, {})] + found if found else []


def _difference(
    upper: Path, lower: Path, folder: str, epoch: int, skip: frozenset[str], links: dict[tuple[int, int], str]
) -> list[Entry]:
    entries: list[Entry] = []
    names = sorted(_names(upper / folder))
    if _is_opaque(upper / folder):
        hidden = set(_names(lower / folder)) - set(names) if _is_folder(lower / folder) else set()
        names = sorted({*names, *hidden})
    else:
        hidden = set()
    for name in names:
        path = f"{folder}/{name}" if folder else name
        if path in skip:
            continue
        if name in hidden:
            entries.append(whiteout(path, epoch))
            continue
        entry = entry_of(upper / path, path, epoch, links)
        if stat.S_ISSOCK(entry.mode):
            continue
        if entry.device == (0, 0):
            if os.path.lexists(lower / path) and not _is_empty(lower / path):
                entries.append(whiteout(path, epoch))
        elif stat.S_ISDIR(entry.mode):
            inside = _difference(upper, lower, path, epoch, skip, links)
            if inside or not _same_folder(entry, lower / path, epoch):
                entries += [entry, *inside]
        elif (upper / path).lstat().st_nlink > 1 or not _same_file(entry, upper / path, lower / path, epoch):
            entries.append(entry)
    return entries


def _is_empty(path: Path) -> bool:
    """Whether a folder has nothing in it: its end would only hide what a layer between has put there."""
    return _is_folder(path) and not any(path.iterdir())


def _is_opaque(path: Path) -> bool:
    for name in ("trusted.overlay.opaque", "user.overlay.opaque"):
        try:
            if os.getxattr(path, name) in (b"y", b"x"):
                return True
        except OSError:
            continue
    return False


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _same_folder(entry: Entry, lower: Path, epoch: int) -> bool:
    """Times apart: the folder was copied up because something in it was touched."""
    if not _is_folder(lower):
        return False
    other = entry_of(lower, entry.name, epoch, {})
    return (entry.mode, entry.uid, entry.gid, entry.xattrs) == (
        other.mode,
        other.uid,
        other.gid,
        other.xattrs,
    )


def _same_file(entry: Entry, upper: Path, lower: Path, epoch: int) -> bool:
    if not os.path.lexists(lower):
        return False
    other = entry_of(lower, entry.name, epoch, {})
    told = (entry.mode, entry.uid, entry.gid, entry.size, entry.link, entry.device, entry.xattrs)
    if told != (other.mode, other.uid, other.gid, other.size, other.link, other.device, other.xattrs):
        return False
    return not stat.S_ISREG(entry.mode) or _same_content(upper, lower)


def _same_content(one: Path, two: Path) -> bool:
    with one.open("rb") as a, two.open("rb") as b:
        while True:
            left, right = a.read(CHUNK), b.read(CHUNK)
            if left != right:
                return False
            if not left:
                return True


@frozen(kw_only=True)
class _Piece:
    """A member as it lies in a layer's tar: its bytes are taken as they are."""

    name: str
    tar: int
    start: int
    end: int
    member: tarfile.TarInfo = field(repr=False)


def merge(path: Path, layers: Sequence[Path]) -> str:
    """Write one tar of several layers, lowest first, whiteouts resolved; returns its sha256."""
    tree: dict[str, _Piece] = {}
    for number, layer in enumerate(layers):
        _stack(tree, _pieces(layer, number))
    ordered = sorted(tree.values(), key=lambda piece: sort_key(piece.name))
    hashed = hashlib.sha256()
    streams = [layer.open("rb") for layer in layers]
    try:
        with disk_full(path), path.open("wb") as out:
            for chunk in _merged(ordered, tree, streams, layers):
                hashed.update(chunk)
                out.write(chunk)
    finally:
        for stream in streams:
            stream.close()
    return hashed.hexdigest()


def _pieces(layer: Path, number: int) -> list[_Piece]:
    with tarfile.open(layer, "r:", errorlevel=1) as tar:
        members = tar.getmembers()
    pieces = []
    for member in members:
        size = member.size if member.type == tarfile.REGTYPE else 0
        end = member.offset_data + size + -size % 512
        name = member.name.removeprefix("./").rstrip("/")
        name = "" if name == "." else name
        pieces.append(_Piece(name=name, tar=number, start=member.offset, end=end, member=member))
    return pieces


def _stack(tree: dict[str, _Piece], pieces: Sequence[_Piece]) -> None:
    """Put one layer over the tree: a file replaces a folder and all that is in it."""
    for piece in pieces:
        before = tree.get(piece.name)
        gone = is_whiteout(piece.member)
        if before is not None and before.member.isdir() and not piece.member.isdir():
            prefix = piece.name + "/"
            for name in [name for name in tree if name.startswith(prefix)]:
                del tree[name]
        if gone:
            tree.pop(piece.name, None)
        else:
            tree[piece.name] = piece


def is_whiteout(member: tarfile.TarInfo) -> bool:
    """Whether a member says that a lower layer's file is gone."""
    return member.type == tarfile.CHRTYPE and (member.devmajor, member.devminor) == (0, 0)


def _merged(
    ordered: Sequence[_Piece], tree: Mapping[str, _Piece], streams: Sequence[BinaryIO], layers: Sequence[Path]
) -> Iterator[bytes]:
    promoted: dict[tuple[int, str], str] = {}
    for piece in ordered:
        if not piece.member.islnk():
            yield from _span(streams[piece.tar], piece.start, piece.end)
            continue
        target = piece.member.linkname.removeprefix("./")
        kept = tree.get(target)
        if kept is not None and kept.tar == piece.tar:
            yield from _span(streams[piece.tar], piece.start, piece.end)
        elif (first := promoted.get((piece.tar, target))) is not None:
            yield _relinked(piece.member, first)
        else:  # the link's first name is hidden by an upper layer: this name becomes the file
            promoted[(piece.tar, target)] = piece.name
            yield from _promoted(piece, target, layers[piece.tar])
    yield END


def _span(stream: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    stream.seek(start)
    while start < end:
        chunk = stream.read(min(CHUNK, end - start))
        start += len(chunk)
        yield chunk


def _relinked(member: tarfile.TarInfo, target: str) -> bytes:
    member.linkname = "./" + target
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _promoted(piece: _Piece, target: str, layer: Path) -> Iterator[bytes]:
    with tarfile.open(layer, "r:") as tar:
        first = tar.getmember("./" + target)
        stream = tar.extractfile(first)
        assert stream is not None
        content = stream.read()
    first.name = "./" + piece.name
    yield first.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    yield content + b"\0" * (-len(content) % 512)
