"""Bringing nxc.lock up to date: only what is new is resolved, what is locked keeps its version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from nxc_core.errors import BuildError, ConfigError
from nxc_core.operation import Operation
from nxc_debian import apt as apt_tool, debs, lock
from nxc_debian.apt import Apt
from nxc_debian.files import digest, held, replace_text
from nxc_debian.lock import Lock, Package, PackageSet

BASE = (
    "?essential",
    "apt",
    "ca-certificates",
    "dbus",
    "debian-archive-keyring",
    "iproute2",
    "iputils-ping",
    "jq",
    "kmod",
    "netbase",
    "nftables",
    "openssh-server",
    "systemd-sysv",
    "tzdata",
    "udev",
    "usr-is-merged",
    "usrmerge-",  # and with it perl
)
INITRD = ("busybox-static",)
KERNELS = {"cloud": "linux-image-cloud-amd64", "generic": "linux-image-amd64"}
FIRMWARE = (
    "firmware-bnx2",
    "firmware-bnx2x",
    "firmware-intel-misc",
    "firmware-misc-nonfree",
    "firmware-myricom",
    "firmware-netxen",
    "firmware-qlogic",
    "firmware-realtek",
)
"""Of network cards, spread over the packages of several releases."""


@frozen(kw_only=True)
class Resolver:
    """What resolving needs to know: where apt and its cache are, and the lock's file."""

    cache: Path
    apt: Apt
    path: Path
    suite: str
    relock: bool = False


def load(path: Path) -> Lock | None:
    """Read a lock file; None when there is none."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="make it readable") from error
    return lock.parse(text, path)


def update(
    resolver: Resolver,
    composition: str,
    roles: Mapping[str, Sequence[str]],
    sets: Sequence[str],
    op: Operation,
) -> Lock:
    """Return a lock that holds the named sets and every role's packages; it is on disk too.

    Nothing is resolved and no list fetched when the lock has it all.
    """
    with held(
        resolver.cache / "locks" / f"lock-{_mark(resolver.path)}", op, f"resolving for {resolver.path}"
    ):
        known = None if resolver.relock else load(resolver.path)
        if known is not None and known.suite != resolver.suite:
            raise ConfigError(
                f"{resolver.path} is for {known.suite}, not {resolver.suite}",
                hint=f"`nxc build --relock` locks {resolver.suite}, or set -o debian.suite={known.suite}",
            )
        if known is not None and _covers(known, composition, roles, sets):
            return _saved(resolver, known.only_roles(composition, roles))
        apt_tool.update(resolver.apt, op, max_age=60.0 if resolver.relock else apt_tool.FRESH)
        if known is None:
            known = Lock(
                suite=resolver.suite,
                architecture=resolver.apt.architecture,
                epoch=apt_tool.release_epoch(resolver.apt),
            )
        for name in dict.fromkeys(("base", *sets)):
            known = _with_set(resolver, known, name, op)
        for role, asked in roles.items():
            known = _with_role(resolver, known, composition, role, asked, op)
        return _saved(resolver, known.only_roles(composition, roles))


def known(
    resolver: Resolver, composition: str, roles: Mapping[str, Sequence[str]], sets: Sequence[str]
) -> Lock | None:
    """Return the lock if it has all that is asked, without writing anything; else None."""
    found = None if resolver.relock else load(resolver.path)
    covered = found is not None and found.suite == resolver.suite
    return found if covered and found is not None and _covers(found, composition, roles, sets) else None


def _mark(path: Path) -> str:
    return digest(str(path.resolve()))[:12]


def _saved(resolver: Resolver, found: Lock) -> Lock:
    text = lock.render(found)
    try:
        if not resolver.path.exists() or resolver.path.read_text() != text:
            replace_text(resolver.path, text)
    except OSError as error:
        raise BuildError(
            f"{resolver.path} cannot be written: {error.strerror}",
            hint="the lock belongs beside the composition",
        ) from error
    return found


def asked_of(name: str) -> tuple[str, ...]:
    """Return what one of the project's own sets asks of apt."""
    if name == "base":
        return BASE
    if name == "initrd":
        return INITRD
    if name == "firmware":
        return FIRMWARE
    return (KERNELS[name.removeprefix("kernel-")],)


def _covers(known: Lock, composition: str, roles: Mapping[str, Sequence[str]], sets: Iterable[str]) -> bool:
    if any(
        name not in known.sets or known.sets[name].asked != tuple(sorted(asked_of(name))) for name in sets
    ):
        return False
    if "base" not in known.sets or known.sets["base"].asked != tuple(sorted(BASE)):
        return False
    locked = known.compositions.get(composition, {})
    return all(role in locked and locked[role].asked == tuple(sorted(asked)) for role, asked in roles.items())


