"""Containers, their network and their volumes: made as the model says, looked at, and taken away."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen
from docker import errors as sdk

from nxc_core import DeployError, Operation
from nxc_docker import compose, failures
from nxc_docker.compose import DEPLOYMENT, FOLDER, NODE, Model, Service
from nxc_docker.engine import Engine
from nxc_docker.looking import name_of

CONTAINER, NETWORK, VOLUME = "docker.container", "docker.network", "docker.volume"
"""Kinds of claims; ranks 2, 1 and 1."""
DIGEST = "nxc.model"
"""Label with a digest of what a container was made from, to see whether it is still what is wanted."""
REMOVAL = 60.0
"""Seconds in which the engine must have removed what somebody else removes already."""
COUNTING = 30.0
"""Seconds after which a count of containers that are gone is wrong for good."""
_CONFLICT = re.compile(r"already in use|already used|already exists|name .* in use", re.I)


@frozen(kw_only=True)
class Found:
    """A container of ours that is there. ``state`` as the engine says: created, running, exited, ..."""

    id: str
    name: str
    node: str
    state: str
    digest: str


# Whose it is


def is_ours(labels: Mapping[str, str] | None, deployment: str, op: Operation) -> bool:
    """Whether labels say that something is of this very deployment, whose folder may have moved."""
    found = labels or {}
    return found.get(DEPLOYMENT) == deployment and found.get(FOLDER) in _folders(op)


def _folders(op: Operation) -> set[str]:
    return {str(op.dir), *(str(one.data["folder"]) for one in op.claimed() if "folder" in one.data)}


def list_containers(engine: Engine, deployment: str, op: Operation) -> dict[str, Found]:
    """Return the deployment's containers by name, in one call.

    One of another name got its labels from an image that somebody made of a node.
    """
    with failures.translated("asking the engine for containers", url=engine.url):
        told = engine.api.containers(all=True, filters={"label": f"{DEPLOYMENT}={deployment}"})
    found = [_read(one) for one in told if is_ours(one.get("Labels"), deployment, op)]
    return {one.name: one for one in found if is_named(one.name, deployment, one.node)}


def is_named(name: str, deployment: str, node: str) -> bool:
    """Whether a container of these labels has the name that we give; one without a node has any."""
    return not node or name == f"{deployment}-{node}"


def _read(told: Mapping[str, Any]) -> Found:
    labels = told.get("Labels") or {}
    return Found(
        id=str(told["Id"]),
        name=name_of(told),
        node=labels.get(NODE, ""),
        state=str(told.get("State", "")).lower(),
        digest=labels.get(DIGEST, ""),
    )


# The network and the volumes


def make_network(model: Model, engine: Engine, op: Operation) -> str:
    """Return the id of the deployment's network; it is made unless it is there.

    Addressed by id, since engines let several have one name. Raises DeployError where it is a stranger's.
    """
    name = model.network.name
    op.claim(NETWORK, name, rank=1, url=engine.url, folder=str(op.dir))
    with failures.translated(f"making the network {name}", url=engine.url):
        try:
            return str(engine.api.create_network(**compose.to_network(model))["Id"])
        except sdk.APIError as error:
            if not _CONFLICT.search(failures.said(error)):
                raise
            named = [one for one in engine.api.networks(names=[name]) if one["Name"] == name]
            if not named:  # it is the subnet that is in use
                raise
        ours = [one for one in named if is_ours(one.get("Labels"), model.deployment, op)]
    if not ours:
        raise DeployError(
            f"there is a network {name} that is not this deployment's",
            hint=f"it is left alone; look at it: {' '.join(engine.program)} network inspect {name}",
        )
    return str(ours[0]["Id"])


def make_volumes(model: Model, engine: Engine, op: Operation) -> None:
    """Make the volumes that containers share or keep; one that is there is kept."""
    for name in model.volumes:
        op.claim(VOLUME, name, rank=1, url=engine.url)
        with failures.translated(f"making the volume {name}", url=engine.url):
            there = engine.api.create_volume(name, labels=dict(model.labels))
        if not is_ours(there.get("Labels"), model.deployment, op):
            raise DeployError(
                f"there is a volume {name} that is not this deployment's",
                hint=f"it is left alone; look at it: {' '.join(engine.program)} volume inspect {name}",
            )


# One container


def boot(
    service: Service,
    model: Model,
    network: str,
    engine: Engine,
    op: Operation,
    *,
    present: Found | None = None,
    seed: Path | None = None,
) -> bool:
    """See that a node's container runs; says whether it was made for it.

    ``present`` is what an interrupted start left of it. ``seed`` is the node's document where it is not
    mounted. A container that cannot be started is removed.
    """
    op.claim(CONTAINER, service.name, rank=2, url=engine.url, node=service.node)
    wanted = compose.to_create(service, model, engine.api.api_version, network=network)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True, default=str).encode()).hexdigest()[:16]
    wanted["labels"] = {**wanted["labels"], DIGEST: digest}
    starting = f"starting the container {service.name}"
    with failures.translated(f"creating the container {service.name}", url=engine.url):
        kept = _keep(present, digest, engine, op)
    if kept is not None:
        # What an engine that was killed half-way knows of it may be in its way: then another is made.
        with failures.translated(starting, url=engine.url), contextlib.suppress(sdk.APIError):
            if seed is not None and present is not None and present.state == "created":
                engine.api.put_archive(
                    kept, "/", pack_document(seed)
                )  # the interruption may have come before it
            _start(kept, engine)
            return False
    with failures.translated(f"creating the container {service.name}", url=engine.url):
        id, made = _create(wanted, model.deployment, digest, engine, op)
        if seed is not None:
            engine.api.put_archive(id, "/", pack_document(seed))
    with failures.translated(starting, url=engine.url):
        _start(id, engine)
    return made


def _start(id: str, engine: Engine) -> None:
    """Start a container; one that cannot be is removed."""
    try:
        engine.api.start(id)
    except sdk.APIError:
        with contextlib.suppress(*failures.TROUBLE):
            engine.api.remove_container(id, force=True, v=True)
        raise


def _keep(present: Found | None, digest: str, engine: Engine, op: Operation) -> str | None:
    """Return the id of a container that can go on; one made from something else, or broken, is removed."""
    if present is None:
        return None
    if present.digest == digest and present.state in ("created", "running", "exited", "paused", "stopped"):
        if present.state == "paused":
            engine.api.unpause(present.id)
        return present.id
    remove(present.id, engine, op)
    return None


def _create(
    wanted: Mapping[str, Any], deployment: str, digest: str, engine: Engine, op: Operation
) -> tuple[str, bool]:
    """Return a container's id, and whether it was made just now: one of ours may have been in the way."""
    for _ in range(2):
        try:
            return str(engine.api.create_container(**wanted)["Id"]), True
        except sdk.APIError as error:
            if not _CONFLICT.search(failures.said(error)):
                raise
        present = list_containers(engine, deployment, op).get(str(wanted["name"]))
        if present is None:
            break
        kept = _keep(present, digest, engine, op)
        if kept is not None:
            return kept, False
    raise DeployError(
        f"there is a container {wanted['name']} that is not this deployment's",
        hint=f"it is left alone; look at it: {' '.join(engine.program)} inspect {wanted['name']}",
    )


