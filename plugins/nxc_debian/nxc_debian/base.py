"""The Debian base: from a composition file to images, by Nix, apt, mmdebstrap and squashfs-tools."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import asdict, evolve

from nxc_core.base import Base
from nxc_core.errors import ConfigError
from nxc_core.model import (
    LAYERS,
    RAMDISK,
    ROOTFS_TAR,
    Artifact,
    BuildRequest,
    Composition,
    Finding,
    Guest,
    Kind,
    Need,
    Role,
)
from nxc_core.operation import Operation
from nxc_core.paths import nix_dir
from nxc_debian import apt as apt_tool, doctor, evaluation, resolution, sources as apt_sources
from nxc_debian.apt import Apt
from nxc_debian.builder import Builder
from nxc_debian.evaluation import Evaluated, project_root
from nxc_debian.files import digest, replace_text
from nxc_debian.lock import FILE_NAME
from nxc_debian.options import DebianOptions

ARCHITECTURE = "amd64"
SYSTEM = "x86_64-linux"
_SKIPPED = frozenset({".git", ".nxc", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})


class DebianBase(Base[DebianOptions]):
    """Debian systems of a composition's roles, as layers that every kind and flavour shares."""

    name: ClassVar[str] = "debian"
    produces: ClassVar[frozenset[Kind]] = frozenset({LAYERS, ROOTFS_TAR, RAMDISK})
    options_type: ClassVar[type[DebianOptions]] = DebianOptions

    def check(self, op: Operation) -> Sequence[Finding]:
        """Say whether this machine can build Debian systems."""
        return doctor.findings(self.options, op)

    def fingerprint(self, source: Path, kind: Kind, guest: Guest, op: Operation) -> str:
        """Digest the project's files by size and times, the lock, nix/, options, kind and guest."""
        if self.options.relock:
            return secrets.token_hex(16)
        lock = source.resolve().parent / FILE_NAME
        return digest(
            [self._sources_mark(source), _stat_mark(lock), str(kind), asdict(guest), asdict(self.options)]
        )

    def _sources_mark(self, source: Path) -> str:
        root = project_root(source)
        files = [*_walk(root, FILE_NAME), *_walk(nix_dir(), ""), *_walk(Path(__file__).parent, "")]
        return digest([str(source.resolve()), sorted(files)])

    def read(self, source: Path, op: Operation) -> Composition:
        """Evaluate a composition file; what was evaluated from the same files is taken again."""
        found = self._evaluate(source, op)
        return Composition(
            name=source.resolve().parent.name if source.name == "composition.nix" else source.stem,
            base=self.name,
            source=source.resolve(),
            roles=tuple(_role(name, found) for name in sorted(found.roles)),
            test_script=found.test_script,
            warnings=found.warnings,
            files=evaluation.files_named(found.test_script or "", _cache(op)),
        )

    def _evaluate(self, source: Path, op: Operation) -> Evaluated:
        cache = _cache(op)
        names = self._names(source, op)
        key = digest([self._sources_mark(source), _stat_mark(names) if names else None])
        return evaluation.cached(source, key, cache, names, self.options.setup_arguments(), op)

    def _names(self, source: Path, op: Operation) -> Path | None:
        """Return a file with the names of the mirror's packages; offline without lists, the lock's."""
        apt = self._apt(source, op)
        if not (apt.root / "updated").exists() and op.offline:
            found = resolution.load(source.resolve().parent / FILE_NAME)
            if found is None:
                return None
            path = _cache(op) / "names" / digest(sorted(found.packages))[:16]
            replace_text(path, "\n".join(sorted(found.packages)) + "\n")
            return path
        apt_tool.update(apt, op, max_age=float("inf"))
        apt = self._apt(source, op)  # without sources that turned out not to be Debian's
        apt_tool.update(apt, op, max_age=float("inf"))
        apt_tool.names(apt, op)
        return apt.root / "names"

    def _suite(self, source: Path) -> str:
        """Return the release to build: as set, as locked, as the machine's."""
        if self.options.suite is not None:
            if self.options.suite not in apt_sources.RELEASES:
                raise ConfigError(
                    f"debian.suite: {self.options.suite} is not a release this base builds",
                    hint=f"name one of {', '.join(apt_sources.RELEASES)}",
                )
            return self.options.suite
        found = None if self.options.relock else resolution.load(source.resolve().parent / FILE_NAME)
        return found.suite if found is not None else apt_sources.machine_release()

    def _apt(self, source: Path, op: Operation) -> Apt:
        suite = self._suite(source)
        found = apt_sources.choose(self.options.mirror, suite)
        given = self.options.mirror is not None
        apt = apt_tool.prepare(_cache(op), apt_tool.find_sources(found, suite), ARCHITECTURE, op, dated=given)
        strangers = frozenset() if given else apt_tool.foreign(apt)
        kept = [each for each in found if not strangers & {uri.rstrip("/") for uri in each.uris}]
        if len(kept) == len(found):
            return apt
        return apt_tool.prepare(_cache(op), apt_tool.find_sources(kept, suite), ARCHITECTURE, op)

    def build(self, request: BuildRequest, op: Operation) -> Artifact:
        """Make the layers that are missing, and of them the kind that is asked for."""
        if request.system != SYSTEM:
            raise ConfigError(
                f"the debian base builds {SYSTEM} only, not {request.system}",
                hint=f"use a {SYSTEM} machine, or --base nixos",
            )
        return self._builder(request, op).build(op)

    def plan(self, request: BuildRequest, op: Operation) -> Sequence[str]:
        """Name the layers that are missing, and what they need."""
        return self._builder(request, op).plan(op)

    def _builder(self, request: BuildRequest, op: Operation) -> Builder:
        source = request.composition.source
        suite = self._suite(source)
        apt = self._apt(source, op)
        return Builder(
            cache=_cache(op),
            apt=apt,
            options=evolve(self.options, jobs=max(1, request.jobs)),
            resolver=resolution.Resolver(
                cache=_cache(op),
                apt=apt,
                path=source.parent / FILE_NAME,
                suite=suite,
                relock=self.options.relock,
            ),
            composition=source.name,
            systems=self._evaluate(source, op).roles,
            kind=request.kind,
            guest=request.guest,
        )

    def in_use(self, artifact: Artifact) -> Sequence[Path]:
        """List what is behind an artifact, and what its next offline build will ask for."""
        notes = [
            layer.tar.with_suffix(suffix)
            for layer in artifact.layers.values()
            for suffix in (".json", ".vmlinuz")
        ]
        roots = {layer.tar.parent.parent for layer in artifact.layers.values()}
        inputs = [root / folder for root in roots for folder in ("apt", "control", "debs", "eval", "store")]
        return [*artifact.paths(), *(path for path in (*notes, *inputs) if path.exists())]

    def caches(self, op: Operation) -> Mapping[str, Path]:
        """Name the folders below the cache."""
        names = {
            "layers": "layers",
            "images": "images",
            "packages": "debs",
            "package lists": "apt",
            "Nix store": "store",
        }
        return {title: _cache(op) / folder for title, folder in names.items()}


def _cache(op: Operation) -> Path:
    return op.cache / "debian"


def _role(name: str, found: Evaluated) -> Role:
    given = found.distribution.get(name, 1)
    needs = tuple(Need(need=row["need"], option=row["option"]) for row in found.roles[name]["needs"])
    asked = evaluation.to_container(found.roles[name]["container"])
    if isinstance(given, int):
        return Role(name=name, count=given, needs=needs, container=asked)
    return Role(name=name, count=len(given), hosts=tuple(given), needs=needs, container=asked)


def _walk(root: Path, skipped: str) -> list[tuple[str, int, int, int, int]]:
    """List the files below a folder with what changes when they are changed."""
    found = []
    stack = [str(root)]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if entry.name in _SKIPPED or entry.name == skipped:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    else:
                        seen = entry.stat(follow_symlinks=False)
                        found.append(
                            (entry.path, seen.st_size, seen.st_mtime_ns, seen.st_ino, seen.st_ctime_ns)
                        )
        except OSError:
            continue  # it went meanwhile, or is not ours to read: then Nix cannot read it either
    return found


def _stat_mark(path: Path) -> list[int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return [seen.st_size, seen.st_mtime_ns, seen.st_ino, seen.st_ctime_ns]
