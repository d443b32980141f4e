"""Bases with one fault each. All but the fault is the example base's."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

from attrs import evolve

from nxc_core import ConfigError, Operation
from nxc_core.model import Artifact, BuildRequest, Composition, Guest, Kind
from nxc_example.base import PlainBase


class Steady(PlainBase):
    """No fault."""


class Restless(Steady):
    """Its fingerprint never comes twice."""

    def fingerprint(self, source: Path, kind: Kind, guest: Guest, op: Operation) -> str:
        return uuid.uuid4().hex


class Inhospitable(Steady):
    """Does not look at the guest."""

    def fingerprint(self, source: Path, kind: Kind, guest: Guest, op: Operation) -> str:
        return super().fingerprint(source, kind, Guest(), op)


class Shortsighted(Steady):
    """Looks at the composition's name alone."""

    def fingerprint(self, source: Path, kind: Kind, guest: Guest, op: Operation) -> str:
        return hashlib.sha256(f"{source.name} {kind} {guest}".encode()).hexdigest()


class Random(Steady):
    """Builds something else each time."""

    def build(self, request: BuildRequest, op: Operation) -> Artifact:
        artifact = super().build(request, op)
        for tree in artifact.files.values():
            (tree / "machine-id").write_text(uuid.uuid4().hex)
        return artifact


class Boastful(Steady):
    """Names files that are not there."""

    def build(self, request: BuildRequest, op: Operation) -> Artifact:
        artifact = super().build(request, op)
        return evolve(artifact, files={**artifact.files, "manual": op.cache / "manual"})


class Wilful(Steady):
    """Builds another kind than asked."""

    def build(self, request: BuildRequest, op: Operation) -> Artifact:
        return evolve(super().build(request, op), kind=Kind("something-else"))


class Curt(Steady):
    """Refuses without saying what."""

    def read(self, source: Path, op: Operation) -> Composition:
        try:
            return super().read(source, op)
        except ConfigError as error:
            raise ConfigError("syntax error") from error


BASES: dict[str, type[PlainBase]] = {
    kind.__name__.lower(): kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Steady)
}
for _name, _kind in BASES.items():
    _kind.name = _name
