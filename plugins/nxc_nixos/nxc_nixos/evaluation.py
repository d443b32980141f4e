"""Asking Nix what a composition says and which derivations it is made of, by several processes at once."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from nxc_core.errors import BuildError, CommandError, NxcError
from nxc_core.model import Container, Need
from nxc_core.operation import Operation
from nxc_core.paths import nix_dir
from nxc_nixos import nix as asking
from nxc_nixos.expression import Driver
from nxc_nixos.nix import Nix
from nxc_nixos.project import Project

READING = "nxc.nixos.composition/1"
DIVIDED_FROM = 3
"""Roles from which on they are divided over processes: each process reads the packages anew."""
ROLES_EACH = 2
"""Roles that a process has at least, lest all together need more memory than one."""
ROLES_MOST = 5
"""Roles that a process has at most: what it needed is given back before the next one begins."""
_COLOUR = re.compile(r"(?:\x1b|\\u001b)\[[0-9;]*m")
_IMPURE = re.compile(r"is forbidden in (?:restricted|pure)|in pure evaluation mode")
_URIS = (
    "https:// http:// ssh:// git+https:// git+http:// git+ssh:// git+file:// path: github: gitlab: sourcehut:"
)


@frozen(kw_only=True)
class Reading:
    """What a composition says. ``templates`` names for each role the one that is evaluated for it.

    ``containers`` holds what is said of each role's beside the role itself.
    """

    name: str
    roles: tuple[str, ...]
    distribution: Mapping[str, int | Sequence[str]]
    test_script: str | None = field(repr=False)
    warnings: tuple[str, ...]
    templates: Mapping[str, str]
    containers: Mapping[str, Container] = field(factory=dict)

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The roles of which all others are copies."""
        return tuple(sorted(set(self.templates.values())))


@frozen(kw_only=True)
class Part:
    """One role's derivations, each with its output (``<path>!out``), and what it asks of a platform."""

    derivations: Mapping[str, str | None]
    needs: tuple[Need, ...] = ()
    container: Container = Container()

    @property
    def paths(self) -> tuple[str, ...]:
        """The derivations that there are."""
        return tuple(part.partition("!")[0] for part in self.derivations.values() if part is not None)


@frozen(kw_only=True)
class Evaluator:
    """Nix, what it is to evaluate and what it may read: the project, the library and nixpkgs, or anything.

    With ``pure`` it is Nix' own pure mode that says so. With ``dry`` nothing is written to the store.
    """

    nix: Nix
    project: Project
    driver: Driver
    processes: int
    free: bool = False
    pure: bool = False
    dry: bool = False

    def read(self, op: Operation) -> Any:
        """Return what the composition says, without evaluating a role."""
        what = f"reading {self.project.source.name}"
        return self._value(self.driver.reading(), op, what=what)

    def evaluate_parts(self, roles: Sequence[str], op: Operation) -> dict[str, Part]:
        """Evaluate some roles, divided over processes where that is worth it."""
        groups = divide(roles, self.processes)
        several = f" in {min(len(groups), self.processes)} processes" if len(groups) > 1 else ""
        slots = threading.BoundedSemaphore(self.processes)
        op.step(f"evaluating {_count(roles)}{several}", topic="build", roles=list(roles))

        def evaluate(group: Sequence[str]) -> Mapping[str, Any]:
            what = f"evaluating {', '.join(group)}"
            with slots:
                found: Mapping[str, Any] = self._value(self.driver.parts(group), op, what=what)
            return found

        try:
            answers = op.map(evaluate, groups)
        except ExceptionGroup as failed:  # each says which roles it is about; the first will do
            raise next((e for e in failed.exceptions if isinstance(e, NxcError)), failed) from failed
        return {role: to_part(said) for answer in answers for role, said in answer.items()}

    def evaluate_whole(self, roles: Sequence[str], op: Operation) -> tuple[dict[str, Part], str]:
        """Evaluate all in one process: the parts, and the build document's derivation."""
        op.step(f"evaluating {_count(roles)}", topic="build", roles=list(roles))
        found = self._value(self.driver.whole(roles), op, what=f"evaluating {self.project.source.name}")
        return {role: to_part(said) for role, said in found["parts"].items()}, found["package"]

    def assemble(self, parts: Mapping[str, Part], op: Operation) -> str:
        """Return the build document's derivation, made of derivations that are in the store."""
        expression = self.driver.assembled({role: part.derivations for role, part in parts.items()})
        if self.free:
            nix = self.nix
        elif self.nix.store.is_moved:  # there, bounds keep Nix from its own derivations
            nix = evolve(self.nix, environment=_sober(self.nix.environment))
        else:
            nix = self._limited()
            nix = evolve(nix, flags=(*nix.flags, "-I", f"nxc-parts={nix.store.logical}"))
        (found,) = asking.instantiate(
            nix,
            expression,
            op,
            project=self.project.root,
            what=f"assembling {self.project.source.name}",
            link=op.dir / "package.drv",
        )
        return found

    def list_outputs(self, roles: Sequence[str], op: Operation) -> Mapping[str, Any]:
        """Return where the parts of roles, and what is made of them, will be in the store."""
        op.step(f"evaluating {_count(roles)}", topic="build", roles=list(roles))
        what = f"evaluating {self.project.source.name}"
        found: Mapping[str, Any] = self._value(self.driver.outputs(roles), op, what=what)
        return found

    def _value(self, expression: str, op: Operation, *, what: str) -> Any:
        return asking.evaluate(
            self._limited(),
            expression,
            op,
            project=self.project.root,
            what=what,
            pure=self.pure,
            write=not self.dry,
        )

    def _limited(self) -> Nix:
        """Return Nix with its bounds: an access beyond them is an error, and the environment empty."""
        if self.free or self.pure:
            return self.nix
        flags = [*self.nix.flags, "--option", "restrict-eval", "true", "--option", "allowed-uris", _URIS]
        for place in dict.fromkeys((self.project.root, nix_dir(), nix_dir().resolve())):
            flags += ["-I", f"nxc-allowed={place}"]
        if self.project.nixpkgs_folder is not None:
            flags += ["-I", f"nixpkgs={self.project.nixpkgs_folder}"]
        return evolve(self.nix, flags=tuple(flags), environment=_sober(self.nix.environment))


