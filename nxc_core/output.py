"""Writing to a terminal, a pipe or a file, whatever it can take."""

from __future__ import annotations

import contextlib
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
