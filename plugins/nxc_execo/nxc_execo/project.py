"""What is to be started: a script's wishes on top of the project's own settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, fields, frozen

from nxc_core import ConfigError, Session
from nxc_core.building import existing
from nxc_core.config import Settings, load_settings, read_nodes
from nxc_core.model import Event, Json
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
    machines: str | Sequence[str] | None = None


@frozen(kw_only=True)
class Target:
    """What a session is to be called with."""

    source: Path
    flavour: str
    base: str | None
    options: dict[str, dict[str, Json]]
    roles: dict[str, int | Sequence[str]]
    jobs: int


def open_session(folder: Path) -> tuple[Session, Settings]:
    """Open the project of a folder; what nxc does goes to execo's log."""
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
        options.setdefault(driver, {}).update(given)
    if wishes.machines is not None:
        check_machines(flavour, session)
        listed = wishes.machines if isinstance(wishes.machines, str) else ",".join(wishes.machines)
        options.setdefault(flavour, {})["machines"] = listed
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
        jobs=jobs if isinstance(jobs, int) else 1,
    )


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
