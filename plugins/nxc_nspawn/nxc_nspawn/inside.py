"""Commands on a node: in its namespaces, with its rights, and nothing of the caller's environment."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from nxc_core import CommandError
from nxc_core.connect import LOST, ExecConnection
from nxc_core.model import ExecEndpoint
from nxc_core.process import Completed
from nxc_core.spawned import is_ending
from nxc_nspawn import machines

DOWN = 125
"""Exit code where the node is not there, as that of env and of docker for failures of their own."""
_KEPT = 0xFDECBFFF
"""The capabilities that systemd-nspawn leaves to a system with a network of its own, a bit each."""
_LAST = Path("/proc/sys/kernel/cap_last_cap")
_SEARCHED = (
    "/run/wrappers/bin:/run/current-system/sw/bin"
    ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)
_ENTER = """
refuse() { echo "nxc: this node is not there" >&2; exit 125; }
child() { read -r leader rest <"/proc/$1/task/$1/children" || [ -n "$leader" ] || refuse; }
umask 022
leader=
child "$1"
child "$leader"
while read -r key pids; do [ "$key" != NSpid: ] || break; done <"/proc/$leader/status" || refuse
case $pids in *[[:space:]]1) ;; *) refuse ;; esac
for group in $2; do echo $$ >"$group/cgroup.procs"; done
if [ -n "$3" ]; then
  read -r path <"/proc/$leader/cgroup"
  echo $$ >"$3${path#0::}/cgroup.procs"
fi
dropped=$4
shift 4
exec setpriv --bounding-set="$dropped" nsenter --target="$leader" --pid --no-fork -- \\
  sh -c 'exec 3>&2 2>/dev/null; ("$@") 2>&3 3>&-; exit "$?"' nxc \\
  nsenter --target="$leader" --mount --uts --ipc --net --cgroup -- env -C /root -i "$@"
"""
"""A shell of this machine waits for the command: nsenter would stop itself for ever when its child is stopped
(as all are for a moment when a system goes down), and the system would wait 90 s for that child."""


def endpoint(pid: int, limiting: Sequence[Path], unified: Path | None) -> ExecEndpoint:
    """Return words that run a command on a node in any of its boots, in the control groups that limit it.

    ``unified`` is where version 2 is mounted, if it limits the node: there commands go to the first process.
    """
    groups = " ".join(map(str, limiting))
    words = ("sh", "-uc", _ENTER, "nxc", str(pid), groups, str(unified or ""), _dropped())
    variables = (f"PATH={_SEARCHED}", "HOME=/root", "USER=root", "LOGNAME=root")
    return ExecEndpoint(prefix=(*words, *variables))


def _dropped() -> str:
    """Name the capabilities that commands are not to have either, as setpriv(1) does."""
    last = int(_LAST.read_text())
    return ",".join(f"-cap_{number}" for number in range(last + 1) if not _KEPT >> number & 1)


class Inside(ExecConnection):
    """Runs commands on a node that the process ``pid`` boots."""

    def __init__(self, pid: int, endpoint: ExecEndpoint, cancel: threading.Event | None = None) -> None:
        super().__init__(endpoint, cancel)
        self.pid = pid

    def _execute(
        self, argv: Sequence[str], timeout: float | None, stdin: bytes | Path | None, output: Path | None
    ) -> Completed:
        before = machines.leader(self.pid)
        if before is None:
            raise self._lost(argv, "the node is not there")
        done = super()._execute(argv, timeout, stdin, output)
        # Whatever the code says: it may be that of a program of ours, which found the way in closed.
        if done.code != 0 and (is_ending(before) or machines.leader(self.pid) != before):
            raise self._lost(argv, "the node went down")
        return done

    def _lost(self, argv: Sequence[str], why: str) -> CommandError:
        return CommandError(f"{LOST}: {why}", argv=tuple(argv), code=None)

    def shell_argv(self, argv: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the words that open a login shell (or ``argv``) on the node, on the caller's terminal."""
        terminal = os.environ.get("TERM", "dumb")
        return (*self.endpoint.prefix, f"TERM={terminal}", *(argv or ("bash", "--login")))
