"""Images for a farm: a kernel and a ramdisk that are small, and read as a kernel reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MAGIC_AT = 0x202
MAGIC = b"HdrS"


class Broken(Exception):
    """A kernel cannot unpack this."""


def make_kernel(path: Path, size: int = 256 << 10) -> Path:
    """Write what looks like a kernel to `kexec`, which reads the header of a bzImage."""
    text = bytearray(os.urandom(size))
    text[MAGIC_AT : MAGIC_AT + 4] = MAGIC
    path.write_bytes(text)
    return path


def make_initrd(path: Path, size: int = 1 << 20) -> Path:
    """Write a ramdisk with one file of noise."""
    path.write_bytes(archive({"noise": os.urandom(size)}))
    return path


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return a cpio archive, padded so that another may follow."""
    members = b"".join(_member(name.encode(), content) for name, content in files.items())
    return members + _member(b"TRAILER!!!", b"")


def _member(name: bytes, content: bytes) -> bytes:
    fields = (1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + name + b"\0"
    return _padded(head) + _padded(content)


def _padded(text: bytes) -> bytes:
    return text + b"\0" * (-len(text) % 4)


def read_initrd(path: Path) -> dict[str, bytes]:
    """Unpack concatenated archives as init/initramfs.c does; later files replace earlier ones."""
    text = path.read_bytes()
    found: dict[str, bytes] = {}
    at = 0
    while at < len(text):
        if text[at] == 0:
            at += 1
        elif text[at : at + 6] == b"070701" and at % 4 == 0:
            at = _read_archive(text, at, found)
        else:
            raise Broken(f"invalid magic at start of compressed archive, at {at}")
    return found


def _read_archive(text: bytes, at: int, found: dict[str, bytes]) -> int:
    while True:
        if text[at : at + 6] != b"070701":
            raise Broken(f"no cpio magic at {at}")
        fields = [int(text[start : start + 8], 16) for start in range(at + 6, at + 110, 8)]
        size, length = fields[6], fields[11]
        name = text[at + 110 : at + 110 + length - 1].decode()
        begin = at + 110 + length
        begin += -begin % 4
        at = begin + size
        at += -at % 4
        if at > len(text):
            raise Broken(f"{name} is cut short")
        if name == "TRAILER!!!":
            return at
        found[name.removeprefix("./")] = text[begin : begin + size]
