"""Starting the worker: as root in namespaces of its own, else as root of a user namespace."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nxc_core.errors import BuildError, CommandError, PreflightError
from nxc_core.operation import Operation
from nxc_core.process import find_program
from nxc_debian.apt import base_environment
from nxc_debian.files import no_space, replace_text

LONGEST = 4 * 3600.0
"""Seconds that one run of the worker may take."""
_FLAGS = (
    "--mount",
    "--pid",
    "--net",
    "--ipc",
    "--uts",
    "--fork",
    "--kill-child=KILL",
    "--propagation",
    "private",
)


def enter_argv() -> tuple[str, ...]:
    """Words that run a command as root of its own mounts, without network; everything in it ends with it."""
    unshare = find_program("unshare", package="util-linux")
    if os.geteuid() == 0:
        return (unshare, *_FLAGS)
    find_program("newuidmap", package="uidmap")
    check_ranges()
    return (unshare, "--user", "--map-auto", "--map-root-user", *_FLAGS)


def check_ranges() -> None:
    """Raise PreflightError unless the user has 65536 subordinate ids."""
    user = getpass.getuser()
    for path in (Path("/etc/subuid"), Path("/etc/subgid")):
        if subordinate_ids(path, user, os.getuid()) < 65536:
            raise PreflightError(
                f"{user} has no range of 65536 subordinate ids in {path}",
                hint=f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
            )


def subordinate_ids(path: Path, user: str, uid: int) -> int:
    """Return the size of the user's largest range in /etc/subuid or /etc/subgid."""
    sizes = [0]
    for line in path.read_text().splitlines() if path.exists() else ():
        words = line.split(":")
        if len(words) == 3 and words[0] in (user, str(uid)) and words[2].isdigit():
            sizes.append(int(words[2]))
    return max(sizes)


def work(job: Mapping[str, Any], folder: Path, op: Operation, done: Callable[[str], None]) -> None:
    """Run the worker on a job; ``done`` is called with each layer that is finished.

    Raises BuildError with what a failed layer's commands said last.
    """
    job_file = folder / "job.json"
    replace_text(job_file, json.dumps(job, sort_keys=True))
    failures: list[tuple[str, str]] = []
    last: list[str] = []

    def hear(line: str) -> None:
        if not line.startswith("{"):
            last.append(line)
            return
        told = json.loads(line)
        if "error" in told:
            failures.append((told["error"], told.get("hint", "")))
        elif "done" in told:
            done(told["done"])
        elif "step" in told:
            op.step(told["step"], topic="build", layer=told.get("layer"))

    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {
        **base_environment(),
        "PYTHONPATH": paths,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }
    argv = (*_bound(), *enter_argv(), sys.executable, "-m", "nxc_debian.inside", str(job_file))
    try:
        op.run(argv, env=environment, timeout=LONGEST, on_line=hear, cwd=Path("/"))
    except CommandError as error:
        if failures:
            message, hint = failures[0]
            raise (
                no_space(folder) if "No space left on device" in message else BuildError(message, hint=hint)
            ) from error
        raise _not_started(error, last) from error


def _bound() -> tuple[str, ...]:
    """Words that let the namespace die with nxc: unshare(1) does not heed the SIGTERM that others get."""
    setpriv = "/usr/bin/setpriv"
    return (setpriv, "--pdeathsig", "KILL") if Path(setpriv).exists() else ()


def _not_started(error: CommandError, last: list[str]) -> BuildError:
    words = "\n".join(f"  {line}" for line in last[-8:])
    refused = any("unshare" in line or "uid_map" in line or "newuidmap" in line for line in last)
    hint = "user namespaces must be allowed: `nxc doctor` says what is in the way" if refused else ""
    ended = "was ended" if (error.code or 0) < 0 else "failed"
    return BuildError(f"the build's own process {ended}:\n{words or error.message}", hint=hint)
