"""What must not be in a layer: caches, logs, keys, ids, and units that start though nobody asked."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

EMPTIED = (
    "var/log",
    "var/cache/ldconfig",
    "var/cache/man",
    "var/cache/fontconfig",
    "var/lib/systemd/random-seed",
    "var/lib/dhcp",
    "tmp",
    "run",
    "var/tmp",
)
"""Folders that stay, with their subfolders, but lose their files."""
MOUNTED = ("tmp", "run")
REMOVED = (
    "etc/ssh/ssh_host_*",
    "etc/*-",
    "etc/.pwd.lock",
    "etc/resolv.conf",
    "etc/hostname",
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "var/cache/apt/*",  # made again by apt, which gives them to one user or another
    "var/lib/apt/lists/*",
    "var/cache/debconf/*-old",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock*",
    "var/lib/apt/extended_states",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "usr/sbin/policy-rc.d",
    "root/.bash_history",
    "root/.wget-hsts",
    "root/.cache",
)


def scrub(root: Path, *, mounted: bool = False) -> None:
    """Remove from a tree what differs between two builds or must be unique to a machine."""
    for name in EMPTIED:
        if not (mounted and name in MOUNTED):
            empty(root / name)
    for pattern in REMOVED:
        for path in root.glob(pattern):
            remove(path)
    machine_id = root / "etc/machine-id"
    machine_id.unlink(missing_ok=True)
    machine_id.write_text("")
    machine_id.chmod(0o444)


def empty(folder: Path) -> None:
    """Remove the files below a folder, keeping its subfolders."""
    if not folder.is_dir() or folder.is_symlink():
        folder.unlink(missing_ok=True)
        return
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            path.unlink()


def remove(path: Path) -> None:
    """Remove a file or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def enabled_links(root: Path) -> set[str]:
    """List the links by which units start: those of systemctl enable, and of old init scripts."""
    found = set()
    for base in (root / "etc/systemd/system", root / "etc/systemd/user"):
        for path in base.rglob("*") if base.is_dir() else ():
            if path.is_symlink() and str(path.readlink()) != "/dev/null":
                found.add(str(path.relative_to(root)))
    for path in root.glob("etc/rc[0-6S].d/S*"):
        if not (root / "usr/lib/systemd/system" / f"{path.name[3:]}.service").exists():
            found.add(str(path.relative_to(root)))  # with a unit of that name the script is never looked at
    return found


def disable(root: Path, links: Iterable[str]) -> None:
    """Remove such links; an init script's becomes one that stops it, as update-rc.d does."""
    for name in links:
        path = root / name
        if name.startswith("etc/rc"):
            path.rename(path.with_name("K" + path.name[1:]))
        else:
            path.unlink(missing_ok=True)
