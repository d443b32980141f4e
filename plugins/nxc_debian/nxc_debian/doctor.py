"""Whether this machine can build: one finding for each thing that a build needs."""

from __future__ import annotations

import getpass
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nxc_core.errors import CommandError, NxcError, PreflightError
from nxc_core.model import Finding
from nxc_core.operation import Operation
from nxc_debian import evaluation, namespace, sources as apt_sources
from nxc_debian.options import DebianOptions

MMDEBSTRAP = (1, 2)
MKSQUASHFS = (4, 5)


def findings(options: DebianOptions, op: Operation) -> Sequence[Finding]:
    """List what is there and what is not; changes nothing."""
    found = [*_programs(op)]
    checks: tuple[Callable[[], list[Finding]], ...] = (lambda: _mirror(options), lambda: _namespaces(op))
    for check in checks:
        try:
            found += check()
        except (NxcError, OSError) as error:
            hint = error.hint if isinstance(error, NxcError) else ""
            found.append(Finding(ok=False, subject="debian", detail=str(error), hint=hint))
    return found


def _programs(op: Operation) -> Iterator[Finding]:
    for name, package, least in (
        ("nix-instantiate", "nix-bin", evaluation.MINIMUM),
        ("mmdebstrap", "mmdebstrap", MMDEBSTRAP),
        ("mksquashfs", "squashfs-tools", MKSQUASHFS),
        ("apt-get", "apt", (2, 0)),
        ("dpkg-deb", "dpkg", (1, 20)),
        ("unshare", "util-linux", (2, 38)),
    ):
        yield _program(name, package, least, op)


def require(op: Operation) -> None:
    """Raise PreflightError for the first program that is missing or too old."""
    for found in _programs(op):
        if not found.ok:
            raise PreflightError(f"{found.subject} {found.detail}", hint=found.hint)


def _program(name: str, package: str, least: tuple[int, int], op: Operation) -> Finding:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        return Finding(
            ok=False, subject=name, detail="is not installed", hint=f"install the Debian package {package}"
        )
    flag = "-version" if name == "mksquashfs" else "--version"
    try:
        version = read_version(op.run((path, flag), timeout=20, check=False).text)
    except (CommandError, PreflightError) as error:
        return Finding(
            ok=False, subject=name, detail=str(error), hint=f"reinstall the Debian package {package}"
        )
    shown, needed = ".".join(map(str, version)), ".".join(map(str, least))
    if version < least:
        return Finding(
            ok=False, subject=name, detail=f"{shown} is too old", hint=f"{needed} or later is needed"
        )
    return Finding(ok=True, subject=name, detail=shown)


def read_version(text: str) -> tuple[int, int]:
    """Return the first version that a program's words hold."""
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _mirror(options: DebianOptions) -> list[Finding]:
    suite = options.suite or apt_sources.machine_release()
    found = apt_sources.choose(options.mirror, suite)
    if not found:
        return [
            Finding(
                ok=False,
                subject="Debian mirror",
                detail=f"the machine's apt sources offer no Debian {suite}",
                hint="give one: -o debian.mirror=ADDRESS",
            )
        ]
    uris = dict.fromkeys(uri for source in found for uri in source.uris)
    return [Finding(ok=True, subject="Debian mirror", detail=f"{suite} from {', '.join(uris)}")]


def _namespaces(op: Operation) -> list[Finding]:
    if os.geteuid() != 0:
        for program in ("newuidmap", "newgidmap"):
            if shutil.which(program) is None:
                return [
                    Finding(
                        ok=False,
                        subject=program,
                        detail="is not installed",
                        hint="install the package uidmap",
                    )
                ]
        namespace.check_ranges()
    ended = op.run((*namespace.enter_argv(), "true"), timeout=30, check=False)
    if ended.code == 0:
        return [Finding(ok=True, subject="namespaces", detail=f"work for {getpass.getuser()}")]
    return [
        Finding(
            ok=False,
            subject="namespaces",
            detail=ended.error_text.strip().splitlines()[-1] if ended.error_text.strip() else "are refused",
            hint=_why_refused(),
        )
    ]


def _why_refused() -> str:
    switches: tuple[tuple[str, Callable[[str], bool], str], ...] = (
        (
            "kernel/unprivileged_userns_clone",
            lambda value: value == "0",
            "sysctl kernel.unprivileged_userns_clone=1",
        ),
        ("user/max_user_namespaces", lambda value: value == "0", "sysctl user.max_user_namespaces=10000"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            lambda value: value == "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    )
    for name, forbids, way_out in switches:
        path = Path("/proc/sys") / name
        if path.exists() and forbids(path.read_text().strip()):
            return f"as root: {way_out}"
    return "in a container, it must be allowed to make namespaces and mounts"
