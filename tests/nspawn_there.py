"""Run on another machine, as root: starts what was built elsewhere on nspawn, and looks at it from all sides.

Usage: nspawn_there.py PROJECT, a folder with build.json. Says what it saw as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from nxc_core import state
from nxc_core.model import Build
from nxc_core.running import Running
from nxc_core.session import Session
from nxc_nspawn import cgroups, keeper

GREEDY = "head -c 300m /dev/zero | tail | wc -c"


def main() -> None:
    project = Path(sys.argv[1])
    build = state.load(project / "build.json", Build)
    session = Session.open(project, sinks=[lambda event: print(event.message, event.node, file=sys.stderr)])
    session.build = lambda *_, **__: build  # type: ignore[method-assign]  # nothing can be built here
    with session.up(build.composition.source, flavour="nspawn", base="debian") as running:
        told = look(running)
        id = running.id
    told["left"] = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/*{keeper.plain(id)}*")]
    told["loops"] = [path.name for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    end = time.monotonic() + 60
    while unit_state(id) == "active" and time.monotonic() < end:  # systemd sees by and by that it is empty
        time.sleep(0.2)
    told["scope after"] = unit_state(id)
    print(json.dumps(told))


def look(running: Running) -> dict[str, Any]:
    """Use both nodes, and tell what they are in."""
    server, client = running["server"], running["client"]
    for node in (server, client):
        node.wait_until_succeeds("systemctl is-system-running | grep -x running", timeout=300)
    server.wait_for_unit("nginx.service")
    client.succeed("curl --max-time 60 -sSf http://server/", timeout=90)
    address = running.deployment.networks[0].members["server"][0]
    urllib.request.urlopen(f"http://{address}/", timeout=60).read()
    server.fail(f"systemd-run --wait --quiet --pipe bash -o pipefail -c '{GREEDY}'", timeout=120)
    server.fail(f"bash -o pipefail -c '{GREEDY}'", timeout=120)
    told: dict[str, Any] = {"system": unit_state(running.id), "version": cgroups.find_hierarchies().version}
    groups = keeper.groups(running.op, cgroups.find_hierarchies())
    told["folders"] = {kind: str(path) for kind, path in groups.folders.items()}
    told["inside"] = server.succeed("cat /proc/1/cgroup").split()
    told["controllers"] = server.succeed("cat /sys/fs/cgroup/cgroup.controllers").split()
    folder = groups.folders[cgroups.UNIFIED] / "server"
    told["limits"] = [(folder / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max")]
    server.succeed("echo kept > /root/kept")
    for _ in range(2):
        server.reboot()
    server.crash()
    server.start()
    told["kept"] = server.succeed("cat /root/kept").strip()
    server.fail(f"bash -o pipefail -c '{GREEDY}'", timeout=120)
    client.block()
    client.fail("curl --max-time 3 -sSf http://server/")
    client.unblock()
    client.shutdown()
    return told


def unit_state(id: str) -> str:
    """Ask the systemd of this machine for the deployment's unit."""
    done = subprocess.run(
        ("systemctl", "is-active", keeper.scope(id)), capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
