"""Which layers a composition needs: what goes into each, and its key."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from nxc_core.errors import BuildError
from nxc_core.model import Guest
from nxc_debian.aterm import Derivation
from nxc_debian.debs import deb_path
from nxc_debian.files import digest
from nxc_debian.lock import Package

IGNORED = (
    "needs",
    "container",
    "warnings",
    "failedAssertions",
    "kernelParams",
    "kernelModules",
    "firewall",
    "packages",
)
"""What a role's document says that no file of its layer depends on."""


@frozen(kw_only=True)
class Spec:
    """One layer to be: named by its content's key, so that equal ones are one. ``task`` is for the worker."""

    make: str
    title: str
    key: str
    packages: tuple[Package, ...] = ()
    task: Mapping[str, Any] = field(factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The layer's name in images and in the cache."""
        return f"{self.make}-{self.key[:16]}"


@functools.cache
def recipe_digest() -> str:
    """Digest the code that decides what is in a layer."""
    here = Path(__file__).parent
    paths = [*sorted((here / "inside").glob("*.py")), here / "tars.py"]
    return digest([path.read_text() for path in paths])


def _key(make: str, *values: Any) -> str:
    return digest([make, recipe_digest(), *values])


def _contents(packages: Sequence[Package]) -> list[str]:
    return sorted(found.sha256 for found in packages)


def base_spec(packages: Sequence[Package], *, suite: str, architecture: str, epoch: int) -> Spec:
    """The base system of a release, made of these packages."""
    return Spec(
        make="base",
        title="the base system",
        key=_key("base", suite, architecture, epoch, _contents(packages)),
        packages=tuple(packages),
        task={"packages": sorted(found.name for found in packages), "architecture": architecture},
    )


def kernel_spec(base: Spec, packages: Sequence[Package], cache: Path, without: Sequence[str] = ()) -> Spec:
    """A kernel and its modules, but for those in the folders that it is to be ``without``."""
    release = packages[0].name.removeprefix("linux-image-")
    return Spec(
        make="kernel",
        title=f"the kernel {release}",
        key=_key("kernel", base.key, _contents(packages), sorted(without)),
        packages=tuple(packages),
        task={
            "release": release,
            "debs": [str(deb_path(cache, found)) for found in packages],
            "without": sorted(without),
        },
    )


def guest_spec(
    base: Spec,
    guest: Guest,
    manifest: Path,
    used: frozenset[str],
    cache: Path,
    firmware: Sequence[Package] = (),
    busybox: Package | None = None,
) -> Spec:
    """nxc's own part of every system. What a role uses (``used``) is not masked.

    ``busybox`` is for guests whose cards may ask for addresses (DHCP).
    """
    listed = read_manifest(manifest)
    given = {name for name, has in (("ssh", guest.ssh), ("dhcp", busybox is not None)) if has}
    files: dict[str, dict[str, str]] = {}
    folders: dict[str, str] = {}
    wants: dict[str, list[str]] = {}
    for entry in listed["files"]:
        if entry.get("needs") not in {None, *given}:
            continue
        text = (manifest.parent / entry["source"]).read_text()
        files[entry["target"]] = {"text": text, "mode": entry["mode"]}
    for entry in listed.get("directories", []):
        folders[entry["target"]] = entry["mode"]
    for entry in listed["enable"]:
        if entry.get("needs") in {None, *given}:
            wants.setdefault(entry["target"], []).append(entry["unit"])
    mask = set(listed["mask_when_lean"] if guest.lean else ())
    mask |= set(listed["mask_in_container"] if guest.root == "container" else ())
    mask -= set(listed["hardware"]["units"] if is_hardware(guest) else ())
    task: dict[str, Any] = {"files": files, "folders": folders, "wants": wants, "mask": sorted(mask - used)}
    task["firmware"] = listed["hardware"]["firmware"]
    without = set(listed["generators_not_when_lean"] if guest.lean and not is_hardware(guest) else ())
    without |= set(listed["generators_not_in_container"] if guest.root == "container" else ())
    task["without_generators"] = sorted(without)
    return Spec(
        make="guest",
        title="nxc's own part",
        key=_key("guest", base.key, task, _contents(firmware), busybox.sha256 if busybox else None),
        packages=(*firmware, *([busybox] if busybox else [])),
        task={
            **task,
            "debs": [str(deb_path(cache, found)) for found in firmware],
            "busybox": str(deb_path(cache, busybox)) if busybox else None,
        },
    )


def is_hardware(guest: Guest) -> bool:
    """Whether a guest runs on machines that somebody else has put together."""
    return guest.kernel and (guest.firmware or guest.seed in ("cpio", "push"))


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the list of the guest's files."""
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BuildError(f"{path} cannot be read: {error}", hint="reinstall nxc") from error
    return value


def used_units(systems: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Name the units that some role writes, starts or orders."""
    found: set[str] = set()
    for system in systems.values():
        units = system.get("units", {})
        found |= {*units.get("files", {}), *units.get("dropins", {}), *units.get("enable", [])}
        for kind in ("wants", "requires"):
            for target, names in units.get(kind, {}).items():
                found |= {target, *names}
        text = " ".join([*units.get("files", {}).values(), *units.get("dropins", {}).values()])
        found |= {word for line in text.split("\n") for word in line.partition("=")[2].split() if "." in word}
    return frozenset(found)


def role_spec(
    base: Spec,
    role: str,
    system: Mapping[str, Any],
    packages: Sequence[Package],
    derivations: Sequence[Derivation],
    cache: Path,
) -> Spec:
    """What a role has beyond the base. Its name is not part of the key: equal roles share a layer."""
    kept = {name: value for name, value in system.items() if name not in (*IGNORED, "derivations")}
    # A file of the composition may be mentioned by a script only.
    nested = {source for found in derivations for source in found.sources}
    kept["sources"] = sorted({*kept.get("sources", ()), *nested})
    made = [{"out": found.out, "kind": found.kind, "env": dict(found.env)} for found in derivations]
    return Spec(
        make="role",
        title=f"role {role}",
        key=_key("role", base.key, kept, _contents(packages), [found.path for found in derivations]),
        packages=tuple(packages),
        task={
            "system": kept,
            "derivations": made,
            "install": [str(deb_path(cache, found).relative_to(cache / "debs")) for found in packages],
        },
    )
