"""What is to be started: a script's wishes on top of the project's own settings."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, fields, frozen

from nxc_core import ConfigError, Session
from nxc_core.building import existing
from nxc_core.config import Settings, load_settings, read_nodes
from nxc_core.model import Event, Json, Policy
from nxc_execo import late

DEFAULT_FLAVOUR = "vm-ramdisk"
_TOLD_OF_NODES = 15
"""execo's level DETAIL: there may be hundreds of nodes."""


@frozen(kw_only=True)
class Wishes:
    """What a script asks for; what it leaves out comes from nxc.toml and the environment."""

    composition: Path | None = None
    flavour: str | None = None
    base: str | None = None
    options: Mapping[str, Mapping[str, Json]] = field(factory=dict)
    roles: Mapping[str, Json] = field(factory=dict)
    machines: str | Sequence[Any] | None = None
    policy: Policy | None = None


@frozen(kw_only=True)
class Target:
    """What a session is to be called with."""

    source: Path
    flavour: str
    base: str | None
    options: dict[str, dict[str, Json]]
    roles: dict[str, int | Sequence[str]]
    policy: Policy | None
    jobs: int


def open_session(folder: Path) -> tuple[Session, Settings]:
    """Open the project of a folder; what nxc does goes to execo's log."""
    if not folder.is_dir():
        raise ConfigError(
            f"there is no folder {folder}", hint="folder= is the project's, by default this one"
        )
    settings = load_settings(folder)
    logger = late.load("execo.log").logger

    def log(event: Event) -> None:
        told = f"{event.node}: {event.message}" if event.node else event.message
        level = 30 if event.topic == "warning" else _TOLD_OF_NODES if event.node else 20
        logger.log(level, "nxc: %s", told)

    return Session.open(settings.root, sinks=[log], offline=bool(settings.get("offline")[0])), settings


def settle(wishes: Wishes, session: Session, settings: Settings) -> Target:
    """Put wishes, settings and defaults together. Raises ConfigError, PluginError."""
    flavour = wishes.flavour or settings.text("flavour") or DEFAULT_FLAVOUR
    options = settings.options()
    for driver, given in wishes.options.items():
        _check_options(driver, given, session)
        options.setdefault(driver, {}).update(given)
    machines = _find_machines(wishes, flavour, session, settings)
    if machines is not None:
        options.setdefault(flavour, {})["machines"] = machines
    source = find_source(wishes.composition, settings)
    base = session.choose_base(source, wishes.base or settings.text("base"), options).name
    if settings.text("mirror") is not None:
        options.setdefault(base, {}).setdefault("mirror", settings.text("mirror"))
    wanted = {role: read_nodes(_plain(value), f"roles: {role}") for role, value in wishes.roles.items()}
    jobs = settings.get("jobs")[0]
    return Target(
        source=source,
        flavour=flavour,
        base=base,
        options=options,
        roles={**settings.roles(), **wanted},
        policy=wishes.policy if wishes.policy is not None else settings.policy(),
        jobs=jobs if isinstance(jobs, int) else 1,
    )


def _check_options(driver: str, given: object, session: Session) -> None:
    plugins = session.plugins
    known = [*plugins.flavours, *plugins.bases]
    if driver not in known and driver not in {broken.name for broken in plugins.broken}:
        near = difflib.get_close_matches(driver, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise ConfigError(f"options: there is no flavour or base {driver}", hint=hint)
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"options: {driver} is {given!r}, not a mapping", hint='as in {"vm-ramdisk": {"memory": "2g"}}'
        )


def _find_machines(wishes: Wishes, flavour: str, session: Session, settings: Settings) -> str | None:
    """Return the machines that are wanted, else those of the settings where the flavour takes any."""
    wanted = wishes.machines
    if wanted is None:
        said = "machines" in wishes.options.get(flavour, {})
        return settings.text("machines") if takes_machines(flavour, session) and not said else None
    check_machines(flavour, session)
    listed = wanted if isinstance(wanted, str) else ",".join(map(_spell, wanted))
    path = Path(listed)
    return str(path.resolve()) if isinstance(wanted, str) and path.is_file() else listed


def _spell(machine: Any) -> str:
    """Spell a machine that is named, or one of execo's hosts."""
    if isinstance(machine, str):
        return machine
    host, port = str(machine.address), machine.port
    if port:
        host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{machine.user}@{host}" if machine.user else host


def takes_machines(flavour: str, session: Session) -> bool:
    """Whether a flavour runs on machines that are named to it. Raises PluginError for an unknown one."""
    return "machines" in [one.name for one in fields(session.plugins.flavour(flavour).options_type)]


def check_machines(flavour: str, session: Session) -> None:
    """Raise ConfigError for a flavour that runs on no machines of the user's."""
    if not takes_machines(flavour, session):
        raise ConfigError(
            f"flavour {flavour} takes no machines", hint="leave them out, or take the flavour kexec"
        )


def find_source(given: Path | None, settings: Settings) -> Path:
    """Return the composition: the one given, relative to this folder, else the project's."""
    if given is not None:
        return existing(given)
    configured = settings.text("composition")
    return existing(Path(configured) if configured else settings.root)


def _plain(value: Json) -> Json:
    return list(value) if isinstance(value, (tuple, set)) else value
