"""What Nix complains of, in few words: what, where in the user's own files, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import evolve

from nxc_core.errors import BuildError, ConfigError, NxcError
from nxc_nixos import causes_machine, causes_user
from nxc_nixos.case import TRACE, Case
from nxc_nixos.failure import Failure, Files, read_failures
from nxc_nixos.log import rendered
from nxc_nixos.stores import Store


def complain(
    stderr: str,
    *,
    project: Path,
    what: str,
    store: Store | None = None,
    tails: Mapping[str, Sequence[str]] | None = None,
    untracked: Callable[[], Sequence[str]] = tuple,
    show_trace: bool = False,
    version: tuple[int, ...] = (),
    offline: bool = False,
) -> NxcError:
    """Return one error for all that Nix wrote, as records or for a person.

    ``tails`` are the last lines of the builders' logs, ``untracked`` lists the project's files that git does
    not know, ``what`` says what was being done. With ``show_trace`` Nix' own words stand below.
    """
    store = store or Store(uri="local")
    case = Case(
        failure=Failure(message=""),
        files=Files(project.resolve(), store.locate),
        what=what,
        store=store,
        tails=tails or {},
        untracked=untracked,
        version=version,
        offline=offline,
    )
    error = _judge(case, read_failures(stderr), rendered(stderr))
    if show_trace:
        return type(error)(f"{error.message}\n\n{rendered(stderr).strip()}", hint=error.hint)
    return error


def _judge(case: Case, failures: Sequence[Failure], text: str) -> NxcError:
    """Ask the rules, the most telling first, about every error, then about the whole text."""
    for failure in (*failures, Failure(message=text)):
        for pattern, answer in (*causes_machine.RULES, *causes_user.RULES):
            match = pattern.search(failure.message)
            if match:
                return answer(match, evolve(case, failure=failure))
    if not failures:
        told = text.strip().splitlines()
        return BuildError(f"{case.what}: {told[-1].strip() if told else 'Nix failed without a word'}")
    case = evolve(case, failure=failures[0])
    near = case.failure.near
    return ConfigError(case.at(case.words), hint=f"did you mean {near}?" if near else TRACE)
