"""The options of the Debian base."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen


@frozen(kw_only=True)
class DebianOptions:
    """What a user may set, as ``-o debian.mirror=...`` or in nxc.toml."""

    mirror: str | None = field(
        default=None,
        metadata={
            "help": "mirror to use: an address, or a whole `deb` line; default: the machine's own apt sources"
        },
    )
    suite: str | None = field(
        default=None,
        metadata={"help": "Debian release, bookworm or later; default: the machine's own, else bookworm"},
    )
    jobs: int = field(default=2, metadata={"help": "roles built at once"})
    level: int = field(default=3, metadata={"help": "zstd level of the squashfs layers, 1 to 19"})
    relock: bool = field(
        default=False,
        metadata={"help": "resolve all packages anew instead of keeping those of nxc.lock", "once": True},
    )
    scratch: Literal["auto", "memory", "disk"] = field(
        default="auto", metadata={"help": "where systems are unpacked during a build: auto, memory or disk"}
    )
    keep_work: bool = field(
        default=False, metadata={"help": "keep the folders of a build on disk, to look into when it fails"}
    )

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.level <= 19:
            raise ValueError(f"level: {self.level} is not between 1 and 19")
        if self.jobs < 1:
            raise ValueError(f"jobs: {self.jobs} is not a positive number")
