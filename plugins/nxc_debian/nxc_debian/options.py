"""The options of the Debian base."""

from __future__ import annotations

import re
from typing import Literal

from attrs import field, frozen

from nxc_core.model import Json


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
    setup: str | None = field(default=None, metadata={"help": "variant of the composition's setup.toml"})
    setup_params: tuple[str, ...] = field(
        default=(), metadata={"help": "parameters on top of setup.toml's, as NAME=VALUE"}
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
        for text in self.setup_params:
            if not re.fullmatch(r"[^=\s]+=.*", text, re.DOTALL):
                raise ValueError(f"setup_params: {text!r} is not NAME=VALUE")

    def setup_arguments(self) -> dict[str, Json]:
        """Return what is said in place of, and on top of, a setup.toml, as nix/debian/eval.nix takes it."""
        given: dict[str, Json] = {} if self.setup is None else {"variant": self.setup}
        if self.setup_params:
            given["params"] = dict(_parameter(text) for text in self.setup_params)
        return given


def _parameter(text: str) -> tuple[str, Json]:
    name, _, value = text.partition("=")
    return name, int(value) if re.fullmatch(r"-?[0-9]+", value) else value
