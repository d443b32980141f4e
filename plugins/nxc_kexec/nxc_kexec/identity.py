"""A node's identity as a small archive behind the image that all share."""

from __future__ import annotations

import io
import stat
from pathlib import Path

from nxc_core.commands import Command
from nxc_core.cpio import Member, folder, write_archive
from nxc_core.model import RoleBoot
from nxc_core.process import find_program

PLACE = "nxc/node.json"
"""Where nxc's own small initrd looks."""
SQUASHED = "nxc.squashfs"
"""What a NixOS guest mounts at /nxc: a plain file of stage 1 is gone when the system starts."""


def needs_squashed(boot: RoleBoot) -> bool:
    """Whether the image has a stage 1 of its own, not nxc's, which chooses the role by ``nxc.role=``."""
    return not any(word.startswith("nxc.role=") for word in boot.cmdline.split())


def squash(document: Path, target: Path) -> Command:
    """Pack a document as a file system; the folder that has it is for root alone."""
    source = target.with_name("seed")
    source.mkdir(mode=0o700, exist_ok=True)
    (source / "node.json").unlink(missing_ok=True)
    (source / "node.json").touch(mode=0o600)
    (source / "node.json").write_bytes(document.read_bytes())
    target.unlink(missing_ok=True)
    mksquashfs = find_program("mksquashfs", package="squashfs-tools")
    argv = (mksquashfs, str(source), str(target), "-all-root", "-no-progress", "-noappend", "-quiet")
    return Command(argv=argv, timeout=60)


def pack(document: Path, after: int, squashed: Path | None = None) -> bytes:
    """Return what is appended to an initrd of ``after`` bytes; it has the node's secrets."""
    out = io.BytesIO()
    members = [
        folder("nxc"),
        Member(name=PLACE, mode=stat.S_IFREG | 0o600, content=document.read_bytes()),
    ]
    if squashed is not None:
        members.append(Member(name=SQUASHED, mode=stat.S_IFREG | 0o400, source=squashed))
    write_archive(out, members)
    return b"\0" * (-after % 512) + out.getvalue()
