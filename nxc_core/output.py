"""Writing to a terminal, a pipe or a file, whatever it can take, and whoever wrote the text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import IO


def write(stream: IO[str], text: str) -> None:
    """Write text to a stream whose encoding may lack characters, or which may be gone."""
    with contextlib.suppress(ValueError, BrokenPipeError):
        try:
            stream.write(text)
        except UnicodeEncodeError:
            code = getattr(stream, "encoding", None) or "ascii"
            stream.write(text.encode(code, "backslashreplace").decode(code))
        stream.flush()


def settle(lines: Iterable[str]) -> list[str]:
    """Keep of each wait that systemd draws anew all the time what it drew last."""
    import re

    drawn = re.compile(r"\[[ *]{3,}\] .*\([^()]* / [^()]*\)$")
    kept: list[str] = []
    for line in lines:
        if drawn.match(line):
            while len(kept) > 1 and not kept[-1] and drawn.match(kept[-2]):
                kept.pop()
            if kept and drawn.match(kept[-1]):
                kept.pop()
        kept.append(line)
    return kept


def printable(line: str) -> str:
    """Drop escape sequences and control characters: what a node writes must not steer a terminal."""
    import re

    bare = re.sub(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*(\x07|\x1b\\)|[@-Z\\-_])", "", line)
    return "".join(c for c in bare if c.isprintable() or c == "\t").rstrip()
