"""What a relay has of each file, and how it speaks. Travels to the machines with ``relay``: Python 3.7."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

CHUNK = 1 << 18


def tell(*words: object) -> None:
    """Say a line; where nobody listens any more there is nothing left to do."""
    line = ("@" + " ".join(map(str, words)) + "\n").encode()
    try:
        while line:
            line = line[os.write(1, line) :]
    except OSError:
        os._exit(3)


def give_up(why: str) -> NoReturn:
    """End with a sentence for the person at the keyboard."""
    sys.stderr.write(why + "\n")
    sys.stderr.flush()
    os._exit(1)


class Part:
    """One file, as much of it as is here. ``hashed`` follows ``have``."""

    def __init__(self, folder: str, name: str, size: int, sha: str) -> None:
        self.name, self.size, self.sha = name, size, sha
        self.whole = Path(folder, unquote(name))
        self.path = Path(f"{self.whole}.part")
        self.good = False
        if self.whole.is_symlink() or self.whole.exists():
            self.whole.replace(self.path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(self.path, flags, 0o600)
        os.fchmod(self.fd, 0o600)
        self.have = os.fstat(self.fd).st_size
        self.begin(keep=self.have <= size)

    def begin(self, keep: bool = False) -> None:
        """Take the file's sum from its first byte on, without ``keep`` of nothing."""
        if not keep:
            os.ftruncate(self.fd, 0)
            self.have = 0
        self.good = False
        self.hashed = 0
        self.sum = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append what was received, never beyond the size."""
        rest = memoryview(data)[: self.size - self.have]
        while rest:
            try:
                count = os.pwrite(self.fd, rest, self.have)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                self.path.unlink()
                give_up(f"no space left in {self.path.parent} for {self.whole.name} ({self.size} bytes)")
            self.have += count
            rest = rest[count:]

    def behind(self) -> bool:
        """Whether enough has come since the sum was taken."""
        return self.have >= self.size or self.have - self.hashed >= CHUNK

    def check(self) -> bool:
        """Take more of the sum; True when the whole file is known to be good or bad."""
        if self.good or not self.behind():
            return False
        data = os.pread(self.fd, min(4 * CHUNK, self.have - self.hashed), self.hashed)
        self.sum.update(data)
        self.hashed += len(data)
        if self.hashed < self.size:
            return False
        self.good = self.sum.hexdigest() == self.sha
        if self.good:
            self.path.replace(self.whole)
        return True


class Caller:
    """Another relay that takes from this one, or somebody who does not know the token."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.sock, self.address = sock, address
        self.since = time.monotonic()
        self.known = False
        self.line = b""
        self.part: Part | None = None
        self.at = 0
        self.rest = b""

    def has_work(self) -> bool:
        """Whether there is something to send."""
        return bool(self.rest) or (self.part is not None and self.at < self.part.have)