def pack_document(document: Path) -> bytes:
    """Pack a node's document for root alone, at its place in the container."""
    content = document.read_bytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        folder = tarfile.TarInfo(str(Path(compose.SEED).parent).removeprefix("/"))
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        tar.addfile(folder)
        member = tarfile.TarInfo(compose.SEED.removeprefix("/"))
        member.mode, member.size = 0o600, len(content)
        tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def takes_writable_cgroups(image: str, model: Model, engine: Engine) -> bool:
    """Whether the engine really knows this option: a container is made with it, and removed."""
    host = engine.api.create_host_config(security_opt=["writable-cgroups=true"])
    try:
        with failures.translated("trying the engine's options", url=engine.url):
            made = engine.api.create_container(image, ["true"], host_config=host, labels=dict(model.labels))
            engine.api.remove_container(made["Id"], force=True)
    except DeployError as error:
        if "security" not in error.message:
            raise
        return False
    return True


# Taking away


def remove(id: str, engine: Engine, op: Operation) -> None:
    """Remove a container at once, with what is in it; it may be gone already."""
    try:
        engine.api.remove_container(id, force=True, v=True)
    except sdk.NotFound:
        return
    except sdk.APIError as error:
        if "in progress" not in failures.said(error):
            raise
        op.wait(f"removal of {id}", lambda: not _is_there(id, engine), timeout=REMOVAL)


