"""What an Execo Remote over all nodes costs, against plain ssh to the same nodes in parallel.

Both sides run `true` on every node, all at once: an execo Remote through what nxc-execo gives to execo, and a
shell that starts one ssh a node in the background and waits. The nodes are sshd on the loopback device.

1. every connection is new on both sides;
2. a Remote finds the connections that the one before has opened; plain ssh has none to find;
3. the same, and plain ssh is given the very same shared connections.

Usage: execo_remote.py [NODES]. (It is not called execo.py: that would hide execo from itself.)
"""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pairs import Cost, compare

sys.path.insert(0, str(Path(__file__).parents[1]))

from nxc_core.connect import open_connection
from nxc_core.model import SshEndpoint
from nxc_execo import late
from nxc_execo.table import TABLE
from tests.sshds import run_sshds

AIM = "wall at most 1.1"


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    execo = late.load()  # starts its threads before any are ours
    with tempfile.TemporaryDirectory(prefix="nxc-execo-") as name, run_sshds(Path(name), number) as nodes:
        hosts = [execo.Host(TABLE.add(f"node{i}", "bench", end)) for i, end in enumerate(nodes)]

        def remote() -> Cost:
            return cost(lambda: run_remote(execo, hosts))

        def plain() -> Cost:
            return cost(lambda: run_plain(nodes, shared=False))

        def given() -> Cost:
            return cost(lambda: run_plain(nodes, shared=True))

        def cold() -> Cost:
            close(nodes)
            return remote()

        sys.stdout.write(f"{number} nodes\n")
        compare("1. all connections new", cold, plain, n=5, limit=AIM)
        compare("2. connections kept, plain ssh", remote, plain, n=5, limit=AIM)
        compare("3. connections kept by both", remote, given, n=5)
        TABLE.forget([host.address for host in hosts])


def run_remote(execo: Any, hosts: Sequence[Any]) -> None:
    """Run `true` by execo."""
    action = execo.Remote("true", hosts).run()
    if not action.finished_ok:
        raise SystemExit(next(one.stderr for one in action.processes if not one.finished_ok))


def run_plain(nodes: Sequence[SshEndpoint], *, shared: bool) -> None:
    """Run `true` by plain ssh."""
    lines = []
    for node in nodes:
        words = ["ssh", "-F", "/dev/null", "-i", str(node.identity), "-p", str(node.port)]
        for option in (
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={node.known_hosts}",
            f"HostKeyAlias={node.alias}",
        ):
            words += ["-o", option]
        words += ["-S", str(node.control) if shared else "none", f"{node.user}@{node.host}", "true"]
        lines.append(f'{shlex.join(words)} </dev/null & pids="$pids $!"')
    lines += ["for pid in $pids; do wait $pid || exit 1; done"]
    subprocess.run(["sh", "-c", "\n".join(lines)], check=True)


def close(nodes: Sequence[SshEndpoint]) -> None:
    """Close all shared connections."""
    for node in nodes:
        open_connection(node).close()


def cost(run: Callable[[], None]) -> Cost:
    """Say what something took; the CPU time is that of finished children, and ours."""
    before, mine = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
    start = time.monotonic()
    run()
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    children = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, children + time.process_time() - mine)


if __name__ == "__main__":
    os.environ.pop("SSH_AUTH_SOCK", None)
    main()
