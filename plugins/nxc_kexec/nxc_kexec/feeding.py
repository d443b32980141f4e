"""What leaves this machine: files sent over ssh to where a relay waits for them, from the byte it has on."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import field, frozen

from nxc_core import CommandError, Interrupted, Operation, process
from nxc_core.commands import Command

Run = Callable[[Sequence[str]], Command]
"""Makes the command that runs these words on a machine."""
AT_ONCE = 4
"""Machines that are sent files at the same time, each from a thread: as a rule there is one."""
_FROM = (
    "import os,sys;f=os.open(sys.argv[1],os.O_RDONLY);os.lseek(f,int(sys.argv[2]),0);"
    "os.dup2(f,0);os.execvp(sys.argv[3],sys.argv[3:])"
)
"""Becomes the command in its arguments, with a file as standard input from some byte on."""
_TO = 'LC_ALL=C; export LC_ALL; exec dd of="$1" bs=65536 seek="$2" oflag=seek_bytes conv=notrunc status=none'


@frozen
class Sent:
    """A file to send; ``name`` is its name there."""

    path: Path
    name: str
    size: int
    sha256: str


class _Either(threading.Event):
    """Is set when it is, or another event is."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self.other = other

    def is_set(self) -> bool:
        return super().is_set() or self.other.is_set()


@frozen
class Fed:
    """How feeding a machine has ended; without ``trouble`` all was sent."""

    name: str
    trouble: str = ""
    number: int = field(default=0, kw_only=True)


class Feeds:
    """The machines that are sent files from here, and how that ends."""

    def __init__(self, files: Sequence[Sent], op: Operation, timeout: float) -> None:
        self.files = files
        self.op = op
        self.timeout = timeout
        self.ended: queue.SimpleQueue[Fed] = queue.SimpleQueue()
        self._stops: dict[str, tuple[int, _Either]] = {}
        self._count = 0
        self._running: set[int] = set()
        self._pool = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="nxc-feed")

    def start(self, name: str, run: Run, folder: str, sizes: Sequence[int]) -> None:
        """Begin to send a machine what it lacks; it has so many bytes of each file."""
        self.stop(name)
        self._count += 1
        stop = _Either(self.op.cancel)
        self._stops[name] = (self._count, stop)
        self._pool.submit(self._feed, name, self._count, run, folder, tuple(sizes), stop)

    def stop(self, name: str) -> None:
        """Send this machine no more."""
        if name in self._stops:
            self._stops.pop(name)[1].set()

    def is_sending(self, name: str) -> bool:
        """Whether a machine is being sent something now: it may also wait for others."""
        return name in self._stops and self._stops[name][0] in self._running

    def take_ended(self) -> list[Fed]:
        """Return what has ended since, but for what was stopped."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self.ended.get_nowait())
        known = [fed for fed in found if self._stops.get(fed.name, (0, None))[0] == fed.number]
        for fed in known:
            del self._stops[fed.name]
        return known

    def close(self) -> None:
        """Stop all, and wait until nothing of it is left."""
        for name in list(self._stops):
            self.stop(name)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _feed(
        self, name: str, number: int, run: Run, folder: str, sizes: Sequence[int], stop: threading.Event
    ) -> None:
        trouble = ""
        self._running.add(number)
        try:
            for file, size in zip(self.files, sizes, strict=True):
                if size < file.size:
                    self._send(file, size, run, folder, stop)
        except Interrupted:
            return
        except CommandError as error:
            said = error.stderr.strip().splitlines()
            trouble = said[-1] if said else error.message
        except Exception as error:  # noqa: BLE001 - told where the machine's outcome is made
            trouble = f"{type(error).__name__}: {error}"
        finally:
            self._running.discard(number)
        self.ended.put(Fed(name, trouble, number=number))

    def _send(self, file: Sent, size: int, run: Run, folder: str, stop: threading.Event) -> None:
        words = ("sh", "-c", _TO, "feed", f"{folder}/{file.name}.part", str(size))
        command = run(words)
        here = (sys.executable, "-I", "-S", "-c", _FROM, str(file.path), str(size))
        argv = (*here, *command.argv)
        process.run(argv, timeout=self.timeout, env=command.env, cwd=command.cwd, cancelled=stop)
