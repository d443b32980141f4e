"""What Nix tells while it works (``--log-format internal-json``), as events."""

from __future__ import annotations

from nxc_core.operation import Operation


class Log:
    """Hears a command's lines, tells what is going on, keeps what an error needs."""

    def __init__(self, op: Operation) -> None:
        self.op = op

    def line(self, line: str) -> None:
        """Take one line of either stream."""

    def text(self) -> str:
        """Return Nix' messages as a person would have seen them."""
        return ""
