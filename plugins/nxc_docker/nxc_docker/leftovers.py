"""What lost deployments have left in an engine, and removing it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from docker import errors as sdk

from nxc_core import DeployError, NxcError, Operation
from nxc_core.model import Deployment, Leftover, Status
from nxc_core.state import load
from nxc_docker import failures, images
from nxc_docker.compose import DEPLOYMENT, FOLDER
from nxc_docker.engine import Engine


def find(engine: Engine) -> Sequence[Leftover]:
    """List what is there of deployments that are no more, then images that nothing uses."""
    with failures.translated("asking the engine for what is left", url=engine.url):
        lost = [*_containers(engine), *_networks(engine), *_volumes(engine)]
    return [*lost, *(Leftover(what="image", id=_name(f), size=f.size) for f in images.spare(engine))]


def _name(image: Leftover) -> str:
    """Return an image's tag, or where it has none its id."""
    return image.what.removeprefix("image ") or image.id


def _containers(engine: Engine) -> Iterator[Leftover]:
    for one in engine.api.containers(all=True, filters={"label": FOLDER}):
        if is_lost(one.get("Labels") or {}):
            yield Leftover(what="container", id=str(one["Names"][0]).removeprefix("/"))


def _networks(engine: Engine) -> Iterator[Leftover]:
    for one in engine.api.networks(filters={"label": FOLDER}):
        if is_lost(one.get("Labels") or {}):
            yield Leftover(what="network", id=str(one["Name"]))


def _volumes(engine: Engine) -> Iterator[Leftover]:
    for one in engine.api.volumes(filters={"label": FOLDER}).get("Volumes") or ():
        if is_lost(one.get("Labels") or {}):
            yield Leftover(what="volume", id=str(one["Name"]))


def is_lost(labels: Mapping[str, str]) -> bool:
    """Whether the deployment that these labels name is gone or stopped, and was this user's.

    Of a folder that is not ours to read nothing is known, so what it names is not lost.
    """
    if DEPLOYMENT not in labels or FOLDER not in labels:
        return False
    folder = Path(labels[FOLDER])
    try:
        if not os.path.lexists(folder):
            return _is_visible(folder)
        if folder.stat().st_uid != os.getuid():
            return False
        return load(folder / "deployment.json", Deployment).status is Status.STOPPED
    except (OSError, NxcError):
        return False


def _is_visible(folder: Path) -> bool:
    """Whether we would see the folder if it were there."""
    above = folder.parent
    while not above.exists():
        above = above.parent
    return os.access(above, os.R_OK | os.X_OK)


def sweep(leftovers: Sequence[Leftover], engine: Engine, op: Operation) -> Sequence[Leftover]:
    """Remove them, containers first; returns those that are gone. Of the others it is said why they stay."""
    order = ("container", "network", "volume", "image")
    gone = []
    for one in sorted(leftovers, key=lambda one: order.index(one.what)):
        op.check_cancelled()
        if _remove(one, engine, op):
            gone.append(one)
    return gone


def _remove(leftover: Leftover, engine: Engine, op: Operation) -> bool:
    api, id = engine.api, leftover.id
    told = f"{leftover.what} {id}"
    ways: Mapping[str, Callable[[], Any]] = {
        "container": lambda: api.remove_container(id, force=True, v=True),
        "network": lambda: api.remove_network(id),
        "volume": lambda: api.remove_volume(id),
        "image": lambda: api.remove_image(id, force=True),
    }
    try:
        with (
            failures.translated(f"removing {told}", url=engine.url),
            contextlib.suppress(sdk.NotFound),
        ):
            ways[leftover.what]()
    except failures.EngineLost:
        raise
    except DeployError as error:
        op.step(f"{told} stays: {error.message}", topic="warning")
        return False
    return True
