"""The verbs that build, start and stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from attrs import frozen

from nxc_core.cli_complete import complete_bases, complete_deployments, complete_flavours
from nxc_core.cli_context import Invocation
from nxc_core.config import read_option, read_role
from nxc_core.errors import ConfigError, NxcError, UsageError

if TYPE_CHECKING:
    from nxc_core.model import Composition, Json
    from nxc_core.running import Running
    from nxc_core.session import Accept, Session

DEFAULT_FLAVOUR = "vm-ramdisk"


@frozen(kw_only=True)
class Wanted:
    """What is to be built or started, and how."""

    composition: Annotated[
        Path | None,
        typer.Argument(
            metavar="COMPOSITION",
            show_default=False,
            help="Composition file or its folder [default: nxc.toml's].",
        ),
    ] = None
    flavour: Annotated[
        str | None,
        typer.Option(
            "--flavour", "-f", metavar="NAME", help="Where it is to run.", autocompletion=complete_flavours
        ),
    ] = None
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="NAME", help="How it is built.", autocompletion=complete_bases),
    ] = None
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", metavar="DRIVER.OPTION=VALUE", help="Set an option of a flavour or base."
        ),
    ] = None
    mirror: Annotated[
        str | None, typer.Option("--mirror", metavar="URL", help="Mirror of the base's packages.")
    ] = None
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="N", min=1, help="How much is built at once.")
    ] = None
    relock: Annotated[bool, typer.Option("--relock", help="Resolve all packages anew.")] = False
    lean: Annotated[bool, typer.Option("--lean", help="Leave out what no role uses.")] = False


@frozen(kw_only=True)
class Spread:
    """How many nodes, and what they are told."""

    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role", "-r", metavar="ROLE=NODES", help="Nodes of a role: client=3, or server=foo,bar."
        ),
    ] = None
    roles: Annotated[
        Path | None, typer.Option("--roles", metavar="FILE", help="The same from a YAML file.")
    ] = None
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="KEY=VALUE", help="A text that every node finds in its node.json."
        ),
    ] = None


@frozen(kw_only=True)
class Target:
    """What the session is to be called with."""

    source: Path
    flavour: str
    base: str
    options: dict[str, dict[str, Json]]
    jobs: int


def settle(nxc: Invocation, wanted: Wanted) -> Target:
    """Put options, settings and defaults together. Raises ConfigError for a driver that does not exist."""
    for key in ("flavour", "base", "mirror", "jobs"):
        value = getattr(wanted, key)
        if value is not None:
            nxc.override(key, value, f"--{key}")
    for text in wanted.option or ():
        key, given = read_option(text)
        nxc.override(key, given, f"-o {text}")
    session, settings = nxc.session(), nxc.settings
    source = _find_source(nxc, wanted.composition)
    flavour = settings.text("flavour") or default_flavour(nxc)
    base = session.choose_base(source, settings.text("base")).name
    options = settings.options()
    for driver in options:
        _check_driver(nxc, driver, (flavour, base))
    if settings.text("mirror") is not None:
        options.setdefault(base, {}).setdefault("mirror", settings.text("mirror"))
    if wanted.relock:
        options.setdefault(base, {})["relock"] = True
    if wanted.lean:
        options.setdefault(flavour, {})["lean"] = True
    jobs = settings.get("jobs")[0]
    return Target(
        source=source, flavour=flavour, base=base, options=options, jobs=jobs if isinstance(jobs, int) else 1
    )


def _find_source(nxc: Invocation, given: Path | None) -> Path:
    from nxc_core.building import existing

    if given is not None:
        return existing(nxc.path(given))
    configured = nxc.settings.text("composition")
    try:
        return existing(Path(configured) if configured else nxc.settings.root / "composition.nix")
    except ConfigError as error:
        origin = nxc.settings.get("composition")[1]
        told = f" ({origin})" if configured else ""
        raise ConfigError(f"{error.message}{told}", hint=error.hint) from None


def default_flavour(nxc: Invocation) -> str:
    """Return the flavour that is taken when nobody says one: vm-ramdisk, or the only one there is."""
    known = list(nxc.plugins.flavours)
    if DEFAULT_FLAVOUR in known or len(known) != 1:
        return DEFAULT_FLAVOUR
    return known[0]


def _check_driver(nxc: Invocation, driver: str, used: tuple[str, str]) -> None:
    import difflib

    plugins, origin = nxc.plugins, ""
    given = {k: s for k, s in nxc.settings.values.items() if k.startswith(f"options.{driver}.")}
    origin = next(iter(given.values())).origin
    known = [*plugins.flavours, *plugins.bases]
    if driver not in known and driver not in {broken.name for broken in plugins.broken}:
        near = difflib.get_close_matches(driver, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise ConfigError(f"{origin}: there is no flavour or base {driver}", hint=hint)
    if driver not in used and any(s.origin.startswith("-o") for s in given.values()):
        nxc.warn(f"{origin} has no effect: {used[0]} on {used[1]} is used")


def spread(nxc: Invocation, given: Spread) -> dict[str, Any]:
    """Return the nodes wanted per role and the parameters, as the session takes them."""
    roles: dict[str, Any] = dict(nxc.settings.roles())
    if given.roles is not None:
        roles |= _read_roles(nxc.path(given.roles))
    roles |= dict(read_role(text) for text in given.role or ())
    parameters: dict[str, Any] = {}
    for text in given.parameter or ():
        key, sign, value = text.partition("=")
        if not (key and sign):
            raise UsageError(f"{text!r} is not KEY=VALUE", hint="as in -p size=10")
        parameters[key] = value
    return {"roles": roles, "parameters": parameters}


def _read_roles(path: Path) -> dict[str, Any]:
    import yaml

    from nxc_core.config import read_nodes

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="give a YAML file to --roles") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(
            f"{where}: {getattr(error, 'problem', error)}", hint="write one `role: nodes` a line"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} holds no mapping of roles", hint="write one `role: nodes` a line, as `client: 3`"
        )
    return {str(role): read_nodes(nodes, f"{path}: {role}") for role, nodes in content.items()}


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
        target.source, flavour=target.flavour, base=target.base, options=target.options, jobs=target.jobs
    )
    if as_json:
        from nxc_core.state import unstructure

        nxc.tell_json(unstructure(made))
    else:
        nxc.tell(made.id)


def _tell_plan(nxc: Invocation, target: Target, as_json: bool) -> None:
    from nxc_core.identity import distribute
    from nxc_core.verdict import check_needs, negotiate

    session = nxc.session()
    base = session.plugins.base(target.base, target.options.get(target.base))
    driver = session.plugins.flavour(target.flavour, target.options.get(target.flavour))
    kind = negotiate(base, driver)
    composition = base.read(target.source, session.operation(session.workspace.root, "dry-run"))
    check_needs(composition, driver)
    nodes = {role.name: list(role.names()) if role.count or role.hosts else [] for role in composition.roles}
    distribute(composition)
    if as_json:
        nxc.tell_json({"base": base.name, "flavour": driver.name, "kind": kind, "roles": nodes})
        return
    nxc.tell(f"{composition.name}: {kind} by {base.name} for {driver.name}")
    nxc.tell_table([(role, ", ".join(names) or "no node") for role, names in nodes.items()], indent="  ")


def _start(
    nxc: Invocation, target: Target, given: Spread, *, fresh: bool, accept: Accept | None = None
) -> Running:
    return nxc.session().start(
        target.source,
        flavour=target.flavour,
        base=target.base,
        options=target.options,
        fresh=fresh,
        jobs=target.jobs,
        accept=accept,
        **spread(nxc, given),
    )


def _tell_running(nxc: Invocation, running: Running, as_json: bool) -> None:
    if as_json:
        from nxc_core.cli_nodes import describe

        nxc.tell_json(describe(nxc.session(), running.id))
    else:
        nxc.tell(running.id)


def start(
    nxc: Invocation,
    wanted: Wanted,
    given: Spread,
    new: Annotated[bool, typer.Option("--new", help="Start another beside one that runs already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the deployment as JSON.")] = False,
) -> None:
    """Build and start a composition.

    Goes on with a start that was interrupted; what runs already is left as it is. Prints its id.
    """
    refuse_elsewhere()
    _tell_running(nxc, _start(nxc, settle(nxc, wanted), given, fresh=new), as_json)


def up(
    nxc: Invocation,
    wanted: Wanted,
    given: Spread,
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
    target = settle(nxc, wanted)
    session = nxc.session()
    try:
        running = _start(nxc, target, given, fresh=new or test, accept=_check_test if test else None)
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


def _hint_after(error: NxcError, session: Session, id: str) -> str:
    """Say what to do, what became of the deployment, and where to look if anything was booted."""
    parts = [] if not error.hint or "nxc down" in error.hint else [error.hint]
    parts.append("it was taken down (--keep leaves it)")
    if session.workspace.journal(id).nodes():
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
