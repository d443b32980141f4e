"""The cache of layers: made by the worker where missing, shared by builds, kept when a later one fails."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from nxc_core.errors import CommandError
from nxc_core.model import Layer
from nxc_core.operation import Operation
from nxc_debian import debs, doctor, namespace
from nxc_debian.apt import Apt
from nxc_debian.evaluation import store_dir
from nxc_debian.files import disk_full, held, is_held
from nxc_debian.options import DebianOptions
from nxc_debian.specs import Spec

MEBIBYTE = 1 << 20


@frozen(kw_only=True)
class LayerStore:
    """Where layers are, and what making one needs."""

    cache: Path
    apt: Apt
    options: DebianOptions
    epoch: int

    @property
    def folder(self) -> Path:
        """Where the finished layers are."""
        return self.cache / "layers"

    def path(self, spec: Spec, suffix: str) -> Path:
        """Return one of a layer's files: tar, squashfs, json, vmlinuz."""
        return self.folder / f"{spec.name}.{suffix}"

    def told(self, spec: Spec) -> dict[str, Any] | None:
        """Return what the worker noted of a finished layer; None when it is not finished."""
        try:
            value: dict[str, Any] = json.loads(self.path(spec, "json").read_text())
        except (OSError, ValueError):
            return None
        return value if self.path(spec, "tar").exists() else None

    def is_ready(self, spec: Spec, squash: bool) -> bool:
        """Whether nothing is to be done for a layer."""
        return self.told(spec) is not None and (not squash or self.path(spec, "squashfs").exists())

    def layer(self, spec: Spec, squash: bool) -> Layer:
        """Return a finished layer, with its squashfs where the kind has one."""
        told = self.told(spec)
        assert told is not None
        return Layer(
            name=spec.name,
            digest=told["digest"],
            tar=self.path(spec, "tar"),
            squashfs=self.path(spec, "squashfs") if squash else None,
        )


def make(store: LayerStore, specs: Sequence[Spec], squash: bool, op: Operation) -> None:
    """Make what is missing of these layers, the base first in the list. Two builds at once share the work."""
    unique = {spec.name: spec for spec in specs}
    missing = [spec for spec in unique.values() if not store.is_ready(spec, squash)]
    if not missing:
        return
    with contextlib.ExitStack() as stack:
        for spec in sorted(missing, key=lambda spec: spec.name):
            stack.enter_context(held(store.cache / "locks" / spec.name, op, spec.title))
        missing = [spec for spec in missing if not store.is_ready(spec, squash)]
        if missing:
            _make_missing(store, unique, missing, squash, op)


def _make_missing(
    store: LayerStore, specs: Mapping[str, Spec], missing: Sequence[Spec], squash: bool, op: Operation
) -> None:
    base = next(spec for spec in specs.values() if spec.make == "base")
    unmade = [spec for spec in missing if store.told(spec) is None]
    doctor.require(op)
    debs.fetch(store.cache, store.apt, {found for spec in unmade for found in spec.packages}, op)
    if unmade and base not in unmade and store.told(base) is None:
        unmade = [base, *unmade]
    size = _unpacked(store, [base, *unmade], op)
    op.need_disk(store.cache, size * 2, "building layers")
    with _workplace(store, op) as place:
        if base in unmade:
            debs.write_repository(store.cache, store.apt, sorted(base.packages), place / "repository", op)
        job = {
            "work": str(place / "mnt"),
            "memory": _in_memory(store.options, size),
            "epoch": store.epoch,
            "jobs": store.options.jobs,
            "level": store.options.level,
            "base": str(store.path(base, "tar")),
            "store": str(store_dir(store.cache) / "nix" / "store"),
            "debs": str(store.cache / "debs"),
            "tasks": [_task(store, spec, spec in unmade, squash, place) for spec in missing],
        }
        namespace.work(job, place, op, lambda name: _keep(store, specs[name], place / "out", op))


def _task(store: LayerStore, spec: Spec, unmade: bool, squash: bool, place: Path) -> dict[str, Any]:
    common = {"layer": spec.name, "title": spec.title, "out": str(place / "out"), "squash": squash}
    if not unmade:
        return {**common, "make": "squash", "tar": str(store.path(spec, "tar"))}
    return {**spec.task, **common, "make": spec.make, "repository": str(place / "repository")}


def _keep(store: LayerStore, spec: Spec, out: Path, op: Operation) -> None:
    """Move a finished layer's files into the cache, the note that makes it finished last."""
    store.folder.mkdir(parents=True, exist_ok=True)
    told = json.loads((out / f"{spec.name}.json").read_text())
    if not told:  # only compressed: the note is there
        (out / f"{spec.name}.json").unlink()
    for suffix in ("squashfs", "vmlinuz", "tar", "json"):
        path = out / f"{spec.name}.{suffix}"
        if path.exists():
            path.chmod(0o644)
            path.replace(store.path(spec, suffix))
    op.step(f"built {spec.title}", topic="build", layer=spec.title, done=True)


def _unpacked(store: LayerStore, specs: Sequence[Spec], op: Operation) -> int:
    """Estimate the MiB that the systems take unpacked."""
    packages = sorted({found for spec in specs for found in spec.packages})
    stanzas = debs.stanzas(store.cache, store.apt, packages, op)
    return 100 + sum(int(stanza.get("Installed-Size", "0")) for stanza in stanzas) * 5 // 4 // 1024


def _in_memory(options: DebianOptions, size: int) -> bool:
    if options.scratch != "auto":
        return options.scratch == "memory"
    return not options.keep_work and available_memory() > 2 * size + 512


def available_memory() -> int:
    """Return the MiB of memory that may be taken: the machine's, or the control group's if that is less."""
    found = []
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) // 1024)
    limits = (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    )
    for limit, usage in limits:
        with contextlib.suppress(OSError, ValueError):
            found.append((int(Path(limit).read_text()) - int(Path(usage).read_text())) // MEBIBYTE)
    return max(0, min(found, default=0))


@contextlib.contextmanager
def _workplace(store: LayerStore, op: Operation) -> Iterator[Path]:
    """Make a folder for one run of the worker; what killed runs have left is removed first."""
    folder = store.cache / "work"
    with disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.iterdir():
        if stale.is_dir() and not is_held(store.cache / "locks" / f"work-{stale.name}"):
            _remove(stale, op)
    place = folder / secrets.token_hex(6)
    with held(store.cache / "locks" / f"work-{place.name}", op, "its own work"):
        with disk_full(place):
            for name in ("mnt", "out"):
                (place / name).mkdir(parents=True)
        try:
            yield place
        finally:
            if not store.options.keep_work:
                _remove(place, op)
    (store.cache / "locks" / f"work-{place.name}").unlink(missing_ok=True)


def _remove(folder: Path, op: Operation) -> None:
    """Remove a folder that may hold files of subordinate users, which only their namespace can remove."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        with contextlib.suppress(CommandError):
            op.run((*namespace.enter_argv(), "rm", "-rf", "--one-file-system", str(folder)), timeout=300)
