"""Images in the engine: what a deployment needs is there, and as little as can be is sent."""

from __future__ import annotations

import contextlib
import datetime
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from docker import errors as sdk

from nxc_core.errors import ConfigError, DeployError, PreflightError
from nxc_core.model import CLOSURE, LAYERS, Artifact, Kind, Leftover, Plan
from nxc_core.operation import Operation
from nxc_docker import archive, failures
from nxc_docker.archive import LABEL, Image, Sheet

if TYPE_CHECKING:
    from docker import APIClient

    from nxc_docker.engine import Engine

ARCHIVE = Kind("docker-archive")
"""One image with the systems of all roles, ready to be loaded."""
CLAIM = "docker.image"
LOAD_TIMEOUT = 900
"""Seconds an engine may be silent while it unpacks: podman says nothing before it is done."""
MEBIBYTE = 1 << 20
_SPARE_DISK = 64
_TAG = re.compile(r"(localhost/)?nxc-[a-z]+:[0-9a-f]{12}")
_NEVER = "0001-01-01T00:00:00Z"


@contextlib.contextmanager
def _patient(api: APIClient) -> Iterator[None]:
    before = api.timeout
    api.timeout = LOAD_TIMEOUT
    try:
        yield
    finally:
        api.timeout = before


def wanted(artifact: Artifact, roles: Collection[str], op: Operation) -> Mapping[str, Image]:
    """Return the image of each role; roles of the same content share one. Converts layers where needed."""
    cache = op.cache / "docker"
    if artifact.kind == CLOSURE:
        return dict.fromkeys(roles, archive.describe("an empty image", "empty", [archive.empty_sheet()]))
    if artifact.kind == ARCHIVE:
        file = artifact.files["image.tar"]
        return dict.fromkeys(roles, archive.read_archive(file, "the image of all roles", cache))
    if artifact.kind != LAYERS:
        raise ConfigError(
            f"containers cannot be made of {artifact.kind}", hint="build for the flavour docker"
        )
    found: dict[str, Image] = {}
    for role in sorted(roles):
        image = archive.describe(f"role {role}", "role", _sheets(artifact, role, op))
        alike = next((each for each in found.values() if each.id == image.id), image)
        found[role] = alike
    return found


def _sheets(artifact: Artifact, role: str, op: Operation) -> list[Sheet]:
    boot = artifact.roles.get(role)
    lacking = [name for name in boot.layers if name not in artifact.layers] if boot else ()
    if boot is None or lacking or not boot.layers:
        what = f"layer {lacking[0]}" if lacking else f"layers for role {role}"
        raise ConfigError(f"what was built has no {what}", hint="`nxc build` builds it again")
    return [archive.sheet(artifact.layers[name], op.cache / "docker/layers", op) for name in boot.layers]


def ensure(plan: Plan, engine: Engine, op: Operation) -> Mapping[str, str]:
    """See that every role's image is in the engine; returns the tag per role.

    Claims (``docker.image``, rank 0) before it loads, says what is sent. Loads are atomic.
    """
    images = wanted(plan.artifact, {spec.role for spec in plan.nodes}, op)
    needed = {image.tag: image for image in images.values()}
    with failures.translated("asking the engine for images", url=engine.url):
        missing = [image for image in needed.values() if not is_there(image, engine)]
    if missing:
        _send_all(missing, engine, op)
    return {role: image.tag for role, image in images.items()}


def is_there(image: Image, engine: Engine) -> bool:
    """Whether the engine has the image by its tag, with the same content."""
    try:
        found = _inspect(image.tag, engine)
    except sdk.ImageNotFound:
        return False
    if str(found["Id"]).removeprefix("sha256:") == image.id:
        return True
    # containerd's image store has ids of its own
    return tuple(_layers(found)) == image.diff_ids


def _inspect(name: str, engine: Engine) -> dict[str, Any]:
    api: Any = engine.api  # its stubs know no types here
    found: dict[str, Any] = api.inspect_image(name)
    return found


def _layers(found: Mapping[str, Any]) -> list[str]:
    """Return the layers of an inspected image, lowest first."""
    return list((found.get("RootFS") or {}).get("Layers") or ())


def _send_all(missing: Sequence[Image], engine: Engine, op: Operation) -> None:
    """Send images, before them what they stand on: kept by a tag of its own, it need not be sent again."""
    partial = engine.profile.engine == "docker"
    bases = {base.tag: base for image in missing if partial and (base := _base(image)) is not None}
    with failures.translated("asking the engine for images", url=engine.url):
        known = _known(engine) if partial else []
        order = [*(base for base in bases.values() if not is_there(base, engine)), *missing]
    _need_disk(_to_send(order, known if partial else None), engine)
    for image in order:
        op.check_cancelled()
        without = _held(image, known)
        op.claim(CLAIM, image.tag)
        _send(image, without, engine, op)
        if partial:
            known.append(image.diff_ids)


def _base(image: Image) -> Image | None:
    """Return what an image stands on: all of its layers but the last."""
    if len(image.sheets) < 2:
        return None
    return archive.describe("the base of all roles", "base", image.sheets[:-1])


def _known(engine: Engine) -> list[tuple[str, ...]]:
    """List the layers of each image of ours in the engine."""
    return [tuple(_layers(found)) for found in _inspected(engine)]


