"""Looking at the machine: what stands in the way, and what to do about it."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from nxc_core import paths, spawned, state, sweeping
from nxc_core.errors import Interrupted, NxcError, PreflightError
from nxc_core.model import Finding, Status
from nxc_core.preflight import check_drivers
from nxc_core.projects import projects
from nxc_core.session import Session

MACHINE = "this machine"
LEAST_PYTHON = (3, 11)
LEAST_FREE = 2048
"""MiB that a first build and a small deployment ask for."""


@frozen(kw_only=True)
class Diagnosis:
    """All findings, and for which flavour and base they decide."""

    findings: tuple[tuple[str, Finding], ...]
    flavour: str
    base: str

    def sections(self) -> Mapping[str, list[Finding]]:
        """Findings by what they are about."""
        found: dict[str, list[Finding]] = {}
        for section, finding in self.findings:
            found.setdefault(section, []).append(finding)
        return found

    def in_the_way(self) -> list[Finding]:
        """Findings that keep the chosen flavour or base from working."""
        deciding = (MACHINE, self.flavour, self.base)
        return [f for section, f in self.findings if section in deciding and not f.ok and not f.advice]

    def as_json(self) -> dict[str, Any]:
        """What a program reads."""
        told = [
            {
                "section": section,
                "ok": finding.ok,
                "advice": finding.advice,
                "subject": finding.subject,
                "detail": finding.detail,
                "hint": finding.hint,
            }
            for section, finding in self.findings
        ]
        return {
            "schema": "nxc.doctor/1",
            "ok": not self.in_the_way(),
            "flavour": self.flavour,
            "base": self.base,
            "findings": told,
        }


def examine(
    session: Session, *, flavour: str, base: str, options: sweeping.Options | None = None
) -> Diagnosis:
    """Look at the machine and ask every driver, each with its options. Changes nothing."""
    findings = [(MACHINE, finding) for finding in _examine_machine(session, options)]
    for name, known, what in (
        (flavour, session.plugins.flavours, "flavour"),
        (base, session.plugins.bases, "base"),
    ):
        if name not in known:
            told = f"there are: {', '.join(known) or 'none'}"
            findings.append(
                (
                    name,
                    Finding(
                        ok=False, subject=f"{what} {name}", detail="not installed", hint=f"install it; {told}"
                    ),
                )
            )
    try:
        findings += check_drivers(session, options=options)
    except NxcError as error:
        findings.append(
            (MACHINE, Finding(ok=False, subject="drivers", detail=error.message, hint=error.hint))
        )
    return Diagnosis(findings=tuple(findings), flavour=flavour, base=base)


def _examine_machine(session: Session, options: sweeping.Options | None) -> Iterator[Finding]:
    yield examine_platform()
    yield examine_python()
    yield examine_clock()
    for what, folder in (("cache", paths.cache_dir()), ("project", session.workspace.root)):
        yield examine_folder(what, folder)
        yield examine_disk(what, folder)
    yield examine_disk("temporary files", Path(tempfile.gettempdir()), least=256)
    yield examine_runtime()
    yield from examine_leftovers(session)
    yield from examine_platforms(session, options)


def examine_platform(system: str | None = None, machine: str | None = None) -> Finding:
    """Whether nxc builds and runs here at all."""
    found = (system or platform.system(), machine or platform.machine())
    return Finding(
        ok=found == ("Linux", "x86_64"),
        subject="system",
        detail=f"{found[0]} on {found[1]}",
        hint="use an amd64 Debian 12 machine (or later), a virtual machine of one, or WSL 2",
    )


def check_platform() -> None:
    """Refuse to go on where nxc cannot build; raises PreflightError that names what to use."""
    finding = examine_platform()
    if not finding.ok:
        raise PreflightError(
            f"nxc builds and runs amd64 Linux only; this is {finding.detail}", hint=finding.hint
        )


def examine_python(version: tuple[int, ...] | None = None) -> Finding:
    """Whether this Python is new enough."""
    found = version or tuple(sys.version_info[:3])
    least = ".".join(map(str, LEAST_PYTHON))
    return Finding(
        ok=found >= LEAST_PYTHON,
        subject="Python",
        detail=".".join(map(str, found)),
        hint=f"install Python {least} or later and set nxc up with it",
    )


def examine_clock(now: float | None = None) -> Finding:
    """Whether the clock can be right: nxc's own files are older than now."""
    now = time.time() if now is None else now
    newest = max(path.stat().st_mtime for path in (Path(__file__), Path(state.__file__)))
    stamp = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    return Finding(
        ok=now > newest - 86400,
        subject="clock",
        detail=stamp if now > newest - 86400 else f"{stamp} is before nxc was installed",
        hint="set it (timedatectl set-ntp true): apt refuses mirrors and guests start with a wrong date",
    )


