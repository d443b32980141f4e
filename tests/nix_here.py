"""A Nix with a store of a test's own: builds with /bin/sh, as root and as anyone, without a network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from nxc_core.errors import NxcError
from nxc_core.model import Event
from nxc_core.operation import Operation
from nxc_core.state import Journal
from nxc_nixos import nix as asking
from nxc_nixos.nix import Nix
from nxc_nixos.options import NixosOptions

SETTINGS = "substituters =\nbuild-users-group =\nsandbox = false"
DERIVATION = """
  { name, script, system ? "x86_64-linux", ... }@more: derivation ({
    inherit name system;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-c" script ];
  } // removeAttrs more [ "name" "script" "system" ])
"""


def variables(home: Path) -> dict[str, str]:
    """Return what makes Nix use a store below ``home``, and nothing of the machine's own."""
    for name in ("store", "state", "log", "conf"):
        (home / name).mkdir(parents=True, exist_ok=True)
    return {
        "NIX_STORE_DIR": str(home / "store"),
        "NIX_STATE_DIR": str(home / "state"),
        "NIX_LOG_DIR": str(home / "log"),
        "NIX_CONF_DIR": str(home / "conf"),
        "NIX_USER_CONF_FILES": "",
        "NIX_CONFIG": SETTINGS,
        "NIX_PATH": "",
        "NIX_REMOTE": "",
        "HOME": str(home),
    }


@frozen(kw_only=True)
class Here:
    """An operation, its events, and a Nix for it."""

    op: Operation
    events: list[Event]
    home: Path
    nix: Nix

    def fails(self, work: Callable[[], object]) -> NxcError:
        """Return the error that work ends with."""
        try:
            found = work()
        except NxcError as error:
            return error
        raise AssertionError(f"nothing was wrong: {found!r}")

    def evaluate(self, expression: str, *, project: Path | None = None) -> object:
        """Evaluate as the driver does."""
        where = project or self.home
        return asking.evaluate(self.nix, expression, self.op, project=where, what="evaluating it")

    def derivations(self, *given: Mapping[str, object] | str) -> tuple[str, ...]:
        """Write derivations: each an argument of DERIVATION, as Nix."""
        texts = " ".join(f"(make {one})" for one in given)
        return asking.instantiate(
            self.nix, f"let make = {DERIVATION}; in [ {texts} ]", self.op, project=self.home, what="writing"
        )

    def build(self, *derivations: str, links: Path | None = None) -> dict[str, str]:
        """Build as the driver does."""
        return asking.build(self.nix, derivations, self.op, project=self.home, links=links)

    def messages(self, topic: str) -> list[str]:
        """List what was said on a topic."""
        return [event.message for event in self.events if event.topic == topic]


def operation(folder: Path, events: list[Event], *, offline: bool = False) -> Operation:
    """Return an operation whose files are all below ``folder``."""
    return Operation(
        dir=folder / "build",
        runtime=folder,
        cache=folder / "cache",
        journal=Journal(folder / "journal.jsonl"),
        emit=events.append,
        cancel=threading.Event(),
        offline=offline,
        name="test",
    )


def nix_in(folder: Path, options: NixosOptions | None = None, *, offline: bool = False) -> Here:
    """Find Nix for an operation below ``folder``; the environment is the test's to set."""
    events: list[Event] = []
    op = operation(folder, events, offline=offline)
    return Here(op=op, events=events, home=folder, nix=asking.find(options or NixosOptions(), op))
