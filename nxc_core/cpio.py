"""Writing cpio archives (newc) for initial ramdisks: several, one after the other, make one."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from attrs import field, frozen

ALIGNMENT = 512
"""A further archive must begin 4-byte aligned, or its content is missing in the booted system."""


@frozen(kw_only=True)
class Member:
    """One file or folder to be packed, as ``mode`` says; a file's content is ``source`` or ``content``."""

    name: str
    mode: int
    content: bytes = field(default=b"", repr=False)
    source: Path | None = None


def folder(name: str) -> Member:
    """A folder that all may enter."""
    return Member(name=name, mode=stat.S_IFDIR | 0o755)


def write_archive(out: BinaryIO, members: Iterable[Member]) -> None:
    """Append one archive, ended and padded. Everything is root's, without time."""
    start = out.tell()
    for number, member in enumerate(members, start=1):
        size = member.source.stat().st_size if member.source is not None else len(member.content)
        _header(out, number, member.mode, size, member.name)
        if member.source is None:
            out.write(member.content)
        else:
            with member.source.open("rb") as stream:
                shutil.copyfileobj(stream, out, 1 << 20)
        _pad(out, size, 4)
    _header(out, 0, 0, 0, "TRAILER!!!")
    _pad(out, out.tell() - start, ALIGNMENT)


def _header(out: BinaryIO, number: int, mode: int, size: int, name: str) -> None:
    if size >= 1 << 32:
        raise ValueError(f"{name}: {size} bytes are too many for an initial ramdisk")
    encoded = name.encode() + b"\0"
    links = 1 if mode else 0
    fields = (number, mode, 0, 0, max(links, 1), 0, size, 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + encoded
    out.write(head)
    _pad(out, len(head), 4)


def _pad(out: BinaryIO, size: int, alignment: int) -> None:
    out.write(b"\0" * (-size % alignment))
