"""What is asked of a base, and what it makes: compositions, kinds and builds. Nothing here acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NewType, TypeAlias

from attrs import field, frozen

Json: TypeAlias = "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]"

Kind = NewType("Kind", str)
"""What files an artifact holds. An open vocabulary: a name fixes the keys of ``Artifact.files``."""

LAYERS = Kind("layers")
"""Ordered layers per role, each a tar and a squashfs; with a kernel, also what boots from them."""
ROOTFS_TAR = Kind("rootfs-tar")
"""``<role>.tar``: one whole root file system per role."""
RAMDISK = Kind("ramdisk")
"""``kernel`` and ``initrd``: everything in memory, the role chosen by ``RoleBoot.cmdline``."""
CLOSURE = Kind("closure")
"""Store paths of a Nix store, one system per role."""
NFS_STORE = Kind("nfs-store")
"""A small ramdisk whose system lives on a shared Nix store."""

SeedRoute: TypeAlias = Literal["mount", "fw_cfg", "cpio", "push"]


@frozen(kw_only=True)
class Guest:
    """What a flavour needs the system inside to provide; a base translates it."""

    init: bool = True
    ssh: bool = True
    console: str | None = None
    kernel: bool = True
    kernel_modules: tuple[str, ...] = ()
    firmware: bool = False
    root: Literal["container", "tmpfs", "ext4"] = "tmpfs"
    seed: SeedRoute = "mount"
    lean: bool = False
    share: Literal["9p", "virtiofs"] | None = None
    """How a guest of kind ``closure`` reaches the host's store."""


@frozen(kw_only=True)
class Need:
    """A composition's option that asks something of the platform, such as ``kernel`` or ``mount``."""

    need: str
    option: str


@frozen(kw_only=True)
class Container:
    """What a role asks of whatever runs its nodes as containers; machines of their own pass it by.

    ``ports`` and ``volumes`` are spelled as docker does, ``memory`` as ``512m``; ``sysctls`` are those that
    every container has of its own.
    """

    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    memory: str | None = None
    cpus: float | None = None
    pids: int | None = None
    sysctls: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Role:
    """One kind of machine; ``hosts`` names its nodes, or ``count`` says how many there are."""

    name: str
    count: int = 1
    hosts: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    container: Container = Container()

    def names(self) -> tuple[str, ...]:
        """Host names of this role: the given ones, else the role's own, numbered from 1 when several."""
        if self.hosts:
            return self.hosts
        if self.count == 1:
            return (self.name,)
        return tuple(f"{self.name}{n}" for n in range(1, self.count + 1))


@frozen(kw_only=True)
class Composition:
    """What a composition file says that concerns nxc itself; the rest stays with the base."""

    name: str
    base: str
    source: Path
    roles: tuple[Role, ...]
    test_script: str | None = None
    warnings: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(factory=dict)
    """Paths that the test script names and that are elsewhere on this machine, as those of Nix."""


@frozen(kw_only=True)
class Layer:
    """One content-keyed slice of a root file system. ``digest`` is the sha256 of the tar."""

    name: str
    digest: str
    tar: Path
    squashfs: Path | None = None


@frozen(kw_only=True)
class RoleBoot:
    """How one role starts: its layers, lowest first, and where a kernel boots, what the loader needs."""

    layers: tuple[str, ...] = ()
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    init: str | None = None


@frozen(kw_only=True)
class Artifact:
    """What a base made: the files of a kind, and per role how to start it.

    ``layers`` maps the names in ``RoleBoot.layers`` to the layers.
    """

    kind: Kind
    files: Mapping[str, Path] = field(factory=dict)
    roles: Mapping[str, RoleBoot] = field(factory=dict)
    layers: Mapping[str, Layer] = field(factory=dict)

    def paths(self) -> tuple[Path, ...]:
        """Every file this artifact needs, so that cleaning keeps them and a build knows they are there."""
        found = list(self.files.values())
        for boot in self.roles.values():
            found += [path for path in (boot.kernel, boot.initrd) if path is not None]
        for layer in self.layers.values():
            found += [path for path in (layer.tar, layer.squashfs) if path is not None]
        return tuple(dict.fromkeys(found))


@frozen(kw_only=True)
class BuildRequest:
    """What is asked of a base."""

    composition: Composition
    kind: Kind
    guest: Guest
    system: str = "x86_64-linux"
    jobs: int = 2


@frozen(kw_only=True)
class Build:
    """A finished build. ``id`` digests what was made, the guest included; ``fingerprint`` its sources.

    ``reason`` says why this base was taken.
    """

    id: str
    composition: Composition
    base: str
    guest: Guest
    artifact: Artifact
    fingerprint: str = ""
    reason: str = ""
    options: Mapping[str, Json] = field(factory=dict)