def examine_folder(what: str, folder: Path) -> Finding:
    """Whether a folder that nxc writes to is ours to write, or can be made."""
    place = _existing(folder)
    detail, hint = str(folder), ""
    if folder.exists() and folder.stat().st_uid != os.geteuid():
        detail, hint = f"{folder} belongs to someone else", f"chown -R {os.geteuid()} {folder}, or remove it"
    elif not place.is_dir():
        detail, hint = f"{place} is not a folder", "move it away"
    elif not os.access(place, os.W_OK | os.X_OK) or _is_read_only(place):
        detail, hint = f"{place} cannot be written", "use a folder of yours (XDG_CACHE_HOME moves the cache)"
    return Finding(ok=not hint, subject=f"{what} folder", detail=detail, hint=hint)


def _is_read_only(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    return True


def examine_disk(what: str, folder: Path, *, least: int = LEAST_FREE) -> Finding:
    """Whether there is room for a build."""
    place = _existing(folder)
    free = shutil.disk_usage(place).free >> 20
    return Finding(
        ok=free >= least,
        subject=f"room for {what}",
        detail=f"{free} MiB free on {place}",
        hint=f"free some (at least {least} MiB): `nxc clean` shows what is kept; XDG_CACHE_HOME moves it",
        advice=True,
    )


def examine_runtime() -> Finding:
    """Whether the private folder for sockets can be used."""
    try:
        return Finding(ok=True, subject="runtime folder", detail=str(paths.runtime_dir()))
    except NxcError as error:
        return Finding(ok=False, subject="runtime folder", detail=error.message, hint=error.hint)
    except OSError as error:
        return Finding(
            ok=False,
            subject="runtime folder",
            detail=str(error),
            hint="set XDG_RUNTIME_DIR to a folder of yours",
        )


def examine_leftovers(session: Session) -> Iterator[Finding]:
    """Processes that nxc started and that no deployment accounts for."""
    live = {id for project in {*projects(), session.workspace.project} for id in _live(project)}
    left: dict[str, list[str]] = {}
    for pid, token in sorted(spawned.find_all_spawned("").items()):
        deployment = token.split("/", 1)[0]
        if deployment not in live and _is_ours(pid):
            left.setdefault(deployment, []).append(str(pid))
    for deployment, pids in left.items():
        yield Finding(
            ok=False,
            subject=f"processes of {deployment}",
            detail="no project of yours knows it as live",
            hint=f"`nxc down {deployment}` in its project, or end them: kill {' '.join(pids)}",
            advice=True,
        )
    if not left:
        yield Finding(ok=True, subject="leftover processes", detail="none")


def examine_platforms(session: Session, options: sweeping.Options | None = None) -> Iterator[Finding]:
    """What flavours find on their platforms that nothing uses any more."""
    try:
        left = list(sweeping.find_leftovers(session, options))
    except Interrupted:
        raise
    except NxcError:
        return  # without a runtime folder nobody can be asked; that has a line of its own
    for flavour, found in left:
        names = ", ".join(f"{one.what} {one.id}" for one in found[:3])
        yield Finding(
            ok=False,
            subject=f"leftovers on {flavour}",
            detail=names if len(found) <= 3 else f"{names} and {len(found) - 3} more",
            hint="`nxc clean --yes` removes them",
            advice=True,
        )


def _live(project: Path) -> Iterator[str]:
    workspace = state.Workspace(project)
    for id in workspace.deployments():
        try:
            if workspace.load(id).status is not Status.STOPPED:
                yield id
        except (NxcError, OSError):
            yield id  # unreadable: it may well live


def _is_ours(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
    return False


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
