"""Which example runs on which flavour, as nxc decides: docs/flavours.md. ``./task flavours`` writes it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from attrs import frozen

from nxc_core.errors import ConfigError, NxcError
from nxc_core.flavour import Console, Flavour, Links, Power
from nxc_core.machine import NodeHandle
from nxc_core.model import Composition, NodeSpec, NodeState, Outcome
from nxc_core.plugins import Plugins
from nxc_core.running import Running
from nxc_core.session import Session
from nxc_core.verdict import negotiate

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs/flavours.md"
BASE = "debian"
PROTOCOLS: Mapping[str, tuple[type[Any], Callable[[NodeHandle], object]]] = {
    "get_console_log": (Console, NodeHandle.get_console_log),
    "wait_for_console_text": (Console, NodeHandle.get_console_log),
    "block": (Links, NodeHandle.block),
    "unblock": (Links, NodeHandle.unblock),
    "crash": (Power, NodeHandle.crash),
    "start": (Power, NodeHandle.start),
}
"""The verbs that ask something of the flavour itself, and what asks it; all others only need a system."""
_HEAD = """\
# Which example runs where

Written by `./task flavours` from what nxc itself decides; tests hold it to that in both directions.
The base is Debian, which needs nothing but a Debian mirror.

"""


@frozen(kw_only=True)
class Verdict:
    """Whether an example runs on a flavour; a refusal is what nxc says before it builds anything."""

    example: str
    flavour: str
    refusal: str = ""


class _Accepted(NxcError):
    """Nothing stands in the way."""


def examples() -> list[str]:
    """Name the examples."""
    return sorted(path.parent.name for path in (ROOT / "examples").glob("*/composition.nix"))


def flavours() -> list[str]:
    """Name our flavours that run what the base builds."""
    ours = {path.name for path in (ROOT / "plugins").iterdir()}
    plugins = Plugins.discover()
    found = []
    for name, entry in plugins.flavours.items():
        if entry.target.split(".")[0] in ours:
            try:
                negotiate(plugins.base(BASE), plugins.flavour(name))
            except NxcError:
                continue
            found.append(name)
    return found


def decide(example: str, flavour: str, folder: Path) -> Verdict:
    """Ask nxc, as ``nxc build`` does; nothing is fetched or built."""
    project = folder / example
    if not project.exists():
        shutil.copytree(ROOT / "examples" / example, project, ignore=shutil.ignore_patterns(".nxc"))
    session = Session.open(project)
    session.offline = True

    def accept(_: Composition) -> None:
        raise _Accepted("it would be built now")

    try:
        session.build(project, flavour=flavour, base=BASE, accept=accept)
    except _Accepted:
        return Verdict(example=example, flavour=flavour)
    except ConfigError as error:
        told = error.message.removeprefix(f"{project}/composition.nix, ")
        return Verdict(example=example, flavour=flavour, refusal=told)
    raise AssertionError("a build went on though it was not accepted")


def decide_all(folder: Path) -> list[Verdict]:
    """Ask for every example and flavour."""
    return [decide(example, flavour, folder) for example in examples() for flavour in flavours()]


def read_cells(page: str) -> dict[tuple[str, str], bool]:
    """Read which flavour runs which example from the page, without asking anyone."""
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines() if "|" in line]
    return {
        (flavour, row[0].removeprefix("examples/")): cell == "yes"
        for row in rows
        if row[0].startswith("examples/")
        for flavour, cell in zip(rows[0][1:], row[1:], strict=True)
    }


def cannot(flavour: Flavour[Any]) -> dict[str, str]:
    """Map the verbs that a flavour cannot give to what they say."""
    found = {}
    for verb, (protocol, call) in PROTOCOLS.items():
        if not isinstance(flavour, protocol):
            found[verb] = _ask(call, flavour)
    return found


def _ask(call: Callable[[NodeHandle], object], flavour: Flavour[Any]) -> str:
    """Return what a verb says where the flavour does not offer it."""

    def outcome(name: str) -> Outcome:
        return Outcome(node=name, state=NodeState.STOPPED)

    running = cast("Running", SimpleNamespace(flavour=flavour, outcome=outcome))
    try:
        call(NodeHandle(running, NodeSpec(name="one", role="one", index=0, machine="one")))
    except ConfigError as error:
        return error.message
    raise AssertionError(f"{flavour.name} carried out what it does not offer")


def text(verdicts: Sequence[Verdict]) -> str:
    """Return the page as it should be."""
    columns = list(dict.fromkeys(verdict.flavour for verdict in verdicts))
    reasons = list(dict.fromkeys(verdict.refusal for verdict in verdicts if verdict.refusal))
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for example in dict.fromkeys(verdict.example for verdict in verdicts):
        cells = [
            f"no ({reasons.index(verdict.refusal) + 1})" if verdict.refusal else "yes"
            for verdict in verdicts
            if verdict.example == example
        ]
        lines.append(f"| `examples/{example}` | {' | '.join(cells)} |")
    lines += ["", *(f"{n}. {reason}" for n, reason in enumerate(reasons, 1))]
    return _HEAD + "\n".join([*lines, "", *_verbs(columns)]) + "\n"


def _verbs(columns: Sequence[str]) -> list[str]:
    plugins = Plugins.discover()
    missing = {name: cannot(plugins.flavour(name)) for name in columns}
    lines = ["## Verbs of test scripts", ""]
    if not any(missing.values()):
        return [*lines, f"Every verb works on {', '.join(columns[:-1])} and {columns[-1]}."]
    lines += [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for verb in PROTOCOLS:
        cells = [f"no: {missing[name][verb]}" if verb in missing[name] else "yes" for name in columns]
        if set(cells) != {"yes"}:
            lines.append(f"| `{verb}` | {' | '.join(cells)} |")
    return [*lines, "", "All others work everywhere."]


def write() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory(prefix="nxc-flavours-") as folder:
        FILE.write_text(text(decide_all(Path(folder))))


if __name__ == "__main__":
    write()
