"""One node of the flavour ``local``: a process that knows who it is and proves it where it listens.

Run as ``python3 node.py NODE_JSON ADDRESS/PORT BOOT_SECONDS``. SIGTERM ends it. Needs nothing but Python.
"""

from __future__ import annotations

import json
import socket
import sys
import time
import uuid


def main(document: str, place: str, boot_seconds: str) -> None:
    """Boot, then tell everyone who connects which instance and which boot this is."""
    with open(document, encoding="utf-8") as source:  # noqa: PTH123 - pathlib would double the start-up time
        identity = json.load(source)
    say(f"{identity['node']}: booting as {identity['role']}")
    time.sleep(float(boot_seconds))
    proof = f"{identity['instance']}\n{uuid.uuid4()}\n".encode()
    address, _, port = place.partition("/")
    with socket.create_server((address, int(port))) as server:
        say(f"{identity['node']}: listening at {place}")
        while True:
            link, _ = server.accept()
            with link:
                link.sendall(proof)


def say(line: str) -> None:
    """Write a line to the console."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
