"""What the engine is to run, as one pure model: made from a plan, written as a compose file or as API calls."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from attrs import evolve, field, frozen

from nxc_core.errors import ConfigError
from nxc_core.model import CLOSURE, Container, NodeSpec, Plan, Role
from nxc_docker import wishes
from nxc_docker.wishes import Bind, Port

if TYPE_CHECKING:
    from nxc_docker.profile import Flags

SEED = "/nxc/node.json"
"""Where a node finds its identity. In /run a mount point could not be replaced later."""
REGISTRATION = "/nxc/registration"
STORE = "/nix/store"
INIT = "/sbin/init"
STOP_SIGNAL = "SIGRTMIN+3"
COMPOSE_FILE = "docker-compose.yaml"

DEPLOYMENT, FOLDER, NODE, ROLE, VERSION = (
    f"nxc.{name}" for name in ("deployment", "folder", "node", "role", "version")
)
"""Labels. Only what carries both ours of ``DEPLOYMENT`` and ``FOLDER`` is ours."""


@frozen(kw_only=True)
class Service:
    """One node. ``memory`` in bytes; ``cgroupns`` None leaves it to the engine."""

    node: str
    role: str
    name: str
    image: str
    command: tuple[str, ...]
    hostname: str
    address: str
    binds: tuple[Bind, ...] = ()
    tmpfs: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    privileged: bool = False
    sysctls: Mapping[str, str] = field(factory=dict)
    ports: tuple[Port, ...] = ()
    labels: Mapping[str, str] = field(factory=dict)
    environment: Mapping[str, str] = field(factory=dict)
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    cgroupns: Literal["host", "private"] | None = None
    stop_signal: str = STOP_SIGNAL
    tty: bool = True


@frozen(kw_only=True)
class NetworkModel:
    """The network that all nodes are in."""

    name: str
    subnet: str
    gateway: str
    labels: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Model:
    """A deployment as the engine is to see it. ``volumes`` are those that are made for it, and go with it."""

    deployment: str
    network: NetworkModel
    services: tuple[Service, ...]
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(factory=dict)

    def service(self, node: str) -> Service:
        """Return a node's."""
        return next(each for each in self.services if each.node == node)


def model(
    plan: Plan,
    images: Mapping[str, str],
    flags: Flags,
    *,
    folder: Path | None,
    podman: bool = False,
    bind_seed: bool = True,
    privileged: bool = False,
) -> Model:
    """Say what is to run. ``images`` gives each role's tag; ``folder`` is the deployment's, None for a copy.

    Without ``bind_seed`` the identity must be put into the container before it starts.
    """
    raise NotImplementedError


def to_compose(model: Model, folder: Path) -> str:
    """Write a compose file to lie in ``folder``: files below it are named relative to it.

    Of what both docker-compose 1.29 and compose v2 know; the cgroup namespace is the engine's default.
    """
    raise NotImplementedError


def to_create(service: Service, model: Model, api_version: str) -> dict[str, Any]:
    """Return the arguments for the SDK's ``create_container``; the network must be there."""
    raise NotImplementedError


def to_network(model: Model) -> dict[str, Any]:
    """Return the arguments for the SDK's ``create_network``."""
    raise NotImplementedError