def _with_set(resolver: Resolver, known: Lock, name: str, op: Operation) -> Lock:
    asked = asked_of(name)
    if name in known.sets and known.sets[name].asked == tuple(sorted(asked)):
        return known
    op.step(f"resolving the packages of {name}", topic="build")
    if name == "base":
        found = _resolve(resolver, known, asked, (), op)
    elif name == "firmware":
        offered = frozenset(apt_tool.names(resolver.apt, op))
        there = [package for package in asked if package in offered]
        if not there:
            op.step(
                "the mirror has no non-free firmware: some network cards may not work"
                " (with it: --relock --mirror 'deb ADDRESS SUITE main non-free-firmware')",
                topic="warning",
            )
        found = _single(resolver, known, there, op)
    elif name == "initrd":
        found = _single(resolver, known, asked, op)
    else:
        found = _kernel(resolver, known, asked[0], op)
    packed = PackageSet(asked=tuple(sorted(asked)), packages=tuple(sorted(package.name for package in found)))
    return known.with_set(name, packed, found)


def _single(resolver: Resolver, known: Lock, names: Sequence[str], op: Operation) -> list[Package]:
    """Lock packages alone, without what they depend on: their files are taken, they are not installed."""
    base = known.members(known.sets["base"])
    stanzas = debs.stanzas(resolver.cache, resolver.apt, base, op)
    found = (
        apt_tool.resolve(resolver.apt, names, op, installed=stanzas, pinned=known.packages.values())
        if names
        else []
    )
    return _packages(resolver, known, [each for each in found if each[0] in names], op)


def _kernel(resolver: Resolver, known: Lock, name: str, op: Operation) -> list[Package]:
    """Lock the kernel that a meta package stands for."""
    base = known.members(known.sets["base"])
    stanzas = debs.stanzas(resolver.cache, resolver.apt, base, op)
    found = apt_tool.resolve(resolver.apt, [name], op, installed=stanzas, pinned=known.packages.values())
    images = [each for each in found if each[0].startswith("linux-image-") and each[0] != name]
    if not images:
        raise BuildError(
            f"the mirror's {name} names no kernel", hint="give another mirror: -o debian.mirror=ADDRESS"
        )
    return _packages(resolver, known, images, op)


def _with_role(
    resolver: Resolver, known: Lock, composition: str, role: str, asked: Sequence[str], op: Operation
) -> Lock:
    before = known.compositions.get(composition, {}).get(role)
    wanted = tuple(sorted(asked))
    if before is not None and before.asked == wanted:
        return known
    base = known.members(known.sets["base"])
    new = [name for name in wanted if name not in {found.name for found in base}]
    found: list[Package] = []
    if new:
        op.step(f"resolving the packages of role {role}", topic="build")
        apt_tool.check_names(resolver.apt, new, op)
        found = _resolve(resolver, known, new, base, op)
    packed = PackageSet(asked=wanted, packages=tuple(sorted(package.name for package in found)))
    return known.with_role(composition, role, packed, found)


def _resolve(
    resolver: Resolver, known: Lock, asked: Sequence[str], installed: Sequence[Package], op: Operation
) -> list[Package]:
    stanzas = debs.stanzas(resolver.cache, resolver.apt, installed, op)
    pinned = list(known.packages.values())
    found = apt_tool.resolve(resolver.apt, asked, op, installed=stanzas, pinned=pinned)
    return _packages(resolver, known, found, op)


def _packages(
    resolver: Resolver, known: Lock, found: Sequence[tuple[str, str]], op: Operation
) -> list[Package]:
    shown = apt_tool.show(resolver.apt, found, op)
    packages = []
    for key in found:
        locked = known.packages.get(key[0])
        if locked is not None and locked.version == key[1]:
            packages.append(locked)
            continue
        if key not in shown:
            raise BuildError(
                f"the mirror's lists do not describe {key[0]} {key[1]}", hint="try again, or --relock"
            )
        if locked is not None:
            raise BuildError(
                f"{key[0]} is locked at {locked.version}, the mirror now has {key[1]} only",
                hint="`nxc build --relock` takes the mirror's present versions",
            )
        package = apt_tool.to_package(shown[key])
        debs.keep_stanza(resolver.cache, package, shown[key])
        packages.append(package)
    return packages
