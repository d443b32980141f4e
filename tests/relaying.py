"""Broadcasts to machines that are processes on loopback addresses, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from attrs import define, field

from nxc_core.commands import Command
from nxc_core.model import Event
from nxc_core.operation import Operation
from nxc_kexec.broadcast import Target
from tests.operations import operation_in

Language = Literal["perl", "python"]
LANGUAGES: list[Language] = ["perl", "python"]
SLOWLY = """import os, subprocess, sys, time
with subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE) as sink:
    while data := os.read(0, 1 << 18):
        sink.stdin.write(data)
        sink.stdin.flush()
        time.sleep(0.05)
    sink.stdin.close()
sys.exit(sink.returncode)
"""
"""Hands on some 5 MiB a second."""


def operation(folder: Path, hear: Callable[[Event], None] = lambda event: None) -> Operation:
    """Return an operation of its own."""
    (folder / "run").mkdir(exist_ok=True)
    return operation_in(folder, runtime=folder / "run", hear=hear)


def only(folder: Path, *programs: str) -> Path:
    """Make a folder that holds these programs alone, to be all of PATH."""
    folder.mkdir()
    real = {"python3": os.path.realpath(sys.executable)}
    for name in ("sh", "dd", *programs):
        found = real.get(name) or shutil.which(name)
        assert found, name
        if name == "python3":
            (folder / name).write_text(f'#!/bin/sh\nexec {found} "$@"\n')
            (folder / name).chmod(0o755)
        else:
            (folder / name).symlink_to(os.path.realpath(found))
    return folder


@define
class Machines:
    """Machines of this process' own: each has an address on loopback, a folder, and programs."""

    folder: Path
    path: dict[str, str] = field(factory=dict)
    """What PATH is on which machine."""
    around: tuple[str, ...] = ()
    """Words before every command that takes what we send."""
    mark: str = field(factory=lambda: uuid.uuid4().hex)
    ran: list[tuple[str, tuple[str, ...]]] = field(factory=list)

    def target(self, number: int, **more: object) -> Target:
        """Return the machine with this number."""
        name = f"n{number}"
        place = self.folder / name
        place.mkdir(exist_ok=True)
        known: dict[str, object] = {"name": name, "address": f"127.0.42.{number + 1}", "folder": str(place)}
        return Target(**{**known, "run": lambda argv: self.run(name, argv), **more})  # type: ignore[arg-type]

    def targets(self, count: int) -> list[Target]:
        """Return that many machines."""
        return [self.target(number) for number in range(count)]

    def run(self, name: str, argv: Sequence[str]) -> Command:
        """Return the command that runs words on a machine."""
        self.ran.append((name, tuple(argv)))
        settings = [f"NXC_TEST_MARK={self.mark}-{name}"]
        settings += [f"PATH={self.path[name]}"] if name in self.path else []
        around = self.around if self.is_feed(argv) else ()
        return Command(argv=(*around, "/usr/bin/env", *settings, *argv))

    def is_feed(self, argv: Sequence[str]) -> bool:
        """Whether a command takes what leaves here."""
        return "feed" in argv

    def fed(self) -> list[tuple[str, int]]:
        """List the machines that were sent something from here, and from which byte on."""
        return [(name, int(argv[-1])) for name, argv in self.ran if self.is_feed(argv)]

    def pids(self, name: str = "") -> list[int]:
        """List the processes of one machine, or of all."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"NXC_TEST_MARK={self.mark}-{name}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def relay(self, name: str) -> int:
        """Return the pid of a machine's relay."""
        (pid,) = filter(_is_interpreter, self.pids(name))
        return pid


def _is_interpreter(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").resolve().name.startswith(("perl", "python"))
