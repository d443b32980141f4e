"""Giving guests a folder of this machine: by QEMU itself (9p), or by a virtiofsd beside each machine."""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from nxc_core import CommandError, DeployError, NxcError, Operation, PreflightError, process
from nxc_core.model import Finding, Resource
from nxc_vm import qemu
from nxc_vm.media import Share

How = Literal["9p", "virtiofs"]

DAEMON = "vm.virtiofsd"
PROGRAM = "virtiofsd"
PACKAGE = "virtiofsd (Debian 12: qemu-system-common)"
PLACES = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd")
START_TIMEOUT = 60.0
NAMESPACE = ("--mount", "--propagation", "private")
_SEEN_AT = "/mnt"
_SERVE = f"""
set -e
folder=$1; shift
mount --bind "$folder" {_SEEN_AT}
mount -o remount,bind,ro {_SEEN_AT}
mount -t tmpfs -o mode=755 nxc /var
exec "$@"
"""
"""virtiofsd itself can neither serve read-only (that of QEMU 7) nor leave /var/run alone."""


def choose(wanted: Literal["auto", "9p", "virtiofs"]) -> How:
    """Return how guests get the store. ``auto`` takes 9p, which needs no daemon, unless QEMU has it not."""
    if wanted != "auto":
        return wanted
    return "9p" if has_9p() or find_daemon() is None else "virtiofs"


@functools.cache
def has_9p() -> bool:
    """Whether this machine's QEMU, where there is one, was built with 9p."""
    try:
        return "virtio-9p-pci" in process.run((qemu.PROGRAM, "-device", "help"), timeout=60).text
    except NxcError:
        return True


def find_daemon() -> str | None:
    """Return the path of virtiofsd; distributions keep it out of the way."""
    return shutil.which(PROGRAM) or next((place for place in PLACES if os.access(place, os.X_OK)), None)


def check_share(wanted: Literal["auto", "9p", "virtiofs"]) -> Iterator[Finding]:
    """Say how a NixOS guest would get the store."""
    how = choose(wanted)
    try:
        if how == "virtiofs":
            detail = f"virtiofs, by {find_daemon()}"
            require_daemon()
        else:
            detail = "9p, by QEMU itself"
            if not has_9p():
                raise PreflightError("this QEMU has no 9p", hint=f"install {PACKAGE}, for virtiofs")
    except NxcError as error:
        yield Finding(
            ok=False, subject="store share", detail=error.message, hint=error.hint, advice=wanted == "auto"
        )
        return
    yield Finding(ok=True, subject="store share", detail=detail)


def require_daemon() -> None:
    """Raise PreflightError where virtiofsd cannot serve here."""
    serve_argv(Path("/"))


def serve_argv(folder: Path) -> tuple[str, ...]:
    """Return words that serve a folder read-only, but for the socket. Raises PreflightError.

    An ordinary user's virtiofsd is root of a user namespace, and needs subordinate ids for that.
    """
    daemon = find_daemon()
    if daemon is None:
        raise PreflightError(f"{PROGRAM} is not installed", hint=f"install {PACKAGE}, or use vm.share=9p")
    namespace: tuple[str, ...] = NAMESPACE
    if os.geteuid() != 0:
        process.find_program("newuidmap", package="uidmap")
        namespace = ("--user", "--map-auto", "--map-root-user", *NAMESPACE)
    enter = (process.find_program("unshare", package="util-linux"), *namespace)
    return (*enter, "sh", "-c", _SERVE, "sh", str(folder), daemon, *_folder_words(enter, daemon))


def _folder_words(enter: Sequence[str], daemon: str) -> tuple[str, ...]:
    """Say what to serve. QEMU's own virtiofsd has QEMU's version; the later one, in Rust, began at 1.

    Asked in the namespace, so that what keeps it from running there is told early.
    """
    try:
        told = process.run((*enter, daemon, "--version"), timeout=60).text
    except CommandError as error:
        raise PreflightError(error.message, hint="use 9p: -o vm.share=9p") from error
    found = re.search(r"virtiofsd\D+(\d+)\.", told)
    if found and int(found[1]) >= 5:
        return ("-o", f"source={_SEEN_AT},cache=always")
    return (f"--shared-dir={_SEEN_AT}", "--cache=always")


def serve(share: Share, id: str, node: str, log: Path, op: Operation) -> None:
    """Start the daemon of one machine and wait until QEMU can connect; each serves one QEMU, once.

    Raises DeployError with its own words when it ends instead.
    """
    if share.how != "virtiofs":
        return
    socket = share.socket
    assert socket is not None
    daemon = Resource(kind=DAEMON, id=id)
    stop(daemon, socket, op)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    op.spawn(DAEMON, id, (*serve_argv(share.folder), f"--socket-path={socket}"), log=log, node=node)
    op.wait(f"virtiofsd of {node}", lambda: _listens(socket) or not op.alive(daemon), timeout=START_TIMEOUT)
    if not op.alive(daemon):
        said = last_words(log) or "it said nothing"
        raise DeployError(f"virtiofsd does not start: {said}", hint="use 9p: -o vm.share=9p")


def _listens(socket: Path) -> bool:
    """Whether somebody listens; trying it would use up the one connection that a daemon takes."""
    for line in Path("/proc/net/unix").read_text(errors="replace").splitlines():
        words = line.split(maxsplit=7)
        if words[-1] == str(socket) and words[3] == "00010000":
            return True
    return False


def last_words(log: Path) -> str:
    """Return the last line that a daemon wrote."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1] if lines else ""


def stop(resource: Resource, socket: Path, op: Operation) -> bool:
    """End a daemon, which ends with its QEMU anyway; true when it is gone for sure."""
    gone = op.stop(resource)
    for path in (socket, socket.with_name(f"{socket.name}.pid")):
        path.unlink(missing_ok=True)
    return gone