def _held(image: Image, known: Sequence[tuple[str, ...]]) -> frozenset[str]:
    """Return the lower layers that the engine has in this order: it knows a layer by all that is below."""
    most = 0
    for layers in known:
        same = 0
        while same < min(len(layers), len(image.diff_ids)) and layers[same] == image.diff_ids[same]:
            same += 1
        most = max(most, same)
    return frozenset(each.removeprefix("sha256:") for each in image.diff_ids[:most])


def _to_send(images: Sequence[Image], known: Sequence[tuple[str, ...]] | None) -> int:
    """Return the bytes that will be sent, one image after the other; whole ones where nothing is known."""
    if known is None:
        return sum(image.size() for image in images)
    before = [[*known, *(each.diff_ids for each in images[:n])] for n in range(len(images))]
    return sum(image.size(_held(image, seen)) for image, seen in zip(images, before, strict=True))


def _need_disk(size: int, engine: Engine) -> None:
    """Raise PreflightError where the engine's disk is seen to be too small: it unpacks, then moves."""
    if not engine.profile.local or not engine.profile.root:
        return
    need = 2 * size // MEBIBYTE + _SPARE_DISK
    try:
        free = shutil.disk_usage(engine.profile.root).free // MEBIBYTE
    except OSError:  # not ours to look at
        return
    if free < need:
        raise PreflightError(
            f"the engine's disk is too small: images need about {need} MiB, "
            f"{engine.profile.root} has {free} MiB left",
            hint="free some space: `nxc clean` takes images of ours that nothing uses",
        )


def _send(image: Image, without: frozenset[str], engine: Engine, op: Operation) -> None:
    """Load an image, without layers that are there; whole where the engine does not take it like that."""
    with failures.translated(f"loading {image.title}", url=engine.url):
        if without:
            # containerd's image store does not take that, and a layer may have been removed meanwhile
            with contextlib.suppress(sdk.ImageLoadError, sdk.APIError):
                _load(image, without, engine, op)
            if is_there(image, engine):
                return
        try:
            _load(image, frozenset(), engine, op)
        except (sdk.ImageLoadError, sdk.APIError) as error:
            archive.check(image)
            if isinstance(error, sdk.APIError):
                raise
            raise DeployError(
                f"the engine does not take {image.title}: {failures.said(error)}",
                hint="see its log; the image is as it was built",
            ) from error
        if not is_there(image, engine):
            raise DeployError(
                f"the engine has loaded {image.title}, but does not have {image.tag}",
                hint="see its log; `docker load` of the same archive tells more: nxc export -f docker",
            )


def _load(image: Image, without: frozenset[str], engine: Engine, op: Operation) -> None:
    size = image.size(without)
    op.step(f"sending {image.title}: {size / MEBIBYTE:.1f} MiB", image=image.tag, bytes=size)
    api: Any = engine.api
    with _patient(engine.api):
        for line in api.load_image(_until_cancelled(image.archive(without), op)):
            op.check_cancelled()
            if "error" in line:
                raise sdk.ImageLoadError(line["error"])


def _until_cancelled(chunks: Iterator[bytes], op: Operation) -> Iterator[bytes]:
    for chunk in chunks:
        op.check_cancelled()
        yield chunk


# What is left


def spare(engine: Engine) -> Sequence[Leftover]:
    """List our images that no container uses, so that a later deployment of them would send them again.

    What others stand on is counted with the lowest, and listed only when none of them is used.
    """
    api = engine.api
    with failures.translated("asking the engine for images", url=engine.url):
        used = {each["ImageID"] for each in api.containers(all=True)}
        labelled = _inspected(engine)
    ours = [each for each in labelled if is_ours(each)]
    busy = [
        _layers(each)
        for each in labelled
        if each["Id"] in used or _spelled(each["Id"]) in used or each not in ours
    ]
    found = []
    for each in ours:
        layers = _layers(each)
        if any(other[: len(layers)] == layers for other in busy):
            continue
        below = [one for one in ours if _is_below(_layers(one), layers)]
        shared = max((int(one.get("Size") or 0) for one in below), default=0)
        name = next(iter(each.get("RepoTags") or ()), each["Id"])
        found.append(Leftover(what=f"image {name}", id=each["Id"], size=int(each.get("Size") or 0) - shared))
    return found


def _spelled(id: str) -> str:
    return id.removeprefix("sha256:") if id.startswith("sha256:") else f"sha256:{id}"


def _is_below(lower: Sequence[str], upper: Sequence[str]) -> bool:
    return 0 < len(lower) < len(upper) and list(upper[: len(lower)]) == list(lower)


def _inspected(engine: Engine) -> list[dict[str, Any]]:
    found = []
    for each in engine.api.images(filters={"label": LABEL}):
        with contextlib.suppress(sdk.ImageNotFound):  # removed meanwhile
            found.append(_inspect(each["Id"], engine))
    return found


def is_ours(found: Mapping[str, Any]) -> bool:
    """Whether nxc made an image, and nobody gave it a name: what is made from ours has its labels, too."""
    when = datetime.datetime.fromisoformat(str(found.get("Created") or "") or _NEVER).timestamp()
    return when == archive.EPOCH and all(_TAG.fullmatch(tag) for tag in found.get("RepoTags") or ())
