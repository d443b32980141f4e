"""What went wrong with one machine: at which step, why, and the way out."""

from __future__ import annotations

from collections.abc import Sized

from nxc_core import DeployError


class Trouble(DeployError):
    """One machine cannot become a node, at one step; the others go on."""

    def __init__(self, *, step: str, cause: str, machine: str, hint: str = "", last_line: str = "") -> None:
        super().__init__(f"{machine}: {step}: {cause}", hint=hint)
        self.step = step
        self.cause = cause
        self.machine = machine
        self.last_line = last_line

    @property
    def told(self) -> str:
        """The cause with the way out, for a table that has no hints."""
        return f"{self.cause} ({self.hint})" if self.hint else self.cause


def several(things: Sized | int, what: str = "machine") -> str:
    """Spell how many these are."""
    count = things if isinstance(things, int) else len(things)
    return f"{count} {what}{'' if count == 1 else 's'}"
