"""What ``nxc doctor`` says of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nxc_core import CommandError, ConfigError, NxcError, process
from nxc_core.model import Finding
from nxc_kexec.machines import read_machines
from nxc_kexec.options import KexecOptions

OLDEST = (7, 6)
"""The first OpenSSH with RemoteCommand, which must be switched off."""
INSTALL = "install the Debian package openssh-client"


def check_here(options: KexecOptions) -> Iterator[Finding]:
    """Say whether ssh is here and new enough, and the machine file can be read. Never raises."""
    yield _check_ssh()
    yield _check_machines(options)
    if options.known_hosts and not Path(options.known_hosts).is_file():
        yield Finding(
            ok=False,
            subject="known_hosts",
            detail=f"there is no file {options.known_hosts} (kexec.known_hosts)",
            hint="name a file of host keys (`ssh-keyscan HOST` prints them), or leave the option out",
        )
    if options.shared and not Path(options.shared).is_dir():
        yield Finding(
            ok=False,
            subject="shared",
            detail=f"there is no folder {options.shared} on this machine (kexec.shared)",
            hint="name one that this machine and all others see under the same path, or leave the option out",
        )


def _check_ssh() -> Finding:
    try:
        told = process.run((process.find_program("ssh", package="openssh-client"), "-V"), timeout=20)
    except CommandError as error:
        return Finding(ok=False, subject="ssh", detail=error.message, hint=f"re{INSTALL}")
    except NxcError as error:
        return Finding(ok=False, subject="ssh", detail=error.message, hint=error.hint or INSTALL)
    said = (told.error_text or told.text).strip()
    version = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return Finding(ok=False, subject="ssh", detail=said, hint=f"nxc needs OpenSSH {oldest} or later")
    return Finding(ok=True, subject="ssh", detail=said.partition(",")[0])


def _check_machines(options: KexecOptions) -> Finding:
    if not options.machines:
        return Finding(
            ok=True, subject="machines", detail="none are named yet: `nxc start -m host,host`, or a file"
        )
    try:
        found = read_machines(options.machines, Path())
    except ConfigError as error:
        return Finding(ok=False, subject="machines", detail=error.message, hint=error.hint)
    return Finding(ok=True, subject="machines", detail=f"{len(found)} are named")