def _sober(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment Nix itself needs; no composition sees the rest."""
    kept = re.compile(
        r"PATH|HOME|TMPDIR|USER|LANG|LC_\w+|TERM|NO_COLOR|XDG_\w+|\w*_(?i:proxy)|\w*SSL_\w+|SSH_\w+|NIX_\w+|GC_\w+"
    )
    return {key: value for key, value in environment.items() if kept.fullmatch(key) and key != "NIX_PATH"}


def divide(roles: Sequence[str], processes: int) -> list[list[str]]:
    """Deal roles out, in turn, to as many processes at once or more; few of them stay together."""
    if len(roles) < DIVIDED_FROM:
        return [list(roles)] if roles else []
    count = max(1, min(processes, (len(roles) + ROLES_EACH - 1) // ROLES_EACH))
    while len(roles) > count * ROLES_MOST:
        count += processes
    return [list(roles[first::count]) for first in range(count)]


def cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0))


def to_reading(value: Any) -> Reading:
    """Take apart what the library says of a composition; raises BuildError for words of another library."""
    said = value["read"]
    if said.get("schema") != READING:
        raise BuildError(
            f"the library speaks {said.get('schema')}, this nxc {READING}",
            hint="the flake's input nxc and this nxc differ: update the older one",
        )
    return Reading(
        name=said["name"],
        roles=tuple(said["roles"]),
        distribution=said["rolesDistribution"],
        test_script=said["testScript"],
        warnings=tuple(said["warnings"]),
        templates=value["templates"],
        containers={role: to_container(row) for role, row in said.get("container", {}).items()},
    )


def to_part(said: Mapping[str, Any]) -> Part:
    """Take apart what the library says of a role, or what was kept of it."""
    return Part(
        derivations=said["parts"] if "parts" in said else said["derivations"],
        needs=tuple(Need(need=row["need"], option=row["option"]) for row in said["needs"]),
        container=to_container(said.get("container") or {}),
    )


def to_container(said: Mapping[str, Any]) -> Container:
    """Take apart what is asked of a role's containers; a library of before there was any says nothing."""
    return Container(
        ports=tuple(said.get("ports", ())),
        volumes=tuple(said.get("volumes", ())),
        memory=said.get("memory"),
        cpus=said.get("cpus"),
        pids=said.get("pids"),
        sysctls=said.get("sysctls", {}),
    )


def join(own: Container, beside: Container) -> Container:
    """Add what a composition says for a role to what the role says."""
    ports = tuple(dict.fromkeys((*own.ports, *beside.ports)))
    return evolve(own, ports=ports, volumes=tuple(dict.fromkeys((*own.volumes, *beside.volumes))))


def is_impure(error: NxcError) -> bool:
    """Whether Nix refused to read what lies outside its bounds."""
    return bool(_IMPURE.search(_told(error)))


def first_refusal(error: NxcError) -> str:
    """Return what Nix refused to read."""
    found = re.search(r"access to (?:(?:absolute |canonical )?path|URI) '[^']*'", _told(error))
    return found[0] if found else "something outside the project"


def _told(error: NxcError) -> str:
    cause = error.__cause__
    told = cause.stderr if isinstance(cause, CommandError) else error.message
    return _COLOUR.sub("", told)


def _count(roles: Sequence[str]) -> str:
    return f"role {roles[0]}" if len(roles) == 1 else f"{len(roles)} roles"
