"""Nix' answers about a composition: kept ones where they still hold, new ones for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import asdict, define, evolve, field, frozen

from nxc_core.errors import NxcError
from nxc_core.model import Container, Guest, Kind, Need
from nxc_core.operation import Operation
from nxc_nixos import document, evaluation, expression, flakes, planning
from nxc_nixos.cache import Cache
from nxc_nixos.evaluation import Evaluator, Part, Reading
from nxc_nixos.expression import Target
from nxc_nixos.nix import Nix
from nxc_nixos.options import NixosOptions
from nxc_nixos.study import SYSTEM, Study

A = TypeVar("A")


@frozen(kw_only=True)
class Evaluated:
    """The derivations of a composition: of the build document, and of each role that is evaluated."""

    package: str
    parts: Mapping[str, Part]


@define(kw_only=True)
class Answers:
    """What is known of a composition, and the way to know more."""

    study: Study
    options: NixosOptions
    cache: Cache
    op: Operation
    _reading: Reading | None = None
    _outputs: Mapping[str, Any] | None = None
    _evaluated: dict[Target, Evaluated] = field(factory=dict)

    def read(self) -> Reading:
        """Return what the composition says."""
        if self._reading is None:
            self._reading = self._read()
        return self._reading

    def _read(self) -> Reading:
        kept = self._get("reading", self.study.keys.reading)
        if kept is not None:
            said = evaluation.to_reading(kept)
            names = document.named_paths(self.study.nix.store, said.test_script or "")
            if self.study.nix.store.holds(names):
                return said
        value = self._ask(expression.any_target(), lambda evaluator: evaluator.read(self.op))
        said = evaluation.to_reading(value)
        # Warnings are told when something is evaluated, not each time.
        kept = {**value, "read": {**value["read"], "warnings": []}}
        self._put(("reading", self.study.keys.reading, kept))
        return said

    def evaluate(self, kind: Kind, guest: Guest) -> Evaluated:
        """Return the derivations for a kind and a guest; only roles that changed are evaluated, and once."""
        target = expression.find_target(kind, guest)
        if target not in self._evaluated:
            self._evaluated[target] = self._find_evaluated(target)
        return self._evaluated[target]

    def _find_evaluated(self, target: Target) -> Evaluated:
        said = self.read()
        names = said.evaluated
        key = [_spell(target), self.study.keys.package(names), dict(said.templates)]
        kept = self._get("package", key)
        if kept is not None and _are_valid(self.study.nix, [kept], self.op):
            parts = self._kept_parts(names, target)
            if set(parts) == set(names):
                return Evaluated(package=kept, parts=parts)
        found = self._ask(target, lambda evaluator: self._evaluate(evaluator, names, target))
        rows = [("part", self._part_key(name, target), asdict(part)) for name, part in found.parts.items()]
        self._put(*rows, ("package", key, found.package))
        return found

    def asked(self, kind: Kind, guest: Guest) -> dict[str, tuple[tuple[Need, ...], Container]]:
        """Return what each role needs of the platform, and asks of its containers."""
        if self.op.dry:
            said = self._find_outputs(expression.find_target(kind, guest))["roles"]
            parts = {name: evaluation.to_part(role) for name, role in said.items()}
        else:
            parts = dict(self.evaluate(kind, guest).parts)
        read = self.read()
        beside = {role: read.containers.get(role, Container()) for role in read.templates}
        return {
            role: (parts[name].needs, evaluation.join(parts[name].container, beside[role]))
            for role, name in read.templates.items()
        }

    def plan(self, kind: Kind, guest: Guest) -> list[str]:
        """Name what is to be built or fetched for a kind and a guest; nothing is written."""
        target = expression.find_target(kind, guest)
        said = self.read()
        key = [_spell(target), self.study.keys.package(said.evaluated), dict(said.templates)]
        kept = self._get("package", key)
        if kept is not None and self.study.nix.store.holds([kept]):
            return planning.ask_missing(self.study.nix, kept, self.op, project=self.study.project.root)
        return planning.missing_outputs(self.study.nix.store, self._find_outputs(target))

    def _find_outputs(self, target: Target) -> Mapping[str, Any]:
        names = self.read().evaluated
        if self._outputs is None:
            self._outputs = self._ask(target, lambda evaluator: evaluator.list_outputs(names, self.op))
        return self._outputs

    def _evaluate(self, evaluator: Evaluator, names: Sequence[str], target: Target) -> Evaluated:
        parts = {} if evaluator.free else self._kept_parts(names, target)
        missing = [name for name in names if name not in parts]
        is_small = len(missing) < evaluation.DIVIDED_FROM and not parts
        if evaluator.pure or evaluator.processes == 1 and not parts or is_small:
            parts, package = evaluator.evaluate_whole(names, self.op)
            return Evaluated(package=package, parts=parts)
        if missing:
            parts |= evaluator.evaluate_parts(missing, self.op)
        all_parts = {role: parts[name] for role, name in self.read().templates.items()}
        return Evaluated(package=evaluator.assemble(all_parts, self.op), parts=parts)

    def _kept_parts(self, names: Sequence[str], target: Target) -> dict[str, Part]:
        found = {}
        for name in names:
            kept = self._get("part", self._part_key(name, target))
            if kept is not None:
                part = evaluation.to_part(kept)
                if self.study.nix.store.holds(part.paths):
                    found[name] = part
        paths = [path for part in found.values() for path in part.paths]
        return found if _are_valid(self.study.nix, paths, self.op) else {}

    def _part_key(self, name: str, target: Target) -> Any:
        return [_spell(target), self.study.keys.role(name)]

    def _get(self, kind: str, key: Any) -> Any:
        return None if self.study.impure else self.cache.get(kind, key)

    def _put(self, *rows: tuple[str, Any, Any]) -> None:
        """Keep answers, each by its kind and key."""
        if self.study.impure or self.op.dry:
            return
        if self.study.is_outdated(self.op):
            self.op.step(
                "the project was edited while it was evaluated; nothing of it is kept", topic="warning"
            )
            return
        for row in rows:
            self.cache.put(*row)

    def _ask(self, target: Target, question: Callable[[Evaluator], A]) -> A:
        """Ask within bounds; an answer that depends on more is asked for freely, and not kept."""
        if self.study.impure:
            self._tell_impure(self.study.impure)
            return question(self._evaluator(target))
        try:
            return question(self._evaluator(target))
        except NxcError as error:
            if self.options.pure or not evaluation.is_impure(error):
                raise
            self.study = evolve(self.study, impure=evaluation.first_refusal(error))
        self._tell_impure(self.study.impure)
        return question(self._evaluator(target))

    def _tell_impure(self, why: str) -> None:
        self.cache.put("impure", self.study.mark, why)
        if why != "--impure":
            self.op.step(
                f"{why}: evaluated in one process, and anew each time; what is not the project's own"
                " is best an input of its flake",
                topic="warning",
            )

    def _evaluator(self, target: Target) -> Evaluator:
        free = bool(self.study.impure) and not self.options.pure
        alone = free or self.options.pure
        found = self.study.project
        pure = self.options.pure and found.flake is not None
        library = flakes.pin_library(self.study.nix, found, self.op) if pure else ""
        return Evaluator(
            nix=self.study.nix,
            project=found,
            driver=expression.driver(found, self.options, target, self.study.reference, SYSTEM, library),
            processes=1 if alone else self.options.jobs or evaluation.cores(),
            free=free,
            pure=pure,
            dry=self.op.dry,
        )


def _spell(target: Target) -> Any:
    return asdict(target)


def _are_valid(nix: Nix, paths: Sequence[str], op: Operation) -> bool:
    """Whether the store knows all the paths: one that is there may be half written, or half collected."""
    if not paths:
        return True
    if not nix.store.holds(paths):
        return False
    argv = (nix.program("nix-store"), "--check-validity", *nix.flags, *paths)
    return op.run(argv, env=nix.environment, timeout=30, check=False).code == 0
