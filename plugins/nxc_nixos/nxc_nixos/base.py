"""The NixOS base: from a composition and a pinned nixpkgs to images, by Nix."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import asdict, evolve

from nxc_core.base import Base
from nxc_core.errors import ConfigError, StateError
from nxc_core.model import Artifact, BuildRequest, Composition, Container, Finding, Guest, Kind, Role
from nxc_core.operation import Operation
from nxc_nixos import document, nix as asking, project as projects, study
from nxc_nixos.answers import Answers
from nxc_nixos.cache import Cache
from nxc_nixos.evaluation import Reading
from nxc_nixos.options import NixosOptions
from nxc_nixos.study import Study
from nxc_nixos.tree import digest

_MADE = "outputs.json"


class NixosBase(Base[NixosOptions]):
    """NixOS systems of a composition's roles, evaluated and built by Nix."""

    name: ClassVar[str] = "nixos"
    produces: ClassVar[frozenset[Kind]] = frozenset(
        map(Kind, ("ramdisk", "closure", "rootfs-tar", "docker-archive", "nfs-store"))
    )
    options_type: ClassVar[type[NixosOptions]] = NixosOptions

    def __init__(self, options: NixosOptions) -> None:
        super().__init__(options)
        self._known: dict[Path, Answers] = {}

    def check(self, op: Operation) -> Sequence[Finding]:
        """Say whether this machine can build NixOS systems."""
        from nxc_nixos import doctor

        return doctor.findings(self.options, op)

    def fingerprint(self, source: Path, kind: Kind, guest: Guest, op: Operation) -> str:
        """Digest what a build depends on by sizes and times; what cannot be digested is new each time."""
        before = self._known.pop(source.resolve(), None)  # what was built, if it was edited meanwhile
        seen = (
            before.study.mark if before else study.mark(projects.find(source, self.options), self.options, op)
        )
        known = before.study.impure if before else ""  # a cache may not be there to be written
        impure = self.options.impure or known or _cache(op).get("impure", seen) is not None
        if impure or not all(path.exists() for path in _made(op)):
            return secrets.token_hex(16)
        return digest([seen, kind, asdict(guest)])

    def read(self, source: Path, op: Operation) -> Composition:
        """Evaluate a composition file, but for the systems of its roles."""
        self._known.pop(source.resolve(), None)
        answers = self._answers(source, op)
        return _to_composition(answers.read(), answers.study)

    def examine(self, request: BuildRequest, op: Operation) -> Composition:
        """Evaluate the systems, and say what the roles need of the platform."""
        asked = self._answers(request.composition.source, op).asked(request.kind, request.guest)
        roles = tuple(
            evolve(role, needs=asked[role.name][0], container=asked[role.name][1])
            for role in request.composition.roles
        )
        return evolve(request.composition, roles=roles)

    def build(self, request: BuildRequest, op: Operation) -> Artifact:
        """Evaluate what changed, and have Nix build what is missing."""
        if request.system != study.SYSTEM:
            raise ConfigError(
                f"nxc builds {study.SYSTEM} systems only, not {request.system}",
                hint=f"use a {study.SYSTEM} machine",
            )
        answers = self._answers(request.composition.source, op)
        evaluated = answers.evaluate(request.kind, request.guest)
        found, store = answers.study, answers.study.nix.store
        built = asking.build(
            found.nix,
            [evaluated.package],
            op,
            project=found.project.root,
            what=f"building {request.kind}",
            links=op.dir / "roots",
            jobs=request.jobs,
        )
        path = built[evaluated.package]
        content = document.load(store, path)
        artifact = document.to_artifact(store, content, request.kind)
        tops = [store.locate(said["toplevel"]) for said in content["roles"].values()]
        _note_made([store.locate(path), *tops], op)
        return artifact

    def plan(self, request: BuildRequest, op: Operation) -> Sequence[str]:
        """Name what would be built or fetched; nothing is written."""
        return self._answers(request.composition.source, op).plan(request.kind, request.guest)

    def in_use(self, artifact: Artifact) -> Sequence[Path]:
        """List the files of an artifact; those in the store are kept by links in the build's folder."""
        return artifact.paths()

    def hold(self, artifact: Artifact, op: Operation) -> None:
        """Keep the artifact's store paths, and all that they mention, from being collected."""
        found = asking.find(self.options, op)
        asking.hold(found, [path for path in artifact.paths() if path != found.store.physical], op)

    def caches(self, op: Operation) -> Mapping[str, Path]:
        """Name the folders below the cache."""
        folders = {"evaluated roles": "part", "evaluations": "package", "compositions": "reading"}
        folders |= {"copies of flakes": "trees", "complete locks": "locked", "what is impure": "impure"}
        return {title: _cache(op).folder / name for title, name in folders.items()}

    def _answers(self, source: Path, op: Operation) -> Answers:
        """Look at a composition once, so that all that is asked of it is about the same files."""
        source = source.resolve()
        if source not in self._known:
            found = study.begin(source, self.options, _cache(op), op)
            self._known[source] = Answers(study=found, options=self.options, cache=_cache(op), op=op)
        return self._known[source]


def _cache(op: Operation) -> Cache:
    return Cache(folder=op.cache / "nixos")


def _made(op: Operation) -> list[Path]:
    """Return what the last build here made in the store; someone may have collected it since."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [Path(path) for path in json.loads((op.dir / _MADE).read_text(encoding="utf-8"))]
    return []


def _note_made(paths: Sequence[Path], op: Operation) -> None:
    try:
        (op.dir / _MADE).write_text(json.dumps([str(path) for path in paths]))
    except OSError as error:
        raise StateError(
            f"{op.dir / _MADE} cannot be written: {error.strerror}", hint="free some space"
        ) from error


def _to_composition(said: Reading, found: Study) -> Composition:
    source = found.project.source
    return Composition(
        name=source.parent.name if source.name in ("composition.nix", "compositions.nix") else source.stem,
        base=NixosBase.name,
        source=source,
        roles=tuple(_to_role(name, said) for name in said.roles),
        test_script=said.test_script,
        warnings=said.warnings,
        files=document.named_files(found.nix.store, said.test_script or ""),
    )


def _to_role(name: str, said: Reading) -> Role:
    given, asked = said.distribution.get(name, 1), said.containers.get(name, Container())
    if isinstance(given, int):
        return Role(name=name, count=given, container=asked)
    return Role(name=name, count=len(given), hosts=tuple(given), container=asked)
