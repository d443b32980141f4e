"""The hooks: when things happen. How they happen is the drivers' (``flavour.py``, ``base.py``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pluggy
from attrs import frozen

if TYPE_CHECKING:  # a plugin module imports this one: it must stay cheap
    from nxc_core.base import Base
    from nxc_core.connect import Connection
    from nxc_core.flavour import Flavour
    from nxc_core.model import Artifact, BuildRequest, Event, Node, Plan, Resource
    from nxc_core.operation import Operation

PROJECT = "nxc"
API_VERSION = 1
"""A plugin module says ``NXC_API = 1``; a mismatch disables that plugin alone."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@frozen(kw_only=True)
class FlavourEntry:
    """A flavour on offer. ``target`` is ``module:Class``, imported on first use."""

    name: str
    summary: str
    target: str


@frozen(kw_only=True)
class BaseEntry:
    """A base on offer. ``target`` is ``module:Class``, imported on first use."""

    name: str
    summary: str
    target: str


class NxcSpec:
    """All hooks. Verbs take the first answer that is not None; wrappers may surround any of them."""

    @hookspec
    def nxc_flavours(self) -> Iterable[FlavourEntry]:
        """Offer flavours: records only, nothing heavy is imported."""
        raise NotImplementedError

    @hookspec
    def nxc_bases(self) -> Iterable[BaseEntry]:
        """Offer bases: records only, nothing heavy is imported."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def nxc_build(self, base: Base[Any], request: BuildRequest, op: Operation) -> Artifact | None:
        """Make an artifact."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def nxc_deploy(self, flavour: Flavour[Any], plan: Plan, op: Operation) -> bool | None:
        """Reserve, boot and reach the plan's nodes; True when it was done, whatever the outcomes."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def nxc_connect(self, flavour: Flavour[Any], node: Node, op: Operation) -> Connection | None:
        """Talk to a node."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def nxc_teardown(
        self, flavour: Flavour[Any], resources: Sequence[Resource], op: Operation
    ) -> Sequence[Resource] | None:
        """Release claims of one rank; answers those that are gone for sure (an empty list, not None)."""
        raise NotImplementedError

    @hookspec
    def nxc_event(self, event: Event) -> None:
        """Hear what happens. Exceptions are reported once and otherwise ignored."""
        raise NotImplementedError
