"""The entry that scripts for NixOS Compose use, under its name and with its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import fields

from nxc_core import ConfigError, Session
from nxc_core.config import Settings
from nxc_core.model import Json
from nxc_execo import deployment, late, project
from nxc_execo.deployment import Host

COMPOSITION = "composition"
"""The name that NixOS Compose gives to the only composition of a project."""


def get_oar_job_nodes_nxc(
    oar_job_id: int | str | None,
    site: str | None,
    compose_info_file: Path | str | None = None,
    flavour_name: str = "g5k-nfs-store",
    composition_name: str = COMPOSITION,
    roles_quantities: Mapping[str, int | str | Sequence[str]] = {},  # noqa: B006 - as it always was
    port: int = 0,
    skip_deploy: bool = False,
    image_store_ssh: str | None = None,
) -> tuple[dict[str, Host], dict[str, list[Host]]]:
    """Start the project's composition, and return its hosts by name and by role.

    A flavour that runs on machines gets those of the OAR job, once it runs; others need no job. What runs
    already is taken as it is; ``skip_deploy`` starts nothing. ``compose_info_file`` may name a composition.
    nxc builds what is missing and serves nothing by HTTP, so ``port`` and ``image_store_ssh`` have no effect.
    """
    late.load()
    session, settings = project.open_session(Path())
    if skip_deploy:
        found = deployment.attach(folder=settings.root)
        return dict(found.nodes), dict(found.roles)
    machines: Sequence[str] | None = None
    if project.takes_machines(flavour_name, session):
        machines = _find_machines(oar_job_id, site, flavour_name)
    source, options = _find_composition(compose_info_file, composition_name, session, settings)
    found = deployment.start(
        source,
        flavour=flavour_name,
        roles=roles_quantities,
        machines=machines,
        options=options,
        folder=settings.root,
    )
    logger = late.load("execo.log").logger
    logger.info("nxc: %s stays until `nxc down` or nxc_execo.give_back()", found.id)
    return dict(found.nodes), dict(found.roles)


def _find_machines(job: int | str | None, site: str | None, flavour: str) -> list[str]:
    """Wait for a job to run, and return its machines."""
    if job is None:
        raise ConfigError(f"flavour {flavour} needs the machines of an OAR job", hint="give the job's id")
    if not str(job).isdigit():
        raise ConfigError(f"OAR job {job!r} is no number", hint="give the job's id, as oarstat shows it")
    late.load("execo.log").logger.info("nxc: waiting for OAR job %s at %s to run", job, site or "this site")
    hosts: Any = late.load("execo_g5k").get_oar_job_nodes(int(job), site)
    if not hosts:
        raise ConfigError(
            f"OAR job {job} at {site or 'this site'} has no machines",
            hint="it must run: execo_g5k.wait_oar_job_start waits for that",
        )
    return [host.address for host in hosts]


def _find_composition(
    given: Path | str | None, name: str, session: Session, settings: Settings
) -> tuple[Path | None, dict[str, dict[str, Json]]]:
    """Return the composition's file, and the option that chooses one of several in it."""
    if given is not None:
        path = Path(given)
        if not path.is_dir() and path.suffix == ".json":
            raise ConfigError(
                f"compose_info_file: {path} is what NixOS Compose has built",
                hint="leave it out: nxc builds what has changed by itself, and knows where it is",
            )
        return path, {}
    if name == COMPOSITION:
        return None, {}
    own = settings.root / f"{name}.nix"
    if own.is_file():
        return own, {}
    source = project.find_source(None, settings)
    base = session.choose_base(source, settings.text("base"), settings.options()).name
    if "composition" not in [one.name for one in fields(session.plugins.base(base).options_type)]:
        raise ConfigError(
            f"composition_name: there is no {own}", hint="leave it out where the project has one composition"
        )
    return source, {base: {"composition": name}}
