"""Another process, which knows a deployment by its id alone: runs a command on each node, then takes it down.

Run by path, as a program, with the project's folder and the deployment's id.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nxc_core.session import Session


def main(project: str, id: str) -> None:
    """Print what each node answered."""
    running = Session.open(Path(project)).attach(id)
    answers = {
        name: running.connection(name).run(("sh", "-c", "echo $((40 + 2))"), timeout=60).text
        for name in running
    }
    running.down()
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
