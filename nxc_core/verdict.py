"""What the core decides: may a composition run on a platform, and what became of a deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nxc_core.base import Base
from nxc_core.errors import ConfigError, DeployError, NxcError
from nxc_core.flavour import Flavour, Reserving
from nxc_core.model import (
    Composition,
    Deployment,
    Kind,
    NodeSpec,
    NodeState,
    Outcome,
    Policy,
    Quarantined,
    Status,
)
from nxc_core.operation import Operation


def negotiate(base: Base[Any], flavour: Flavour[Any], kinds: Sequence[Kind] = ()) -> Kind:
    """Return the first kind that the base produces, of ``kinds`` or else of what the flavour accepts."""
    accepted = kinds or flavour.accepts
    for kind in accepted:
        if kind in base.produces:
            return kind
    raise ConfigError(
        f"base {base.name} produces {', '.join(sorted(base.produces))}; "
        f"flavour {flavour.name} accepts {', '.join(accepted)}",
        hint="choose another base or flavour (`nxc flavour list`)",
    )


def judge(deployment: Deployment, outcomes: Mapping[str, Outcome]) -> Status:
    """Say what a deployment's outcomes make of it, by its policy."""
    ready: dict[str, int] = {}
    for spec in deployment.specs:
        outcome = outcomes.get(spec.name)
        ready[spec.role] = ready.get(spec.role, 0) + (
            outcome is not None and outcome.state is NodeState.READY
        )
    wanted: dict[str, int] = {}
    for spec in deployment.specs:
        wanted[spec.role] = wanted.get(spec.role, 0) + 1
    if ready == wanted:
        return Status.RUNNING
    minimum = deployment.policy.minimum
    enough = bool(minimum) and all(ready[role] >= minimum.get(role, count) for role, count in wanted.items())
    return Status.DEGRADED if enough else Status.FAILED


def check_needs(composition: Composition, flavour: Flavour[Any]) -> None:
    """Refuse what the platform cannot give, before anything is built, naming role and option."""
    for role in composition.roles:
        for need in role.needs:
            if need.need not in flavour.gives:
                why = flavour.lacks.get(need.need, f"{flavour.name} does not give it")
                raise ConfigError(
                    f"role {role.name}: {need.option} needs `{need.need}` of the platform; {why}",
                    hint="choose another flavour (`nxc flavour list`), or leave the option out",
                )


def check_policy(policy: Policy, specs: Sequence[NodeSpec], flavour: Flavour[Any], op: Operation) -> None:
    """Refuse a policy that cannot be met, before anything is built."""
    counts: dict[str, int] = {}
    for spec in specs:
        counts[spec.role] = counts.get(spec.role, 0) + 1
    for role, least in policy.minimum.items():
        if role not in counts:
            raise ConfigError(
                f"at least {least} nodes of {role} are wanted, and there is no such role",
                hint=f"roles with nodes are: {', '.join(counts)}",
            )
        if least > counts[role]:
            raise ConfigError(
                f"at least {least} nodes of {role} are wanted, and there are {counts[role]}",
                hint=f"ask for fewer (--min {role}={counts[role]}), or for more nodes (-r {role}={least})",
            )
    if policy.spares and not isinstance(flavour, Reserving):
        raise ConfigError(
            f"{flavour.name} makes its machines itself: none can be spare",
            hint="leave out --spare; --retries tries a node again",
        )
    flavour.afford(len(specs), policy.spares, op)


LISTED = 10
"""Failed nodes that an error lists, at most."""


def not_up(
    deployment: Deployment,
    outcomes: Mapping[str, Outcome],
    bad: Mapping[str, Quarantined],
    *,
    console: bool,
) -> DeployError:
    """Say which nodes did not come up, where and at which step, and which machines were left out.

    ``console`` says whether the platform keeps what nodes say there.
    """
    lines = []
    missing = 0
    for spec in deployment.specs:
        outcome = outcomes.get(spec.name)
        if outcome is None or outcome.state is not NodeState.READY:
            missing += 1
            if missing <= LISTED:
                lines += _spell_failure(spec, outcome)
    if missing > LISTED:
        lines.append(f"  and {missing - LISTED} more (`nxc status` lists them)")
    lines += [
        f"  {one.machine} was left out ({one.step}): {one.cause}" for one in list(bad.values())[:LISTED]
    ]
    return DeployError(
        f"{missing} of {len(deployment.specs)} nodes did not come up:\n" + "\n".join(lines),
        hint=("`nxc logs NODE` shows a console, " if console else "")
        + f"`nxc down {deployment.id}` removes what is left",
        deployment=deployment.id,
    )


def _spell_failure(spec: NodeSpec, outcome: Outcome | None) -> list[str]:
    if outcome is None:
        return [f"  {spec.name} ({spec.role}): it was never started"]
    place = " on ".join(part for part in (spec.role, outcome.machine) if part)
    told = outcome.cause.startswith(f"{outcome.step}: ")
    step = f", {outcome.step}" if outcome.machine and outcome.step and not told else ""
    lines = [f"  {spec.name} ({place}{step}): {outcome.cause}"]
    return [*lines, f"    last line: {outcome.last_line}"] if outcome.last_line else lines


def several_failed(deployment: Deployment, group: ExceptionGroup[Exception]) -> DeployError | None:
    """Make one error of several that a person can act on; None when a bug is among them."""
    known, bugs = group.split(NxcError)
    if known is None or bugs is not None:
        return None
    lines = dict.fromkeys(f"  {error}" for error in known.exceptions)
    count = f"{len(known.exceptions)} of {len(deployment.specs)} nodes"
    return DeployError(
        f"{count} could not be started:\n" + "\n".join(lines),
        hint=f"`nxc down {deployment.id}` removes what is left",
    )
