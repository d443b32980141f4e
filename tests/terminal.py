"""A program on a terminal of its own, for tests: what it shows can be awaited, keys can be pressed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 60.0
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*(\x07|\x1b\\)|[@-Z\\-_]|[()][A-Z0-9])")


class Terminal:
    """Starts a program with this as its controlling terminal; leave the ``with`` block and it is gone."""

    def __init__(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], columns: int = 120, lines: int = 40
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._said = b""
        self._seen = 0
        self._more = threading.Condition()
        self.child = subprocess.Popen(
            ("setsid", "--ctty", *argv), cwd=cwd, env=dict(env), stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
        self.child.wait()
        self._reader.join(10)
        os.close(self._master)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is gone
            while data := os.read(self._master, 1 << 16):
                with self._more:
                    self._said += data
                    self._more.notify_all()

    @property
    def text(self) -> str:
        """All that was shown, without what steers a terminal."""
        return _ESCAPES.sub("", self._said.decode("utf-8", "replace")).replace("\r", "")

    @property
    def shown(self) -> bytes:
        """All that was shown, as it came."""
        return self._said

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def expect(self, phrase: str, *, patience: float = PATIENCE) -> str:
        """Wait until a phrase is shown after the last one that was expected; returns what was before it."""
        end = time.monotonic() + patience
        with self._more:
            while (at := self.text.find(phrase, self._seen)) < 0:
                assert self._more.wait(max(0.0, end - time.monotonic())), (
                    f"{phrase!r} is not shown; there is: {self.text[self._seen :][-3000:]!r}"
                )
            before = self.text[self._seen : at]
            self._seen = at + len(phrase)
            return before

    def wait(self, *, patience: float = PATIENCE) -> int:
        """Wait until the program ends, and all that it has shown is here; returns its exit code."""
        try:
            code = self.child.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on; it shows {self.text[-3000:]!r}") from None
        self._reader.join(patience)  # it ends where nobody has the terminal any more
        return code
