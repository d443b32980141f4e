"""Operations for what wants one and has no session."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from nxc_core.model import Event
from nxc_core.operation import Operation
from nxc_core.state import Journal


def operation_in(
    folder: Path,
    name: str = "",
    *,
    runtime: Path | None = None,
    cache: Path | None = None,
    hear: Callable[[Event], None] = lambda event: None,
    offline: bool = False,
    dry: bool = False,
) -> Operation:
    """Return an operation whose files are in a folder, unless others are given; ``hear`` is told of it."""
    return Operation(
        dir=folder,
        runtime=runtime or folder,
        cache=cache or folder,
        journal=Journal(folder / "journal.jsonl"),
        emit=hear,
        cancel=threading.Event(),
        offline=offline,
        dry=dry,
        name=name,
    )
