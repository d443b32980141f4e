"""What lost deployments have left in an engine, and removing it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from docker import errors as sdk

from nxc_core import DeployError, NxcError, Operation
from nxc_core.model import Deployment, Leftover, Status
from nxc_core.state import load
from nxc_docker import failures, images
from nxc_docker.compose import DEPLOYMENT, FOLDER, NODE, OWNER, owner
from nxc_docker.containers import is_named, take_network
from nxc_docker.engine import Engine
from nxc_docker.looking import name_of


def find(engine: Engine) -> Sequence[Leftover]:
    """List what is there of deployments that are no more, then images that nothing uses."""
    lost = [Leftover(what=what, id=name) for what, name in _lost(engine)]
    return [*lost, *(Leftover(what="image", id=_name(f), size=f.size) for f in images.spare(engine))]


def _lost(engine: Engine) -> dict[tuple[str, str], str]:
    """Map what is there of deployments that are no more, by kind and name, to what tells it from others."""
    given = {"label": FOLDER}
    with failures.translated("asking the engine for what is left", url=engine.url):
        containers = engine.api.containers(all=True, filters=given)
        networks = engine.api.networks(filters=given)
        volumes = engine.api.volumes(filters=given).get("Volumes") or ()
    named = [
        *(("container", name_of(one), one["Id"], one) for one in containers),
        *(("network", str(one["Name"]), one["Id"], one) for one in networks),
        *(("volume", str(one["Name"]), one["Name"], one) for one in volumes),
    ]
    found = [(what, name, str(id), one.get("Labels") or {}) for what, name, id, one in named]
    return {
        (what, name): id
        for what, name, id, labels in found
        if is_lost(labels) and is_named(name, labels[DEPLOYMENT], labels.get(NODE, ""))
    }


def _name(image: Leftover) -> str:
    """Return an image's tag, or where it has none its id."""
    return image.what.removeprefix("image ") or image.id


def is_lost(labels: Mapping[str, str]) -> bool:
    """Whether the deployment that these labels name is gone or stopped, and was this user's on this machine.

    Of a folder that is not ours to read nothing is known, so what it names is not lost.
    """
    if DEPLOYMENT not in labels or FOLDER not in labels:
        return False
    folder = Path(labels[FOLDER])
    try:
        if not os.path.lexists(folder):
            return labels.get(OWNER) == owner() and _is_visible(folder)
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
    lost = _lost(engine)  # again: the name of one that is gone may be a stranger's by now
    for one in sorted(leftovers, key=lambda one: order.index(one.what)):
        op.check_cancelled()
        id = one.id if one.what == "image" else lost.get((one.what, one.id))
        if id is None or _remove(one, id, engine, op):
            gone.append(one)
    return gone


def _remove(leftover: Leftover, id: str, engine: Engine, op: Operation) -> bool:
    api = engine.api
    told = f"{leftover.what} {leftover.id}"
    ways: Mapping[str, Callable[[], Any]] = {
        "container": lambda: api.remove_container(id, force=True, v=True),
        "network": lambda: take_network(leftover.id, id, engine, op),
        "volume": lambda: api.remove_volume(id),
        "image": lambda: api.remove_image(id),
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
        way = f"; {error.hint}" if error.hint else ""
        op.step(f"{told} stays: {error.message}{way}", topic="warning")
        return False
    return True
