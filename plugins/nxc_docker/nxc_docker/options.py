"""What a user may set of the flavour ``docker``."""

from __future__ import annotations

import re
from typing import Literal

from attrs import Attribute, field, frozen

from nxc_docker.wishes import read_size

_URL = re.compile(r"^(unix|tcp|http|https|ssh)://.+|^/.+")


def _is_url(_: object, __: Attribute[str | None], value: str | None) -> None:
    if value is not None and not _URL.match(value):
        raise ValueError(
            f"url {value!r} is no engine's address: unix:///var/run/docker.sock or tcp://HOST:2375"
        )


def _is_size(_: object, __: Attribute[str | None], value: str | None) -> None:
    if value is None:
        return
    try:
        read_size(value)
    except ValueError as error:
        raise ValueError(f"memory {value!r} cannot be had: {error}") from None


def _is_patient(_: object, __: Attribute[float], value: float) -> None:
    if not value >= 1:
        raise ValueError(f"timeout must be a second or more, not {value:g}")


@frozen(kw_only=True)
class DockerOptions:
    """Options of every node of the deployment."""

    url: str | None = field(
        default=None,
        validator=_is_url,
        metadata={
            "help": "the engine: unix:///path or tcp://host:port; default: DOCKER_HOST, docker's context,"
            " /var/run/docker.sock, then podman's sockets"
        },
    )
    privileged: bool = field(
        default=False,
        metadata={
            "help": "run containers with all rights over this machine; seldom needed, never by default"
        },
    )
    lean: bool = field(
        default=True,
        metadata={"help": "leave out services that a container seldom needs: boots faster, asks less"},
    )
    seed: Literal["auto", "mount", "copy"] = field(
        default="auto",
        metadata={"help": "how node.json gets in; auto: mounted, or copied where the engine is elsewhere"},
    )
    self_contained: bool = field(
        default=False,
        metadata={"help": "NixOS: put the store into the image, to share or push it, instead of mounting it"},
    )
    cgroup: Literal["auto", "v1", "v2"] = field(
        default="auto",
        metadata={"help": "control groups of the machines that `nxc export` is for; auto: as this one's"},
    )
    memory: str | None = field(
        default=None,
        validator=_is_size,
        metadata={"help": "memory limit of a node whose role sets none, as 512m or 2g"},
    )
    timeout: float = field(
        default=60.0,
        validator=_is_patient,
        metadata={"help": "seconds that the engine may take to answer one request"},
    )
