"""How much memory machines get, and whether this one has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from nxc_core import ConfigError, Operation, PreflightError
from nxc_vm.options import MachineOptions, mebibytes


@frozen(kw_only=True)
class Appetite:
    """What a flavour's machines get when nobody says, in MiB: ``usual``, or ``spare`` beside the image."""

    flavour: str
    usual: int
    spare: int


# The kernel holds the packed and the unpacked initrd for a moment, then the unpacked one for good.


def least_memory(initrd: Path) -> int:
    """Return the MiB below which the image cannot boot."""
    return 2 * (initrd.stat().st_size >> 20) + 144


def choose_memory(options: MachineOptions, initrd: Path, appetite: Appetite) -> int:
    """Return a node's memory in MiB; raises ConfigError where the image cannot boot in what is asked for."""
    least = least_memory(initrd)
    if options.memory is None:
        return max(appetite.usual, least + appetite.spare)
    asked = mebibytes(options.memory)
    if asked < least:
        raise ConfigError(
            f"memory={options.memory} is too little: the image needs {least} MiB",
            hint=f"-o {appetite.flavour}.memory={least}m or more, or leave the option out",
        )
    return asked


def check_memory(wanted: Mapping[str, int], appetite: Appetite, op: Operation) -> None:
    """Raise PreflightError where the nodes cannot fit; warn where they hardly do."""
    needed = sum(wanted.values())
    total, available = host_memory()
    if needed > total:
        raise PreflightError(
            f"{len(wanted)} nodes want {needed} MiB of memory, this machine has {total} MiB",
            hint=f"start fewer nodes (-r ROLE=N), or give each less (-o {appetite.flavour}.memory=512m)",
        )
    if needed > available:
        op.step(f"the nodes may want {needed} MiB of memory; {available} MiB are free now", topic="warning")


def host_memory(source: Path = Path("/proc/meminfo")) -> tuple[int, int]:
    """Return the machine's memory and swap, and what of it is available, in MiB."""
    kibibytes = {}
    for line in source.read_text().splitlines():
        name, _, rest = line.partition(":")
        kibibytes[name] = int(rest.split()[0])
    total = kibibytes["MemTotal"] + kibibytes.get("SwapTotal", 0)
    available = kibibytes.get("MemAvailable", kibibytes["MemFree"]) + kibibytes.get("SwapFree", 0)
    return total >> 10, available >> 10
