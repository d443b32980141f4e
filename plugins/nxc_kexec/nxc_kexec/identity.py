"""A node's identity as a small archive behind the image that all share."""

from __future__ import annotations

import io
import stat
from pathlib import Path

from nxc_core.cpio import ALIGNMENT, Member, folder, write_archive

PLACE = "nxc/node.json"
"""Where stage 1 of every base looks."""


def pack(document: Path, after: int) -> bytes:
    """Return what is appended to an initrd of ``after`` bytes; it has the node's secrets."""
    out = io.BytesIO()
    node = Member(name=PLACE, mode=stat.S_IFREG | 0o600, content=document.read_bytes())
    write_archive(out, [folder("nxc"), node])
    return b"\0" * (-after % ALIGNMENT) + out.getvalue()
