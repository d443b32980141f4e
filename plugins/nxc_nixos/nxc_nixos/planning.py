"""What a build would make or fetch, without doing either."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nxc_core.operation import Operation
from nxc_nixos.nix import Nix
from nxc_nixos.stores import Store

TIMEOUT = 600.0
_HEADING = re.compile(r"^(?:these|this) .*(?P<what>built|fetched)", re.IGNORECASE)
_HASH = re.compile(r"^[0-9a-z]{32}-")


def ask_missing(nix: Nix, derivation: str, op: Operation, *, project: Path) -> list[str]:
    """Have Nix say what it would build and fetch for a derivation that is in the store."""
    argv = (nix.program("nix-store"), "--realise", "--dry-run", *nix.flags, derivation)
    ended = op.run(argv, env=nix.environment, timeout=TIMEOUT, cwd=project)
    return read_missing(ended.error_text)


def read_missing(text: str) -> list[str]:
    """Read the lists that ``nix-store --dry-run`` prints."""
    found, verb = [], ""
    for line in text.splitlines():
        heading = _HEADING.match(line.strip())
        if heading:
            verb = {"built": "build", "fetched": "fetch"}[heading["what"].lower()]
        elif verb and line.strip().startswith("/"):
            found.append(f"{verb} {short(line.strip())}")
    return found


def missing_outputs(store: Store, outputs: Mapping[str, Any]) -> list[str]:
    """Name those of a composition's outputs that the store lacks, each with its role."""
    found = []
    for role, said in sorted(outputs["roles"].items()):
        for name, path in sorted(said["parts"].items()):
            if path is not None and not store.holds([path]):
                found.append(f"{role}: {name} {short(path)}")
    if not store.holds([outputs["document"]]):
        found.append("the images, and what they are made of")
    return found


def short(path: str) -> str:
    """Name a store path without its hash."""
    return _HASH.sub("", Path(path).name).removesuffix(".drv")
