"""What a user may set of each flavour."""

from __future__ import annotations

import re
import shlex
from typing import Literal

from attrs import Attribute, field, frozen

_SIZE = re.compile(r"^(\d+)\s*([mg]?)(?:i?b)?$", re.IGNORECASE)


def mebibytes(text: str) -> int:
    """Read ``512``, ``512m`` or ``1g``; raises ValueError for anything else."""
    found = _SIZE.match(text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"memory {text!r} is neither MiB, as 768, nor a size, as 768m or 1g")
    return int(found[1]) * (1024 if found[2].lower() == "g" else 1)


def _is_size(_: object, __: Attribute[str | None], value: str | None) -> None:
    if value is not None:
        mebibytes(value)


def _is_count(_: object, __: Attribute[int], value: int) -> None:
    if not 1 <= value <= 255:
        raise ValueError(f"cores must be 1 to 255, not {value}")


def _is_command_line(_: object, __: Attribute[str], value: str) -> None:
    try:
        shlex.split(value)
    except ValueError as error:
        raise ValueError(f"qemu_args cannot be split into words: {error}") from error


@frozen(kw_only=True)
class MachineOptions:
    """Options of every node of the deployment, of all flavours."""

    memory: str | None = field(
        default=None,
        validator=_is_size,
        metadata={"help": "memory of a node, as 768m or 2g; default: what the image needs"},
    )
    cores: int = field(default=1, validator=_is_count, metadata={"help": "processors of a node"})
    accelerator: Literal["auto", "kvm", "tcg"] = field(
        default="auto",
        metadata={"help": "auto tries whether KVM really runs the kernel; tcg emulates and works everywhere"},
    )
    qemu_args: str = field(
        default="",
        validator=_is_command_line,
        metadata={"help": "more words for QEMU's command line, quoted as for a shell"},
    )
    lean: bool = field(
        default=False,
        metadata={"help": "leave out services that such a machine seldom needs: boots faster"},
    )
    restrict: bool = field(
        default=False,
        metadata={"help": "let nodes reach each other only, neither this machine nor the internet"},
    )


@frozen(kw_only=True)
class RamdiskOptions(MachineOptions):
    """Options of ``vm-ramdisk``."""


@frozen(kw_only=True)
class VmOptions(MachineOptions):
    """Options of ``vm``."""

    share: Literal["auto", "9p", "virtiofs"] = field(
        default="auto",
        metadata={"help": "how a NixOS guest gets this machine's store; auto: 9p where QEMU has it"},
    )
