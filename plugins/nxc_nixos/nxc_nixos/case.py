"""A command of Nix that failed, and what is known around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from attrs import field, frozen

from nxc_core.errors import NxcError
from nxc_nixos.failure import Failure, Files
from nxc_nixos.stores import Store

TRACE = "--show-trace shows how Nix got there"
LONGEST = 24
"""Lines of a message that are shown."""


@frozen(kw_only=True)
class Case:
    """A command that failed: one of its errors, and what is known around it."""

    failure: Failure
    files: Files
    what: str
    store: Store
    tails: Mapping[str, Sequence[str]] = field(factory=dict)
    untracked: Callable[[], Sequence[str]] = tuple
    version: tuple[int, ...] = ()
    offline: bool = False

    @property
    def words(self) -> str:
        """The error's own words, the user's files as the user names them."""
        lines = self.files.shorten(self.failure.message).strip().splitlines()
        return "\n".join([*lines[:LONGEST], *(["..."] if len(lines) > LONGEST else [])])

    def at(self, message: str) -> str:
        """Add to a message where in the user's files it comes from."""
        frames = self.files.frames(self.failure)
        lines = [f"  at {frame}" for frame in frames if frame not in message]
        if not re.search(r"\boption [`'‘]", message):
            lines += [f"  while evaluating the option {option}" for option in self.failure.options()[:1]]
        lines += [f"  of role {role}" for role in self.failure.roles()[:1] if role not in self.what]
        place = "" if frames or self.files.are_named(message) else f"{self.what}: "
        return "\n".join([place + message, *lines])

    def tail(self, derivation: str) -> str:
        """Return the last lines of a derivation's log, as lines to add to a message."""
        return "".join(f"\n  | {line}" for line in self.tails.get(derivation, ()))

    def log_hint(self, derivation: str) -> str:
        """Say how to see the whole log of a derivation."""
        where = f" --store {self.store.uri}" if self.store.is_moved else ""
        return f"the whole log: nix log{where} {derivation}"


Answer = Callable[[re.Match[str], Case], NxcError]
Rule = tuple[re.Pattern[str], Answer]


def rule(pattern: str, answer: Answer) -> Rule:
    """Return a rule whose pattern may span lines."""
    return re.compile(pattern, re.DOTALL), answer