def _is_there(id: str, engine: Engine) -> bool:
    try:
        engine.api.inspect_container(id)
    except sdk.NotFound:
        return False
    return True


def remove_containers(
    names: Sequence[str], engine: Engine, deployment: str, op: Operation, before: Callable[[Found], None]
) -> list[str]:
    """Remove the deployment's containers of these names; returns the names of which none of ours is left.

    ``before`` is called for each. A stranger's container is left alone.
    """
    found = list_containers(engine, deployment, op)
    trouble: list[str] = []

    def end(name: str) -> bool:
        if name not in found:
            return True
        before(found[name])
        try:
            with failures.translated(f"removing the container {name}", url=engine.url):
                remove(found[name].id, engine, op)
        except DeployError as error:
            trouble.append(f"{error.message}; {error.hint}" if error.hint else error.message)
            return False
        return True

    gone = [name for name, is_gone in zip(names, op.map(end, names), strict=True) if is_gone]
    for told in trouble[:3]:
        op.step(told, topic="warning")
    return gone


def remove_network(name: str, engine: Engine, deployment: str, op: Operation) -> None:
    """Remove the deployment's network, before it what is left in it and nobody claimed."""
    with failures.translated(f"removing the network {name}", url=engine.url):
        for found in list_containers(engine, deployment, op).values():
            remove(found.id, engine, op)
        for one in engine.api.networks(filters={"label": f"{DEPLOYMENT}={deployment}"}):
            if one["Name"] == name and is_ours(one.get("Labels"), deployment, op):
                take_network(name, str(one["Id"]), engine, op)


def take_network(name: str, id: str, engine: Engine, op: Operation) -> None:
    """Remove a network, and endpoints in it that no container has any more; one that is in use stays.

    Until version 28, docker counts a network's endpoints apart from what it lists. Where many go at once, the
    count may stay too high for good (moby #42119). No call corrects it, but every start of the engine does.
    """
    # By its id podman removes even a network that somebody else is in.
    called = name if engine.profile.engine == "podman" else id
    try:
        op.wait(f"removal of the network {name}", partial(_take_network, called, engine), timeout=COUNTING)
    except DeployError as error:
        raise DeployError(
            f"the engine counts containers in the network {name} that are gone, and keeps it",
            hint="restart it (systemctl restart docker): it counts anew as it starts; containers may"
            " stop with it; then `nxc down` again (docker 28 and later do not miscount)",
        ) from error


def _take_network(id: str, engine: Engine) -> bool:
    """Try to remove a network; false while the engine has not let go of containers that are gone."""
    try:
        engine.api.remove_network(id)
    except sdk.NotFound:
        return True
    except sdk.APIError as error:
        if "active endpoints" not in failures.said(error):
            raise
        try:
            held = engine.api.inspect_network(id).get("Containers") or {}
        except sdk.NotFound:  # somebody else was quicker
            return True
        if any(_is_there(one, engine) for one in held):
            raise
        for one in held.values():
            with contextlib.suppress(sdk.APIError):
                engine.api.disconnect_container_from_network(one["Name"], id, force=True)
        return False
    return True


def remove_volume(name: str, engine: Engine, deployment: str, op: Operation) -> None:
    """Remove a volume of the deployment's own."""
    with (
        failures.translated(f"removing the volume {name}", url=engine.url),
        contextlib.suppress(sdk.NotFound),
    ):
        if is_ours(engine.api.inspect_volume(name).get("Labels"), deployment, op):
            engine.api.remove_volume(name, force=True)
