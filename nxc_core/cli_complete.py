"""What the shell offers on TAB. Never raises, never writes: a broken project completes to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nxc_core.session import Session


def _session(context: Any) -> Session:
    from nxc_core.cli_context import Invocation

    invocation = context.find_object(Invocation) or Invocation()
    for place in (context, *([context.parent] if context.parent else [])):
        given = place.params.get("project")
        if given:
            from nxc_core.cli_context import Common

            invocation.merge(Common(project=Path(given)))
    session: Session = invocation.session(configured=False)
    return session


def complete_flavours(ctx: Any, incomplete: str) -> list[str]:
    """Names of flavours."""
    try:
        return [name for name in _session(ctx).plugins.flavours if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - a completion has nowhere to complain
        return []


def complete_bases(ctx: Any, incomplete: str) -> list[str]:
    """Names of bases."""
    try:
        return [name for name in _session(ctx).plugins.bases if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001
        return []


def complete_deployments(ctx: Any, incomplete: str) -> list[str]:
    """Ids of deployments that are there."""
    try:
        return [
            s.id for s in _session(ctx).deployments() if s.status != "stopped" and s.id.startswith(incomplete)
        ]
    except Exception:  # noqa: BLE001
        return []


def complete_nodes(ctx: Any, incomplete: str) -> list[str]:
    """Names of nodes of live deployments."""
    return sorted(name for name in _live(ctx, roles=False) if name.startswith(incomplete))


def complete_targets(ctx: Any, incomplete: str) -> list[str]:
    """Names of nodes and roles of live deployments, and ``all``."""
    return sorted(name for name in {*_live(ctx, roles=True), "all"} if name.startswith(incomplete))


def _live(ctx: Any, *, roles: bool) -> set[str]:
    found: set[str] = set()
    try:
        for summary in _session(ctx).deployments():
            if summary.deployment is not None and summary.status != "stopped":
                found |= {spec.name for spec in summary.deployment.specs}
                found |= {spec.role for spec in summary.deployment.specs} if roles else set()
    except Exception:  # noqa: BLE001
        return set()
    return found


def complete_templates(ctx: Any, incomplete: str) -> list[str]:
    """Names of templates."""
    from nxc_core.cli_init import list_templates

    return [name for name in list_templates() if name.startswith(incomplete)]
