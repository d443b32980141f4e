"""A container's switch and plug: signals, another start, out of its network and back."""

from __future__ import annotations

import datetime
import re

from docker import errors as sdk

from nxc_core import DeployError, Operation
from nxc_docker import failures
from nxc_docker.compose import DEPLOYMENT
from nxc_docker.containers import is_ours
from nxc_docker.engine import Engine


def signal(name: str, number: str, engine: Engine) -> None:
    """Send a signal to the first process; a container that does not run has its peace."""
    try:
        engine.api.kill(name, signal=number)
    except sdk.NotFound:
        return
    except sdk.APIError as error:
        if not re.search(
            "is not running|container state improper|can only kill running", failures.said(error)
        ):
            raise


def start_again(name: str, engine: Engine) -> float:
    """Start a container that has ended; returns the engine's time just before, for its console."""
    before = engine.api.inspect_container(name)["State"]
    engine.api.start(name)
    return _seconds(str(before.get("FinishedAt") or ""))


def _seconds(stamp: str) -> float:
    """Read a time as engines write it, with nanoseconds and any zone."""
    found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(.*)", stamp)
    if found is None or stamp.startswith("0001"):
        return 0.0
    zone = "+00:00" if found[3] in ("Z", "") else found[3]
    return datetime.datetime.fromisoformat(found[1] + zone).timestamp() + float(found[2] or 0)


def find_network(name: str, engine: Engine, op: Operation) -> str:
    """Return the id of the deployment's network; raises DeployError where it is gone."""
    for one in engine.api.networks(filters={"label": f"{DEPLOYMENT}={name}"}):
        if is_ours(one.get("Labels"), name, op):
            return str(one["Id"])
    raise DeployError(f"the network {name} is gone", hint="`nxc down` takes away what is left")


def unplug(container: str, network: str, engine: Engine) -> None:
    """Take a container out of a network; one that is not in it stays so."""
    if _is_plugged(container, network, engine):
        engine.api.disconnect_container_from_network(container, network)


def plug(container: str, network: str, address: str, alias: str, engine: Engine) -> None:
    """Put a container into a network with the address it had; one that is in it stays so."""
    if not _is_plugged(container, network, engine):
        engine.api.connect_container_to_network(container, network, ipv4_address=address, aliases=[alias])


def _is_plugged(container: str, network: str, engine: Engine) -> bool:
    joined = engine.api.inspect_container(container)["NetworkSettings"]["Networks"] or {}
    if engine.profile.engine == "podman":  # says the name for the id
        return engine.api.inspect_network(network)["Name"] in joined
    return any(one.get("NetworkID") == network for one in joined.values())
