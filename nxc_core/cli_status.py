"""Where deployments and their nodes have got to, for people and for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from nxc_core.cli_context import Invocation
from nxc_core.errors import NxcError
from nxc_core.output import printable

if TYPE_CHECKING:
    from nxc_core.deploying import Summary
    from nxc_core.session import Session

COLUMNS = ("node", "role", "machine", "state", "step", "cause", "last line")
STYLES = {"ready": "green", "failed": "red", "lost": "red", "left out": "red"}
MANY = 30
"""Rows at the end of a start, above which nodes that are ready are only counted."""


def describe(session: Session, id: str) -> dict[str, Any]:
    """Return a deployment as ``--json`` prints it."""
    return _describe(session, _find(session, id))


def _find(session: Session, id: str) -> Summary:
    return next(summary for summary in session.deployments() if summary.id == id)


def _describe(session: Session, summary: Summary) -> dict[str, Any]:
    deployment = summary.deployment
    if deployment is None:
        return {"id": summary.id, "status": None, "trouble": summary.trouble, "nodes": []}
    return {
        "id": deployment.id,
        "composition": str(deployment.composition.source),
        "flavour": ", ".join(group.flavour for group in deployment.groups),
        "status": (summary.status or deployment.status).value,
        "created": deployment.created,
        "trouble": summary.trouble,
        "nodes": _describe_nodes(session, summary),
        "left_out": [
            {"machine": one.machine, "step": one.step, "cause": one.cause, "last_line": one.last_line}
            for one in summary.quarantined.values()
        ],
    }


def _describe_nodes(session: Session, summary: Summary) -> list[dict[str, Any]]:
    assert summary.deployment is not None
    seen = _observe(session, summary)
    nodes = []
    for spec in summary.deployment.specs:
        outcome = summary.outcomes.get(spec.name)
        networks = summary.deployment.networks
        node: dict[str, Any] = {
            "name": spec.name,
            "role": spec.role,
            "machine": summary.machines.get(spec.name, ""),
            "state": outcome.state.value if outcome else "waiting",
            "step": outcome.step if outcome else "",
            "cause": outcome.cause if outcome else "",
            "last_line": outcome.last_line if outcome else "",
            "addresses": [a for network in networks for a in network.members.get(spec.name, ())],
        }
        nodes.append(node | seen.get(spec.name, {}))
    return nodes


def _observe(session: Session, summary: Summary) -> dict[str, dict[str, str]]:
    """Say of the nodes that were ready and whose platform says that they are gone what became of them."""
    ready = [name for name, outcome in summary.outcomes.items() if outcome.state == "ready"]
    if not ready or summary.status not in ("running", "degraded"):
        return {}
    try:
        found = session.attach(summary.id).look()
    except (NxcError, OSError, ExceptionGroup):
        return {}  # without its plugin, the journal is what we know
    return {
        name: {"state": "lost", "cause": outcome.cause, "step": outcome.step}
        for name, outcome in found.items()
        if outcome.state == "lost"
    }


def status(
    nxc: Invocation,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    every: Annotated[bool, typer.Option("--all", "-a", help="Stopped deployments too.")] = False,
) -> None:
    """Show deployments and where their nodes have got to."""
    session = nxc.session(configured=False)
    found = [s for s in session.deployments() if every or s.status != "stopped"]
    told = [_describe(session, summary) for summary in found]
    if as_json:
        nxc.tell_json({"schema": "nxc.status/1", "deployments": told})
        return
    if not told:
        nxc.note("nothing is deployed in this project")
    for summary, one in zip(found, told, strict=True):
        if one["status"] is None:
            nxc.tell(f"{one['id']}  unreadable: {one['trouble']}")
            continue
        nxc.tell(f"{one['id']}  {one['status']}  {one['flavour']}  since {one['created']}")
        if summary.bound:
            nxc.pause()
            _write_table(sys.stdout, _rows(one))
            continue
        rows = [
            (n["name"], n["role"], n["state"], next(iter(n["addresses"]), ""), n["cause"])
            for n in one["nodes"]
        ]
        nxc.tell_table(rows, indent="  ")


def tell_outcomes(nxc: Invocation, id: str) -> None:
    """Show what became of each node where some are missing, or where machines were held for them."""
    session = nxc.session()
    summary = _find(session, id)
    if nxc.common.quiet or not (summary.bound or summary.status == "degraded"):
        return
    nxc.pause()
    rows = _rows(_describe(session, summary))
    ready = [row for row in rows if row[3] == "ready"]
    if len(rows) > MANY:
        rows = [row for row in rows if row[3] != "ready"]
    if rows:
        _write_table(sys.stderr, rows)
    if len(ready) and len(ready) + len(rows) > MANY:
        nxc.note(f"  {len(ready)} nodes are ready")


def _rows(told: dict[str, Any]) -> list[tuple[str, ...]]:
    bad = [{**one, "name": "", "role": "", "state": "left out"} for one in told["left_out"]]
    return [tuple(map(_line, _cells(one))) for one in (*told["nodes"], *bad)]


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    cause = one["cause"].removeprefix(f"{one['step']}: ")
    return (one["name"], one["role"], one["machine"], one["state"], one["step"], cause, one["last_line"])


def _line(text: str) -> str:
    return printable(" ".join(text.split()))


def _write_table(stream: IO[str], rows: Sequence[Sequence[str]]) -> None:
    """Write outcomes with a heading, without the columns that say nothing; long cells are folded."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    used = [i for i in range(len(COLUMNS)) if any(row[i] for row in rows)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i in used:
        table.add_column(COLUMNS[i], overflow="fold", no_wrap=i < 4)
    for row in rows:
        table.add_row(*(Text(row[i], style=STYLES.get(row[i], "") if i == 3 else "") for i in used))
    # What is no terminal has no width: a line of a file is not to be folded.
    width = None if stream.isatty() else 10_000
    console = Console(file=stream, width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(table, width=console.width - 2)
    from nxc_core.output import write

    for line in captured.get().splitlines():
        write(stream, f"  {line.rstrip()}\n")
