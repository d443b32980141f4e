"""The verbs about nxc itself: plugins, settings, the machine, what is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxc_core.cli_complete import complete_bases, complete_flavours
from nxc_core.cli_context import Invocation
from nxc_core.errors import NxcError, PreflightError

if TYPE_CHECKING:
    from nxc_core.hookspecs import BaseEntry, FlavourEntry

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def _list_entries(
    nxc: Invocation, entries: Mapping[str, FlavourEntry] | Mapping[str, BaseEntry], as_json: bool
) -> None:
    if as_json:
        nxc.tell_json([{"name": e.name, "summary": e.summary} for e in entries.values()])
    else:
        nxc.tell_table([(entry.name, entry.summary) for entry in entries.values()])
    for broken in nxc.plugins.broken:
        nxc.warn(f"plugin {broken.name} is left out: {broken.reason}")


def flavour_list(nxc: Invocation, as_json: AsJson = False) -> None:
    """List the flavours: where compositions can run."""
    _list_entries(nxc, nxc.plugins.flavours, as_json)


def base_list(nxc: Invocation, as_json: AsJson = False) -> None:
    """List the bases: how systems can be built."""
    _list_entries(nxc, nxc.plugins.bases, as_json)


def flavour_show(
    nxc: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete_flavours)],
    as_json: AsJson = False,
) -> None:
    """Show a flavour: what it can and cannot do, and its options."""
    from nxc_core.flavour import list_abilities

    driver = nxc.plugins.flavour(name)
    facts = {"accepts": driver.accepts, "can": list_abilities(driver), "gives": sorted(driver.gives)}
    _show_driver(nxc, driver, {**facts, "lacks": driver.lacks}, as_json)


def base_show(
    nxc: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete_bases)],
    as_json: AsJson = False,
) -> None:
    """Show a base and its options."""
    driver = nxc.plugins.base(name)
    _show_driver(nxc, driver, {"produces": sorted(driver.produces)}, as_json)


def _show_driver(nxc: Invocation, driver: Any, facts: Mapping[str, Any], as_json: bool) -> None:
    options = _describe_options(driver.options_type)
    entries: Mapping[str, Any] = {**nxc.plugins.bases, **nxc.plugins.flavours}
    if as_json:
        nxc.tell_json(
            {"name": driver.name, "summary": entries[driver.name].summary, **facts, "options": options}
        )
        return
    nxc.tell(f"{driver.name}: {entries[driver.name].summary}")
    lists = {word: values for word, values in facts.items() if not isinstance(values, Mapping)}
    nxc.tell_table([(word, ", ".join(values)) for word, values in lists.items() if values], indent="  ")
    if facts.get("lacks"):
        nxc.tell("it cannot give:")
        nxc.tell_table(sorted(facts["lacks"].items()), indent="  ")
    if options:
        nxc.tell("options:")
        for option in options:
            nxc.tell(f"  -o {driver.name}.{option['name']}={option['default'] or '...'}  ({option['type']})")
            nxc.tell(f"      {option['help']}")


def _describe_options(options_type: type[Any]) -> list[dict[str, str]]:
    from typing import get_type_hints

    from attrs import fields

    from nxc_core.options import default_text, type_name

    kinds = get_type_hints(options_type)
    return [
        {
            "name": one.name,
            "type": type_name(kinds[one.name]),
            "default": default_text(one.default),
            "help": str(one.metadata.get("help", "")),
        }
        for one in fields(options_type)
    ]


def config(nxc: Invocation, as_json: AsJson = False) -> None:
    """Show every setting and where it comes from."""
    from nxc_core.config import KEYS

    nxc.check_options()
    settings = nxc.settings
    keys = [*KEYS, *sorted(key for key in settings.values if key not in KEYS)]
    values = {key: settings.get(key) for key in keys}
    if as_json:
        told = {key: {"value": value, "origin": origin} for key, (value, origin) in values.items()}
        nxc.tell_json({"project": str(settings.root), "settings": told})
        return
    nxc.tell(f"project  {settings.root}")
    nxc.tell_table([(key, _spell(value), origin) for key, (value, origin) in values.items()])


def _spell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def doctor(
    nxc: Invocation,
    as_json: AsJson = False,
) -> int:
    """Say what stands in the way on this machine.

    And what to do about it. Exits with 5 if the flavour and base that would be used cannot work.
    """
    from nxc_core.cli_wanted import default_flavour, give_machines
    from nxc_core.doctor import examine

    flavour = nxc.settings.text("flavour") or default_flavour(nxc)
    session = nxc.session()
    source = Path(nxc.settings.text("composition") or nxc.settings.root / "composition.nix")
    base = session.choose_base(source, nxc.settings.text("base")).name
    options = nxc.settings.options()
    for name in session.plugins.flavours if nxc.settings.text("machines") else ():
        with contextlib.suppress(NxcError):  # a broken one is told by the diagnosis
            give_machines(nxc, name, options)
    diagnosis = examine(session, flavour=flavour, base=base, options=options)
    if as_json:
        nxc.tell_json(diagnosis.as_json())
    else:
        for section, findings in diagnosis.sections().items():
            nxc.tell(section)
            for finding in findings:
                mark = "ok" if finding.ok else ("note" if finding.advice else "FAIL")
                nxc.tell(f"  {mark:4}  {finding.subject}{': ' + finding.detail if finding.detail else ''}")
                if finding.hint and not finding.ok:
                    nxc.tell(f"        {finding.hint}")
        if diagnosis.in_the_way():
            nxc.note(f"{len(diagnosis.in_the_way())} of these stand in the way of {flavour} on {base}")
    return PreflightError.exit_code if diagnosis.in_the_way() else 0


def clean(
    nxc: Invocation,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove what is not kept.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing (the default).")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also this project's builds and what only they use.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what nxc keeps on disk; remove it with --yes.

    What a build or a live deployment uses is kept.
    """
    from nxc_core.clean import remove, survey

    session = nxc.session(configured=False)
    options = _options_if_sound(nxc)
    found = survey(session, every=every, options=options)
    freed = remove(session, found, every=every, options=options) if yes and not dry_run else None
    if as_json:
        nxc.tell_json({"items": [item.as_json() for item in found.items], "freed": freed})
        return
    rows = [(item.what, spell_size(item.size), spell_size(item.spare), item.note) for item in found.items]
    nxc.tell_table([("what", "size", "removable", ""), *rows])
    for line in found.trouble:
        nxc.warn(line)
    if freed is not None:
        nxc.tell(f"freed {spell_size(freed)}")
    elif not found.idle:
        nxc.tell(f"`nxc clean --yes{' --all' if every else ''}` frees {spell_size(found.spare)}")


def _options_if_sound(nxc: Invocation) -> dict[str, dict[str, Any]]:
    """Return drivers' options, such as where an engine listens; none where the configuration is broken."""
    try:
        return nxc.settings.options()
    except NxcError:
        return {}


def spell_size(size: int) -> str:
    """Spell bytes for people."""
    amount, unit = float(size), "B"
    for bigger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, bigger
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
