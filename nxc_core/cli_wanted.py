"""What is to be built or started, and how: options, settings and defaults put together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from attrs import evolve, frozen

from nxc_core.cli_complete import complete_bases, complete_flavours
from nxc_core.cli_context import Invocation
from nxc_core.config import read_option, read_role
from nxc_core.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from nxc_core.model import Json, Policy

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
    named: Annotated[
        str | None,
        typer.Option(
            "--composition",
            metavar="NAME[::FLAVOUR]",
            help="Which of a project's compositions; also as -C NAME::FLAVOUR.",
        ),
    ] = None
    setup: Annotated[
        str | None, typer.Option("--setup", "-s", metavar="VARIANT", help="Variant of setup.toml.")
    ] = None
    setup_param: Annotated[
        list[str] | None,
        typer.Option("--setup-param", metavar="NAME=VALUE", help="A parameter on top of setup.toml's."),
    ] = None
    nix_flags: Annotated[
        str | None, typer.Option("--nix-flags", metavar="WORDS", help="More arguments for nix.")
    ] = None
    impure: Annotated[
        bool, typer.Option("--impure", help="Let nix see the environment, the time and any file.")
    ] = False
    pure: Annotated[
        bool, typer.Option("--pure", help="Evaluate in one process that sees the project alone.")
    ] = False
    show_trace: Annotated[bool, typer.Option("--show-trace", help="Show nix' own errors, whole.")] = False


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
class Enough:
    """Which machines to use, how many nodes are enough, and what is tried for them."""

    machines: Annotated[
        str | None,
        typer.Option("--machines", "-m", metavar="HOSTS|FILE", help="Machines to use, or a file of them."),
    ] = None
    spare: Annotated[
        int | None,
        typer.Option("--spare", metavar="N", min=0, help="Machines held beyond those needed."),
    ] = None
    least: Annotated[
        list[str] | None,
        typer.Option("--min", metavar="ROLE=N", help="So many ready nodes of a role are enough."),
    ] = None
    retries: Annotated[
        int | None, typer.Option("--retries", metavar="N", min=0, help="Further tries of a node that fails.")
    ] = None


@frozen(kw_only=True)
class Target:
    """What the session is to be called with."""

    source: Path
    flavour: str
    base: str
    options: dict[str, dict[str, Json]]
    jobs: int


_BASE_OPTIONS = {
    "setup": "setup",
    "setup_param": "setup_params",
    "nix_flags": "flags",
    "impure": "impure",
    "pure": "pure",
    "show_trace": "show_trace",
    "relock": "relock",
}
"""What on the command line is a base's option, whichever base it is."""


def settle(nxc: Invocation, wanted: Wanted, enough: Enough | None = None) -> Target:
    """Put options, settings and defaults together. Raises ConfigError for a driver that does not exist."""
    for key in ("machines", "spare", "retries") if enough else ():
        value = getattr(enough, key)
        if value is not None:
            nxc.override(key, value, f"--{key}")
    named, named_flavour = _find_named(nxc, wanted)
    if named_flavour is not None:
        nxc.override("flavour", named_flavour, "--composition")
    for key in ("flavour", "base", "mirror", "jobs"):
        value = getattr(wanted, key)
        if value is not None:
            nxc.override(key, value, f"--{key}")
    for text in wanted.option or ():
        key, given = read_option(text)
        nxc.override(key, given, f"-o {text}")
    session, settings = nxc.session(), nxc.settings
    try:
        source = _find_source(nxc, wanted.composition)
    except ConfigError as error:
        if named is not None and wanted.named is None:
            error.hint = f"there is no folder {named}: -C takes it for a composition's name; {error.hint}"
        raise
    flavour = settings.text("flavour") or default_flavour(nxc)
    options = settings.options()
    base = session.choose_base(source, settings.text("base"), options).name
    for driver in options:
        _check_driver(nxc, driver, (flavour, base))
    if settings.text("mirror") is not None:
        options.setdefault(base, {}).setdefault("mirror", settings.text("mirror"))
    for attribute, option in _BASE_OPTIONS.items():
        value = getattr(wanted, attribute)
        if value:
            options.setdefault(base, {})[option] = value
    if named is not None:
        options.setdefault(base, {})["composition"] = named
    if wanted.lean:
        options.setdefault(flavour, {})["lean"] = True
    if enough is not None:
        give_machines(nxc, flavour, options)
    jobs = settings.get("jobs")[0]
    return Target(
        source=source, flavour=flavour, base=base, options=options, jobs=jobs if isinstance(jobs, int) else 1
    )


def _find_named(nxc: Invocation, wanted: Wanted) -> tuple[str | None, str | None]:
    """Return which composition is meant, and the flavour if it was given with it.

    ``-C`` is the project's folder; what is none is a name, as NixOS Compose has it.
    """
    text, folder = wanted.named, nxc.common.project
    if text is None and folder is not None and not folder.is_dir():
        if "::" not in str(folder) and (len(folder.parts) != 1 or folder.suffix):
            return None, None
        text = str(folder)
        nxc.common = evolve(nxc.common, project=None)
    if text is None:
        return None, None
    name, sign, flavour = text.partition("::")
    return name or sign, flavour or None


def _find_source(nxc: Invocation, given: Path | None) -> Path:
    from nxc_core.building import existing

    if given is not None:
        return existing(nxc.path(given))
    configured = nxc.settings.text("composition")
    try:
        return existing(Path(configured) if configured else nxc.settings.root)
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


def give_machines(nxc: Invocation, flavour: str, options: dict[str, dict[str, Json]]) -> None:
    """Hand the machines to the flavour. Those of a configuration file are for the flavours that take any."""
    from attrs import fields

    given, origin = nxc.settings.text("machines"), nxc.settings.get("machines")[1]
    option = nxc.settings.get(f"options.{flavour}.machines")[1]
    if given is None or (origin != "--machines" and option.startswith("-o ")):
        return
    driver = nxc.session().plugins.flavour(flavour)
    if "machines" in {one.name for one in fields(driver.options_type)}:
        path = nxc.path(Path(given)) if origin == "--machines" else Path(given)
        options.setdefault(flavour, {})["machines"] = str(path.resolve()) if path.is_file() else given
    elif origin == "--machines":
        raise ConfigError(
            f"flavour {flavour} makes its machines itself: it takes no -m",
            hint="leave it out, or choose a flavour that uses machines there are (`nxc flavour list`)",
        )


def read_policy(nxc: Invocation, enough: Enough) -> Policy | None:
    """Return how many nodes are enough, and what is tried for them; None where nothing says."""
    from nxc_core.config import read_minimum

    return nxc.settings.policy(dict(read_minimum(text) for text in enough.least or ()))


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
