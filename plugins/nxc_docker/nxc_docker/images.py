"""Images in the engine: what a deployment needs is there, sent as little as can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nxc_core.model import Leftover, Plan
from nxc_core.operation import Operation

if TYPE_CHECKING:
    from nxc_docker.engine import Engine

CLAIM = "docker.image"
LABEL = "nxc.image"
"""Every image of ours carries it; the value says what it is: base, role, empty or archive."""


def ensure(plan: Plan, engine: Engine, op: Operation) -> Mapping[str, str]:
    """See that every role's image is in the engine; returns the tag per role.

    Claims (``docker.image``, rank 0) before it loads, says what is sent. Loads are atomic.
    """
    raise NotImplementedError


def spare(engine: Engine) -> Sequence[Leftover]:
    """List our images that no container uses, so that a later deployment of them would send them again."""
    raise NotImplementedError
