"""Bringing up a deployment in an engine: images, network, and one container per node."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import evolve, frozen

from nxc_core import ConfigError, DeployError, Operation
from nxc_core.documents import replace
from nxc_core.model import CLOSURE, ExecEndpoint, Node, NodeSpec, NodeState, Outcome, Plan
from nxc_docker import compose, containers, failures, images, looking, wishes
from nxc_docker.compose import Model
from nxc_docker.containers import Found
from nxc_docker.engine import Engine
from nxc_docker.options import DockerOptions
from nxc_docker.profile import Profile, flags


@frozen(kw_only=True)
class Launch:
    """All that containers are started with. ``copies``: node.json is put in, not mounted."""

    plan: Plan
    engine: Engine
    model: Model
    network: str
    copies: bool

    def start(self, spec: NodeSpec, present: Mapping[str, Found], op: Operation) -> bool:
        """Start a node's container and report the node; where that fails, that is its outcome.

        Says whether the container was made for it. Raises EngineLost, since others would fare no better.
        """
        op.check_cancelled()
        service = self.model.service(spec.name)
        seed = self.plan.documents[spec.name] if self.copies else None
        before = present.get(service.name)
        where = (self.model, self.network, self.engine)
        try:
            made = containers.boot(service, *where, op, present=before, seed=seed)
        except failures.EngineLost:
            raise
        except DeployError as error:
            cause = f"{error.message}; {error.hint}" if error.hint else error.message
            if failures.PORT_IN_USE in error.message:
                holders = looking.find_holders(service.ports, self.engine)
                cause += f"; {holders}" if holders else ""
            op.outcome(Outcome(node=spec.name, state=NodeState.FAILED, cause=cause))
            return False
        endpoint = ExecEndpoint(prefix=(*self.engine.program, "exec", "-i", service.name))
        facts = {"engine": self.engine.url, "container": service.name, "address": service.address}
        op.node(Node(name=spec.name, role=spec.role, endpoint=endpoint, facts=facts))
        for inside, given in looking.find_chosen(service.name, service.ports, self.engine).items():
            told = f"its port {inside} is port {' and '.join(given)} of the engine's machine"
            op.step(told, node=spec.name, ports=given)
        return made


def prepare(plan: Plan, options: DockerOptions, engine: Engine, op: Operation) -> Launch:
    """Send images, write the compose file, make network and volumes; what is there already is kept."""
    _check_store(plan, engine.profile)
    tags = images.ensure(plan, engine, op)
    profile = _try_options(plan, tags, engine, options, op)
    copies = is_copied(options, profile)
    model = spell(plan, tags, profile, options, op.dir, bind_seed=not copies)
    whole = spell(plan, tags, profile, options, op.dir, bind_seed=True) if copies else model
    replace(op.dir / compose.COMPOSE_FILE, compose.to_compose(whole, op.dir).encode())
    network = containers.make_network(model, engine, op)
    containers.make_volumes(model, engine, op)
    return Launch(plan=plan, engine=engine, model=model, network=network, copies=copies)


def _check_store(plan: Plan, profile: Profile) -> None:
    if plan.artifact.kind == CLOSURE and not profile.local:
        raise ConfigError(
            "the engine is on another machine, which has not this one's Nix store",
            hint="put the store into the image: -o docker.self_contained=true",
        )
    if plan.artifact.kind == images.ARCHIVE and profile.engine == "podman":
        raise ConfigError(
            "podman does not see that the init inside a self-contained NixOS image is systemd",
            hint="leave out docker.self_contained and docker.privileged, or use docker",
        )


def _try_options(
    plan: Plan, tags: Mapping[str, str], engine: Engine, options: DockerOptions, op: Operation
) -> Profile:
    """Return the profile, less what the engine's version promises and it does not do."""
    if not engine.profile.writable_cgroups:
        return engine.profile
    model = spell(plan, tags, engine.profile, options, op.dir, bind_seed=False)
    if containers.takes_writable_cgroups(next(iter(tags.values())), model, engine):
        return engine.profile
    return evolve(engine.profile, writable_cgroups=False)


def spell(
    plan: Plan,
    tags: Mapping[str, str],
    profile: Profile,
    options: DockerOptions,
    folder: Path,
    *,
    bind_seed: bool,
) -> Model:
    """Say what is to run, on an engine of this profile."""
    return compose.model(
        plan,
        tags,
        flags(profile),
        folder=folder,
        podman=profile.engine == "podman",
        bind_seed=bind_seed,
        memory=memory(options),
    )


def memory(options: DockerOptions) -> int | None:
    """Return the bytes that a node of a role without a limit may take."""
    return None if options.memory is None else wishes.read_size(options.memory)


def is_copied(options: DockerOptions, profile: Profile) -> bool:
    """Whether node.json is copied in: a mount would show other files, or another owner than root."""
    if options.seed != "auto":
        return options.seed == "copy"
    mine = os.getuid() == 0 or profile.rootless
    return not profile.local or profile.remapped or not mine


def say_rights(plan: Plan, profile: Profile, op: Operation) -> None:
    """Say aloud which rights are given beyond the least."""
    op.step(f"using {profile.spelled}", engine=profile.engine)
    if profile.privileged:
        op.step("containers are privileged: they have all rights over this machine", topic="warning")
    for role in plan.roles.values():
        wanted = [need.option for need in role.needs if need.need == "net-admin"]
        if wanted:
            op.step(f"role {role.name} gets CAP_NET_ADMIN, for {', '.join(wanted)}")
