"""What a user may set of the flavour ``kexec``."""

from __future__ import annotations

from typing import Literal

from attrs import Attribute, field, frozen

SLOWEST = 86400.0


def _is_deadline(_: object, attribute: Attribute[float], value: float) -> None:
    if not 0 < value <= SLOWEST:
        raise ValueError(
            f"{attribute.name} must be more than 0 and at most {SLOWEST:g} seconds, not {value:g}"
        )


def _is_absolute(_: object, attribute: Attribute[str], value: str) -> None:
    if value and not value.startswith("/"):
        raise ValueError(f"{attribute.name} must be an absolute path, not {value!r}")


def _is_one_line(_: object, attribute: Attribute[str], value: str) -> None:
    if not value.isprintable():
        raise ValueError(f"{attribute.name} must be one line of printable characters")


@frozen(kw_only=True)
class KexecOptions:
    """Options of the whole deployment; what differs by machine is in the machine file."""

    machines: tuple[str, ...] = field(
        default=(),
        metadata={"help": "the machines: [user@]host[:port],..., or the path of a machine file"},
    )
    known_hosts: str = field(
        default="", metadata={"help": "a file of host keys to trust beside those that your ssh knows"}
    )
    shared: str = field(
        default="",
        validator=_is_absolute,
        metadata={"help": "a folder that this machine and all others see, as an NFS home: no copy over ssh"},
    )
    folder: str = field(
        default="/dev/shm",
        validator=_is_absolute,
        metadata={"help": "where a machine keeps the image until it starts it; must be in memory (tmpfs)"},
    )
    console: str = field(
        default="ttyS0,115200",
        validator=_is_one_line,
        metadata={"help": "the serial console of the machines, as the kernel spells it; empty for none"},
    )
    cmdline: str = field(
        default="",
        validator=_is_one_line,
        metadata={"help": "more arguments for the nodes' kernel"},
    )
    firmware: bool = field(
        default=True, metadata={"help": "put the firmware of network cards and disks into the image"}
    )
    syscall: Literal["auto", "load", "file"] = field(
        default="auto",
        metadata={"help": "how kexec loads: load, file (kernels that check signatures), auto tries both"},
    )
    release: Literal["reboot", "leave"] = field(
        default="reboot",
        metadata={"help": "what becomes of nodes in the end: rebooted into their former system, or left"},
    )
    contact: float = field(
        default=20.0,
        validator=_is_deadline,
        metadata={"help": "seconds until a machine must have let us in; more where it may be rebooting"},
    )
    facts: float = field(
        default=30.0, validator=_is_deadline, metadata={"help": "seconds for looking at a machine"}
    )
    image: float = field(
        default=900.0, validator=_is_deadline, metadata={"help": "seconds for bringing the image to all"}
    )
    load: float = field(
        default=120.0, validator=_is_deadline, metadata={"help": "seconds for loading the kernel (kexec -l)"}
    )
    boot: float = field(
        default=300.0, validator=_is_deadline, metadata={"help": "seconds from the start to a ready node"}
    )
    reboot: float = field(
        default=900.0,
        validator=_is_deadline,
        metadata={"help": "seconds for a machine to come back into its former system"},
    )
    give_back: float = field(
        default=180.0,
        validator=_is_deadline,
        metadata={"help": "seconds for reaching a machine that is to be given back"},
    )
