"""One build: lock, layers, image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from nxc_core.cpio import Member
from nxc_core.errors import BuildError
from nxc_core.model import LAYERS, RAMDISK, ROOTFS_TAR, Artifact, Guest, Kind, Layer, RoleBoot
from nxc_core.operation import Operation
from nxc_core.paths import nix_dir
from nxc_debian import aterm, debs, images, layers, resolution, specs
from nxc_debian.apt import Apt
from nxc_debian.evaluation import store_dir
from nxc_debian.layers import LayerStore
from nxc_debian.lock import Lock
from nxc_debian.options import DebianOptions
from nxc_debian.specs import Spec

SERIAL = 20
"""Characters of a layer's digest that a virtio disk's serial number holds."""


@frozen(kw_only=True)
class Builder:
    """What a build goes by. ``systems`` maps each role to what Nix says of it."""

    cache: Path
    apt: Apt
    options: DebianOptions
    resolver: resolution.Resolver
    composition: str
    systems: Mapping[str, Mapping[str, Any]]
    kind: Kind
    guest: Guest

    @property
    def manifest(self) -> Path:
        """The list of the guest's files."""
        return nix_dir() / "guest" / "manifest.json"

    @property
    def has_kernel(self) -> bool:
        """Whether this kind and guest boot a kernel of their own."""
        if self.kind == ROOTFS_TAR:
            return self.guest.root == "ext4"
        return self.kind == RAMDISK or self.guest.kernel

    @property
    def has_initrd(self) -> bool:
        """Whether what boots is nxc's small initrd."""
        return self.has_kernel and self.kind != ROOTFS_TAR

    @property
    def has_squashfs(self) -> bool:
        """Whether the kind wants each layer compressed, too."""
        return self.kind != ROOTFS_TAR

    def build(self, op: Operation) -> Artifact:
        """Make the artifact, reusing every layer that is there."""
        derivations, asked = self._asked()
        lock = self._lock(asked, self._first_kernel, op)
        store = LayerStore(cache=self.cache, apt=self.apt, options=self.options, epoch=lock.epoch)
        base = _base(lock)
        kernel = self._kernel(lock, base) if self.has_kernel else None
        roles = {role: self._role(lock, base, role, derivations[role]) for role in self.systems}
        wanted = [base, *([kernel] if kernel else []), self._guest(lock, base), *roles.values()]
        layers.make(store, wanted, self.has_squashfs, op)
        if kernel is not None and (missing := self._missing_modules(store, kernel)):
            kernel = self._whole_kernel(store, asked, base, missing, op)
            wanted[1] = kernel
        return self._artifact(store, wanted[: -len(roles)], roles, kernel, op)

    def plan(self, op: Operation) -> list[str]:
        """Name what ``build`` would resolve, fetch and make."""
        derivations, asked = self._asked()
        lock = resolution.known(self.resolver, self.composition, asked, self._sets(self._first_kernel))
        if lock is None:
            kernel_title = ["the kernel"] if self.has_kernel else []
            titles = ["the base system", *kernel_title, "nxc's own part", *(f"role {role}" for role in asked)]
            return [f"which packages: {self.resolver.path.name} does not have all of them", *titles]
        store = LayerStore(cache=self.cache, apt=self.apt, options=self.options, epoch=lock.epoch)
        base = _base(lock)
        kernel = self._kernel(lock, base) if self.has_kernel else None
        roles = {role: self._role(lock, base, role, derivations[role]) for role in self.systems}
        common = [base, *([kernel] if kernel else []), self._guest(lock, base)]
        missing = [spec for spec in [*common, *roles.values()] if not store.is_ready(spec, self.has_squashfs)]
        wanted = {found for spec in missing if store.told(spec) is None for found in spec.packages}
        count = sum(not debs.deb_path(self.cache, found).exists() for found in wanted)
        if missing:
            fetched = [f"fetch {count} package{'s' if count > 1 else ''}"] if count else []
            return fetched + [spec.title for spec in missing]
        try:
            self._artifact(store, common, roles, kernel, op)
        except images.NotMadeError as error:
            return [str(error)]
        return []

    def _asked(self) -> tuple[dict[str, list[aterm.Derivation]], dict[str, list[str]]]:
        """Return the derivations and the packages of each role."""
        derivations = {role: self._derivations(system) for role, system in self.systems.items()}
        asked = {role: self._packages(system, derivations[role]) for role, system in self.systems.items()}
        return derivations, asked

    def _derivations(self, system: Mapping[str, Any]) -> list[aterm.Derivation]:
        return aterm.closure(system["derivations"], aterm.read_from(store_dir(self.cache)))

    def _packages(self, system: Mapping[str, Any], derivations: Sequence[aterm.Derivation]) -> list[str]:
        """Name the Debian packages of a role: its own, and those of packages mentioned inside derivations."""
        found = set(system["packages"])
        for derivation in derivations:
            if derivation.kind == "package":
                found |= set(derivation.env["debian"].split())
        return sorted(found)

    def _lock(self, asked: Mapping[str, Sequence[str]], kernel: str, op: Operation) -> Lock:
        return resolution.update(self.resolver, self.composition, asked, self._sets(kernel), op)

    def _sets(self, kernel: str) -> list[str]:
        sets = ["base"]
        sets += [f"kernel-{kernel}"] if self.has_kernel else []
        sets += ["initrd"] if self.has_initrd else []
        sets += ["firmware"] if self.guest.firmware else []
        return sets

    @property
    def _first_kernel(self) -> str:
        """The kernel that is tried first: a virtual machine needs little, and a server no sound."""
        return "generic" if specs.is_hardware(self.guest) else "cloud"

    def _kernel(self, lock: Lock, base: Spec) -> Spec:
        listed = specs.read_manifest(self.manifest)["hardware"]
        without = listed["kernel_without"] if specs.is_hardware(self.guest) else ()
        packages = lock.members(lock.sets[f"kernel-{self._first_kernel}"])
        return specs.kernel_spec(base, packages, self.cache, without)

    def _guest(self, lock: Lock, base: Spec) -> Spec:
        has_dhcp = self.has_initrd and specs.is_hardware(self.guest)
        return specs.guest_spec(
            base,
            self.guest,
            self.manifest,
            specs.used_units(self.systems),
            self.cache,
            firmware=lock.members(lock.sets["firmware"]) if self.guest.firmware else (),
            busybox=lock.members(lock.sets["initrd"])[0] if has_dhcp else None,
        )

    def _role(self, lock: Lock, base: Spec, role: str, derivations: Sequence[aterm.Derivation]) -> Spec:
        packages = lock.members(lock.compositions[self.composition][role])
        return specs.role_spec(base, role, self.systems[role], packages, derivations, self.cache)

    def _missing_modules(self, store: LayerStore, kernel: Spec) -> list[str]:
        wanted = {name.replace("-", "_") for name in self.guest.kernel_modules}
        for system in self.systems.values():
            wanted |= {name.replace("-", "_") for name in system["kernelModules"]}
        told = store.told(kernel) or {}
        return sorted(wanted - set(told.get("modules", ())))

    def _whole_kernel(
        self,
        store: LayerStore,
        asked: Mapping[str, Sequence[str]],
        base: Spec,
        missing: Sequence[str],
        op: Operation,
    ) -> Spec:
        lacking = "the smaller one" if specs.is_hardware(self.guest) else "the cloud kernel"
        op.step(f"taking the generic kernel: {lacking} has no {', '.join(missing)}", topic="build")
        lock = self._lock(asked, "generic", op)
        kernel = specs.kernel_spec(base, lock.members(lock.sets["kernel-generic"]), self.cache)
        layers.make(store, [base, kernel], self.has_squashfs, op)
        absent = self._missing_modules(store, kernel)
        if absent:
            roles = [
                role
                for role, system in self.systems.items()
                if {name.replace("-", "_") for name in system["kernelModules"]} & set(absent)
            ]
            owner = f"role {roles[0]} asks for" if roles else "the flavour asks for"
            raise BuildError(
                f"{owner} the kernel module {absent[0]}, which Debian's kernel does not have",
                hint="boot.kernelModules takes names as modinfo knows them",
            )
        return kernel

    def _artifact(
        self,
        store: LayerStore,
        common: Sequence[Spec],
        roles: Mapping[str, Spec],
        kernel: Spec | None,
        op: Operation,
    ) -> Artifact:
        every = list(
            {spec.name: store.layer(spec, self.has_squashfs) for spec in [*common, *roles.values()]}.values()
        )
        stacks = {role: [*(spec.name for spec in common), spec.name] for role, spec in sorted(roles.items())}
        if self.kind == ROOTFS_TAR:
            return self._tars(every, stacks, op)
        found = _by_name(every)
        boots = {
            role: RoleBoot(layers=tuple(names), cmdline=self._cmdline(role, [found[name] for name in names]))
            for role, names in stacks.items()
        }
        if kernel is None:
            return Artifact(kind=self.kind, roles=boots, layers=found)
        image, small = store.path(kernel, "vmlinuz"), self._small_initrd(store, kernel, op)
        if self.kind == LAYERS:
            initrd = images.initrd(self.cache, small)
        else:
            initrd = images.ramdisk(self.cache, small, every, stacks, op)
        boots = {role: evolve(boot, kernel=image, initrd=initrd) for role, boot in boots.items()}
        files = {"kernel": image, "initrd": initrd} if self.kind == RAMDISK else {}
        return Artifact(kind=self.kind, files=files, roles=boots, layers=found)

    def _cmdline(self, role: str, disks: Sequence[Layer] = ()) -> str:
        """Name the role to a kernel; where its layers are disks, name these, too."""
        words = [f"nxc.role={role}"]
        if disks and self.kind == LAYERS and self.has_initrd:
            words.append(f"nxc.layers={','.join(layer.digest[:SERIAL] for layer in disks)}")
        return " ".join([*words, *self.systems[role]["kernelParams"]])

    def _tars(self, every: Sequence[Layer], stacks: Mapping[str, Sequence[str]], op: Operation) -> Artifact:
        found = _by_name(every)
        made = {
            f"{role}.tar": images.merged_tar(self.cache, [found[name] for name in names], op)
            for role, names in stacks.items()
        }
        boots = {
            role: RoleBoot(layers=tuple(names), cmdline=self._cmdline(role)) for role, names in stacks.items()
        }
        return Artifact(kind=ROOTFS_TAR, files=made, roles=boots, layers=found)

    def _small_initrd(self, store: LayerStore, kernel: Spec, op: Operation) -> list[Member]:
        lock = resolution.load(self.resolver.path)
        assert lock is not None
        (busybox,) = lock.members(lock.sets["initrd"])
        debs.fetch(self.cache, self.apt, [busybox], op)
        told = store.told(kernel) or {}
        return images.small_initrd(
            self.manifest.parent,
            specs.read_manifest(self.manifest)["initrd"],
            store.layer(kernel, squash=True),
            str(told["release"]),
            debs.deb_path(self.cache, busybox),
            op,
        )


def _base(lock: Lock) -> Spec:
    return specs.base_spec(
        lock.members(lock.sets["base"]), suite=lock.suite, architecture=lock.architecture, epoch=lock.epoch
    )


def _by_name(layers: Sequence[Layer]) -> dict[str, Layer]:
    """Order as a saved build does."""
    return {layer.name: layer for layer in sorted(layers, key=lambda layer: layer.name)}
