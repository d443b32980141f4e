"""Whether this machine can build NixOS systems: one finding for each thing that a build needs."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from nxc_core.errors import CommandError, NxcError
from nxc_core.model import Finding
from nxc_core.operation import Operation
from nxc_nixos import nix as asking, stores
from nxc_nixos.nix import Nix
from nxc_nixos.options import NixosOptions
from nxc_nixos.stores import Store

LEAST_FREE = 8192
"""MiB that a first NixOS system with its build asks for."""
PATIENCE = 5.0
"""Seconds that a substituter or a daemon is given to answer."""


def findings(options: NixosOptions, op: Operation) -> Sequence[Finding]:
    """List what is there and what is not; changes nothing, never raises."""
    try:
        nix = asking.find(options, op)
    except NxcError as error:
        return [Finding(ok=False, subject="nix", detail=error.message, hint=error.hint)]
    version = ".".join(map(str, nix.version))
    found = [Finding(ok=True, subject="nix", detail=f"{version} in {nix.programs}")]
    for check in (_features, _store, _namespaces, _room, _git, _substituters):
        try:
            found += check(nix, op)
        except (NxcError, OSError, ValueError) as error:
            hint = error.hint if isinstance(error, NxcError) else ""
            found.append(Finding(ok=False, subject=check.__name__[1:], detail=str(error), hint=hint))
    return found


def _features(nix: Nix, op: Operation) -> Iterator[Finding]:
    """Whether flakes and the new commands can be had, in a store that keeps nothing."""
    argv = (nix.program("nix"), "eval", "--json", "--impure", "--expr", "builtins ? getFlake")
    ended = op.run(argv, env={**nix.environment, "NIX_REMOTE": "dummy://"}, timeout=30, check=False)
    ok = ended.code == 0 and ended.text.strip() == "true"
    last = ended.error_text.strip().splitlines()[-1:] or ["are refused"]
    yield Finding(
        ok=ok,
        subject="flakes",
        detail="can be used" if ok else last[0],
        hint="nix.conf: extra-experimental-features = nix-command flakes",
    )


def _store(nix: Nix, op: Operation) -> Iterator[Finding]:
    store = nix.store
    if store.is_daemon:
        yield examine_daemon(store)
        return
    refused = [place for place in (store.physical, store.state) if not _can_write(place)]
    where = f"{store.logical} in {store.physical}" if store.is_moved else store.logical
    yield Finding(
        ok=not refused,
        subject="store",
        detail=f"{refused[0]} cannot be written" if refused else f"{where} ({store.why})",
        hint="use one of your own: -o nixos.store=FOLDER",
    )


def examine_daemon(store: Store) -> Finding:
    """Whether the daemon takes a connection."""
    place = stores.socket_of(store)
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(PATIENCE)
        try:
            line.connect(str(place))
        except OSError as error:
            return Finding(
                ok=False,
                subject="store",
                detail=f"no daemon at {place}: {error.strerror or error}",
                hint="start it (systemctl start nix-daemon.socket), or use a store of your own: "
                "-o nixos.store=FOLDER",
            )
    return Finding(ok=True, subject="store", detail=f"{store.logical}, by the daemon at {place}")


def _can_write(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _namespaces(nix: Nix, op: Operation) -> Iterator[Finding]:
    """Whether an ordinary user may build in a store that lies elsewhere than its paths say."""
    if not nix.store.is_moved or nix.store.is_daemon:
        return
    argv = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "true")
    ended = op.run(argv, timeout=30, check=False)
    last = ended.error_text.strip().splitlines()[-1:] or ["are refused"]
    yield Finding(
        ok=ended.code == 0,
        subject="namespaces for builders",
        detail="work" if ended.code == 0 else last[0],
        hint="as root: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000, and "
        "kernel.apparmor_restrict_unprivileged_userns=0 where there is that",
    )


def _room(nix: Nix, op: Operation) -> Iterator[Finding]:
    place = nix.store.physical
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free >> 20
    yield Finding(
        ok=free >= LEAST_FREE,
        subject="room for the store",
        detail=f"{free} MiB free on {place}",
        hint=f"free some (at least {LEAST_FREE} MiB): nix-collect-garbage; or use another store: "
        "-o nixos.store=FOLDER",
        advice=True,
    )


def _git(nix: Nix, op: Operation) -> Iterator[Finding]:
    found = shutil.which("git")
    yield Finding(
        ok=found is not None,
        subject="git",
        detail=found or "is not installed",
        hint="install the Debian package git: flakes are read through it",
        advice=True,
    )


def _substituters(nix: Nix, op: Operation) -> Iterator[Finding]:
    if op.offline:
        return
    addresses = substituters(nix, op)
    if not addresses:
        yield Finding(
            ok=False,
            subject="binary caches",
            detail="none: all of NixOS would be built from source",
            hint="nix.conf: substituters = https://cache.nixos.org",
            advice=True,
        )
    for address, answers in zip(
        addresses, op.map(lambda one: _answers(one, nix, op), addresses), strict=True
    ):
        yield Finding(
            ok=answers,
            subject="binary cache",
            detail=address if answers else f"{address} does not answer",
            hint="without it, what it holds is built from source: check the network, or https_proxy",
            advice=True,
        )


def substituters(nix: Nix, op: Operation) -> list[str]:
    """List the binary caches that Nix is set to ask."""
    words = ("config", "show") if nix.version >= (2, 20) else ("show-config",)
    shown = op.run((nix.program("nix"), *words, "--json"), env=nix.environment, timeout=30).text
    found = json.loads(shown).get("substituters", {}).get("value", [])
    return [str(address) for address in found if str(address).startswith(("http:", "https:"))]


def _answers(address: str, nix: Nix, op: Operation) -> bool:
    """Ask a binary cache as Nix does, through proxies and all, but once and not for long."""
    brief = f"{nix.environment['NIX_CONFIG']}\ndownload-attempts = 1\nconnect-timeout = {PATIENCE:.0f}"
    argv = (nix.program("nix"), "store", "ping", "--store", address)
    try:
        return (
            op.run(argv, env={**nix.environment, "NIX_CONFIG": brief}, check=False, timeout=PATIENCE * 2).code
            == 0
        )
    except CommandError:
        return False
