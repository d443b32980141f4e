"""Imports modules in a fresh interpreter and writes down what that did. Run by path, as a program.

Arguments: where to write, then modules to import, each measured on its own.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any


def children() -> list[str]:
    """List the processes that this one started and that live."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == os.getpid():
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                    found.append(b" ".join(words).decode(errors="replace").strip())
            except OSError:
                continue
    return found


def state() -> dict[str, Any]:
    """Take down what an import must leave alone."""
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "children": children(),
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "log handlers": len(logging.getLogger().handlers),
        "signal handlers": [str(signal.getsignal(number)) for number in signal.valid_signals()],
    }


def main(report: str, *modules: str) -> None:
    """Import one after the other."""
    import_module("nxc_core.plugins")
    told = {}
    for module in modules:
        known, before, start = set(sys.modules), state(), time.process_time()
        import_module(module)
        seconds = time.process_time() - start
        after = state()
        told[module] = {
            "modules": sorted(set(sys.modules) - known),
            "seconds": seconds,
            "changed": {key: [before[key], after[key]] for key in before if before[key] != after[key]},
        }
        sys.stdout.flush()
    Path(report).write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
