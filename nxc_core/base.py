"""The contract of a base: how a composition becomes files that a flavour can start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from nxc_core.model import Artifact, BuildRequest, Composition, Finding, Guest, Kind

if TYPE_CHECKING:
    from nxc_core.operation import Operation

Options = TypeVar("Options")


class Base(ABC, Generic[Options]):
    """A way to build systems. Knows kinds and guests, never a flavour.

    ``options_type`` is an attrs class; every field has a default and ``metadata["help"]``.
    """

    name: ClassVar[str]
    produces: ClassVar[frozenset[Kind]]
    options_type: ClassVar[type[Any]]

    def __init__(self, options: Options) -> None:
        self.options = options

    def check(self, op: Operation) -> Sequence[Finding]:
        """Say whether this machine can build. Never raises, never changes anything."""
        return ()

    @abstractmethod
    def fingerprint(self, source: Path, kind: Kind, guest: Guest, op: Operation) -> str:
        """Digest everything a build depends on, in milliseconds: equal means nothing is to be done."""

    @abstractmethod
    def read(self, source: Path, op: Operation) -> Composition:
        """Evaluate a composition file.

        Raises ConfigError with file, line and option where it can.
        """

    def examine(self, request: BuildRequest, op: Operation) -> Composition:
        """Return the composition with what ``read`` could not say before kind and guest were known.

        Asked before ``build``: what a role needs of the platform may hang on its system. By default, nothing.
        """
        return request.composition

    def plan(self, request: BuildRequest, op: Operation) -> Sequence[str]:
        """Name what ``build`` would make or fetch, each in a few words; empty when all is there.

        Makes nothing and writes nothing but into the cache. By default, the whole artifact is named.
        """
        return (f"{request.kind} of {request.composition.name}",)

    @abstractmethod
    def build(self, request: BuildRequest, op: Operation) -> Artifact:
        """Make the artifact of the request's kind, for all roles, reusing every unchanged part."""

    def in_use(self, artifact: Artifact) -> Sequence[Path]:
        """List the cached files behind an artifact that cleaning must keep."""
        return artifact.paths()

    def hold(self, artifact: Artifact, op: Operation) -> None:
        """Keep others than nxc from removing an artifact while a deployment runs on it.

        Links go into the folder ``roots`` of the deployment's, ``op.dir``; ``down`` removes it.
        By default, nothing is done.
        """

    def caches(self, op: Operation) -> Mapping[str, Path]:
        """Name the base's folders below the cache, for ``nxc clean``."""
        return {}
