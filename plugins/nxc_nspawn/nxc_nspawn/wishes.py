"""What a role asks of its containers, as far as systemd-nspawn and control groups can give it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from attrs import frozen

from nxc_core import ConfigError, Operation
from nxc_core.model import Role

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_SIZE = re.compile(r"(\d+)([kmgt]?)(?:i?b)?", re.IGNORECASE)
_LEAST_MEMORY = 6 << 20
"""Below it not even systemd starts."""
NAMESPACED_BY_NETWORK = "net."


@frozen(kw_only=True)
class Volume:
    """A file or folder seen in a node; a ``source`` without a slash names one of the deployment's own."""

    source: str
    target: str
    read_only: bool = False

    @property
    def named(self) -> bool:
        """Whether it is made for the deployment, and goes with it."""
        return not self.source.startswith("/")


@frozen(kw_only=True)
class Limits:
    """What a node may use of the machine: bytes, processors, processes."""

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None

    @property
    def asked(self) -> dict[str, float | None]:
        """Map the controllers of control groups to what is asked of each."""
        return {"memory": self.memory, "cpu": self.cpus, "pids": self.pids}


def vet(roles: Sequence[Role], op: Operation) -> None:
    """Raise ConfigError, naming role and option, for what cannot be given here; say what has no effect."""
    for role in roles:
        limits(role)
        for volume in volumes(role):
            if not volume.named and not Path(volume.source).exists():
                raise _wrong(role, "volumes", volume.source, "is not there", "make it, or name another")
        if role.container.ports:
            ports = ", ".join(role.container.ports)
            told = "needs no publishing: this machine reaches nodes at the addresses that `nxc status` tells"
            op.step(f"role {role.name}: nxc.container.ports: {ports} {told}")


def volumes(role: Role) -> tuple[Volume, ...]:
    """Return the files and folders a role asks for; raises ConfigError for what is none."""
    return tuple(_volume(text, role) for text in role.container.volumes)


def _volume(text: str, role: Role) -> Volume:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not target or mode not in ("", "ro", "rw"):
        raise _wrong(
            role,
            "volumes",
            text,
            "cannot be read",
            "spell it /here:/there, /here:/there:ro or name:/there",
        )
    if not target.startswith("/") or not target.strip("/") or ".." in PurePosixPath(target).parts:
        raise _wrong(
            role, "volumes", text, "cannot be mounted", "the place in the node is an absolute path, not /"
        )
    if not source.startswith("/") and not _NAME.fullmatch(source):
        raise _wrong(
            role,
            "volumes",
            text,
            "cannot be mounted",
            "what is mounted is an absolute path of this machine, or a volume's name",
        )
    return Volume(source=source, target=target, read_only=mode == "ro")


def limits(role: Role) -> Limits:
    """Return a role's limits; raises ConfigError for what is none."""
    asked = role.container
    if asked.cpus is not None and asked.cpus < 0.01:
        raise _wrong(role, "cpus", str(asked.cpus), "is no share", "give at least 0.01, as 1.5")
    if asked.pids is not None and asked.pids <= 0:
        raise _wrong(role, "pids", str(asked.pids), "is no number of processes", "give a number above 0")
    memory = None
    if asked.memory is not None:
        match = _SIZE.fullmatch(asked.memory.strip())
        memory = int(match[1]) << (10 * " kmgt".index(match[2].lower() or " ")) if match else 0
        if memory < _LEAST_MEMORY:
            raise _wrong(role, "memory", asked.memory, "is no size", "give at least 6m, as 512m or 2g")
    return Limits(memory=memory, cpus=asked.cpus, pids=asked.pids)


def ipc_settings(role: Role) -> dict[str, str]:
    """Return the kernel settings of a node's IPC namespace; those of its network are set inside."""
    found = role.container.sysctls
    return {name: value for name, value in found.items() if not name.startswith(NAMESPACED_BY_NETWORK)}


def _wrong(role: Role, option: str, value: str, what: str, hint: str) -> ConfigError:
    return ConfigError(f"role {role.name}: nxc.container.{option}: {value} {what}", hint=hint)
