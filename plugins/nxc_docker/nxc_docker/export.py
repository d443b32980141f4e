"""A deployment in a folder: images, identities and a compose file, for a machine without nxc."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from nxc_core.errors import ConfigError
from nxc_core.model import CLOSURE, LAYERS, Kind, Plan
from nxc_core.operation import Operation
from nxc_docker import archive, compose, images
from nxc_docker.archive import CHUNK, Image
from nxc_docker.profile import OLDEST, OLDEST_API, Profile, flags

EXPORTS: tuple[Kind, ...] = (LAYERS, images.ARCHIVE)
"""What holds all that a node needs."""
LEVEL = 1
"""Of compression: more takes long and gains little."""
README = """\
Load the images: `for image in images/*; do docker load -i "$image"; done`
Start the nodes: `docker-compose up -d`, on a machine with docker 20.10 or later and cgroup v{cgroup}.
"""


def choose_cgroup(wanted: Literal["auto", "v1", "v2"] = "auto") -> Literal[1, 2]:
    """Return the version of control groups that is wanted, by default that of this machine."""
    if wanted != "auto":
        return 1 if wanted == "v1" else 2
    return 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1


def write(
    plan: Plan,
    folder: Path,
    *,
    cgroup: Literal[1, 2],
    privileged: bool = False,
    memory: int | None = None,
    op: Operation,
) -> None:
    """Fill a folder that holds the node documents. It can be moved; nothing in it is of this machine.

    No engine is asked: ``cgroup`` says for what machines it is. Raises ConfigError for a system that needs
    this machine's store.
    """
    if plan.artifact.kind == CLOSURE:
        raise ConfigError(
            "what was built needs this machine's Nix store",
            hint="build it self-contained: -o docker.self_contained=true",
        )
    found = images.wanted(plan.artifact, {spec.role for spec in plan.nodes}, op)
    profile = Profile(
        engine="docker",
        version=OLDEST,
        api=OLDEST_API,
        cgroup=cgroup,
        apparmor=True,  # an engine without it ignores what is asked for it
        privileged=privileged,
    )
    tags = {role: image.tag for role, image in found.items()}
    model = compose.model(plan, tags, flags(profile), folder=None, memory=memory)
    _write_images({image.tag: image for image in found.values()}.values(), folder / "images", op)
    (folder / compose.COMPOSE_FILE).write_text(compose.to_compose(model, folder))
    (folder / "README.md").write_text(README.format(cgroup=cgroup))


def _write_images(found: Collection[Image], folder: Path, op: Operation) -> None:
    total = sum(image.size() for image in found)
    op.need_disk(folder, total // CHUNK + 1, "the exported images")
    folder.mkdir()
    with tempfile.TemporaryDirectory(dir=folder) as work:
        for image in found:
            op.step(f"writing {image.title}: {image.size() / CHUNK:.1f} MiB", image=image.tag)
            target = folder / f"{image.tag.replace(':', '-').replace('/', '-')}.tar.gz"
            with target.open("wb") as out:
                for piece in _pieces(image, Path(work), op):
                    op.check_cancelled()
                    out.write(piece)


def _pieces(image: Image, work: Path, op: Operation) -> Iterator[bytes]:
    """Yield a compressed archive. Compressed pieces can be joined, so a layer is compressed once for all."""
    if image.file is not None:
        yield from image.archive()
        return
    for diff_id, chunks in archive.parts(image):
        kept = work / (diff_id or "small")
        if not diff_id or not kept.exists():
            with kept.open("wb") as out, gzip.GzipFile("", "wb", LEVEL, out, mtime=0) as packed:
                for chunk in chunks:
                    op.check_cancelled()
                    packed.write(chunk)
        yield from archive.read_chunks(kept)
