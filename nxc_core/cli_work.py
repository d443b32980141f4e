"""The verbs that build, start and stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nxc_core.cli_complete import complete_deployments
from nxc_core.cli_context import Invocation
from nxc_core.cli_wanted import Enough, Spread, Target, Wanted, read_policy, settle, spread
from nxc_core.errors import ConfigError, DeployError, Interrupted, NxcError, UsageError

if TYPE_CHECKING:
    from nxc_core.model import Composition
    from nxc_core.running import Running
    from nxc_core.session import Accept, Session


def refuse_elsewhere() -> None:
    """Refuse to build or start on what is not an amd64 Linux."""
    from nxc_core.doctor import check_platform

    check_platform()


def build(
    nxc: Invocation,
    wanted: Wanted,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be built; build nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the build as JSON.")] = False,
) -> None:
    """Build a composition.

    With nothing changed, nothing is done. Prints the build's id.
    """
    refuse_elsewhere()
    target = settle(nxc, wanted)
    if dry_run:
        _tell_plan(nxc, target, as_json)
        return
    made = nxc.session().build(
        target.source,
        flavour=target.flavour,
        base=target.base,
        options=target.options,
        roles=nxc.settings.roles() or None,
        jobs=target.jobs,
    )
    if as_json:
        from nxc_core.state import unstructure

        nxc.tell_json(unstructure(made))
    else:
        nxc.tell(made.id)


def _tell_plan(nxc: Invocation, target: Target, as_json: bool) -> None:
    from nxc_core.identity import distribute, redistribute
    from nxc_core.model import BuildRequest
    from nxc_core.verdict import check_needs, negotiate

    session = nxc.session()
    base = session.plugins.base(target.base, target.options.get(target.base))
    driver = session.plugins.flavour(target.flavour, target.options.get(target.flavour))
    kind = negotiate(base, driver)
    op = session.operation(session.workspace.root, "dry-run", dry=True)
    composition = base.read(target.source, op)
    check_needs(composition, driver)
    driver.vet(redistribute(composition, nxc.settings.roles()), op)
    request = BuildRequest(composition=composition, kind=kind, guest=driver.guest, jobs=target.jobs)
    examined = base.examine(request, op)
    check_needs(examined, driver)
    driver.vet(redistribute(examined, nxc.settings.roles()), op)
    missing = list(base.plan(request, op))
    nodes = {role.name: list(role.names()) if role.count or role.hosts else [] for role in composition.roles}
    distribute(composition)
    if as_json:
        told = {"base": base.name, "flavour": driver.name, "kind": kind, "roles": nodes, "missing": missing}
        nxc.tell_json(
            {**told, "reason": session.choose_base(target.source, target.base, target.options).reason}
        )
        return
    nxc.tell(f"{composition.name}: {kind} by {base.name} for {driver.name}")
    nxc.tell_table([(role, ", ".join(names) or "no node") for role, names in nodes.items()], indent="  ")
    nxc.tell("to be made or fetched:" if missing else "all of it is there")
    for line in missing:
        nxc.tell(f"  {line}")


def _start(
    nxc: Invocation,
    target: Target,
    given: Spread,
    enough: Enough,
    *,
    fresh: bool,
    accept: Accept | None = None,
) -> Running:
    from nxc_core.cli_status import tell_outcomes

    try:
        running = nxc.session().start(
            target.source,
            flavour=target.flavour,
            base=target.base,
            options=target.options,
            policy=read_policy(nxc, enough),
            fresh=fresh,
            jobs=target.jobs,
            accept=accept,
            **spread(nxc, given),
        )
    except DeployError as error:
        if error.deployment:
            tell_outcomes(nxc, error.deployment)
        raise
    tell_outcomes(nxc, running.id)
    return running


def _tell_running(nxc: Invocation, running: Running, as_json: bool) -> None:
    if as_json:
        from nxc_core.cli_status import describe

        nxc.tell_json(describe(nxc.session(), running.id))
    else:
        nxc.tell(running.id)


def start(
    nxc: Invocation,
    wanted: Wanted,
    given: Spread,
    enough: Enough,
    new: Annotated[bool, typer.Option("--new", help="Start another beside one that runs already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the deployment as JSON.")] = False,
) -> None:
    """Build and start a composition.

    Goes on with a start that was interrupted; what runs already is left as it is. Prints its id.
    """
    refuse_elsewhere()
    _tell_running(nxc, _start(nxc, settle(nxc, wanted, enough), given, enough, fresh=new), as_json)


def up(
    nxc: Invocation,
    wanted: Wanted,
    given: Spread,
    enough: Enough,
    test: Annotated[
        bool, typer.Option("--test", "-t", help="Run the test script, then take all down.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Take nothing down, whatever happens.")] = False,
    new: Annotated[bool, typer.Option("--new", help="Start another beside one that runs already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the deployment as JSON.")] = False,
) -> None:
    """Build and start a composition, and test it with -t.

    Without -t it is left running. What fails is taken down, and so is what was tested; --keep leaves both.
    """
    refuse_elsewhere()
    target = settle(nxc, wanted, enough)
    session = nxc.session()
    try:
        running = _start(nxc, target, given, enough, fresh=new or test, accept=_check_test if test else None)
        if test:
            _test(nxc, running)
    except BaseException as error:
        made = set(session.made)  # what another nxc starts here meanwhile is none of our business
        if made and not keep:
            _take_down(nxc, made, quietly=True)
            if isinstance(error, NxcError):
                error.hint = _hint_after(error, session, min(made))
        raise
    if test and not keep:
        _take_down(nxc, {running.id})
        return
    _tell_running(nxc, running, as_json)


def export(
    nxc: Invocation,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    wanted: Wanted,
    given: Spread,
) -> None:
    """Write what brings a composition up where there is no nxc.

    Into DIR, which is left as it was when this does not end well. Prints it.
    """
    refuse_elsewhere()
    target, place = settle(nxc, wanted), nxc.path(folder)
    nxc.session().export(
        target.source,
        place,
        flavour=target.flavour,
        base=target.base,
        options=target.options,
        jobs=target.jobs,
        **spread(nxc, given),
    )
    nxc.tell(str(place))


def _hint_after(error: NxcError, session: Session, id: str) -> str:
    """Say what to do, what became of the deployment, and where to look if anything was booted."""
    from nxc_core.starting import keeps_consoles

    folder = session.workspace.deployment_dir(id)
    parts = [part for part in error.hint.split("; ") if part and "nxc down" not in part]
    parts.append("it was taken down (--keep leaves it)")
    if session.workspace.journal(id).nodes() and keeps_consoles(session.attach(id).flavour, folder):
        parts.append(f"`nxc logs -d {id} NODE` shows a console")
    return "; ".join(parts)


def _check_test(composition: Composition) -> None:
    from nxc_core.script import check_script

    if composition.test_script is None:
        raise ConfigError(f"{composition.source} has no testScript", hint="write one, or leave out --test")
    check_script(composition.test_script)


def _test(nxc: Invocation, running: Running) -> None:
    from nxc_core.script import run_script

    with nxc.abrupt():
        run_script(running, running.deployment.composition.test_script or "")


def _take_down(nxc: Invocation, ids: set[str], *, quietly: bool = False) -> None:
    """Take deployments down; with ``quietly`` a failure is a warning, since another is under way."""
    trouble: list[NxcError] = []
    for id in sorted(ids):
        try:
            nxc.session().down(id)
        except NxcError as error:
            if quietly:
                nxc.warn(f"{error.message} ({error.hint})")
            trouble.append(error)
            if isinstance(error, Interrupted):
                break
    if trouble and not quietly:
        raise trouble[0]


def stop(
    nxc: Invocation,
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID",
            show_default=False,
            help="A deployment, or how its id begins.",
            autocompletion=complete_deployments,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All deployments of the project.")] = False,
) -> None:
    """Release everything that a deployment holds.

    Works from any process, after a crash, and twice. Without ID: the only one that lives.
    """
    if every and ids:
        raise UsageError("--all and ids exclude each other", hint="leave out one of them")
    session = nxc.session(configured=False)
    if ids:
        _take_down(nxc, {session.find(id) for id in ids})
        return
    live = {summary.id for summary in session.deployments() if summary.status != "stopped"}
    if not live:
        nxc.note("nothing is deployed in this project")
        return
    _take_down(nxc, live if every else {session.find()})
