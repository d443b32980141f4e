"""Engines and operations that the flavour docker is told of, and that are not there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import requests
from docker import errors as sdk

from nxc_core.operation import Operation
from nxc_docker.engine import Engine
from nxc_docker.profile import Profile

PROFILE = Profile(engine="docker", version=(20, 10), api=(1, 41), cgroup=1)
OP = cast("Operation", SimpleNamespace(dir=Path("/project/.nxc/deployments/web-1"), claimed=list))
OURS = {"nxc.deployment": "web-1", "nxc.folder": str(OP.dir)}


def engine_of(*, profile: Profile = PROFILE, **calls: Any) -> Engine:
    """Return an engine that answers some calls so."""
    api = SimpleNamespace(**calls)
    return cast("Engine", SimpleNamespace(api=api, url="unix:///e", program=("docker",), profile=profile))


def answer(status: int, message: str) -> sdk.APIError:
    response = requests.Response()
    response.status_code = status
    kind = sdk.NotFound if status == 404 else sdk.APIError
    return kind(message, response=response, explanation=message)
