"""The tools that run on a machine, as plumbum's command objects: words, not texts, until ssh carries them."""

from __future__ import annotations

from typing import ClassVar

from plumbum.commands.base import BaseCommand, ConcreteCommand

from nxc_core import ConfigError
from nxc_core.model import RoleBoot
from nxc_kexec.options import KexecOptions

LONGEST = 2047
"""Bytes that x86 kernels read of their command line."""


class Tool(ConcreteCommand):
    """A program of another machine. It is only spelled here (``formulate``); nxc's own runner runs it."""

    QUOTE_LEVEL: ClassVar[int] = 1 << 10  # never: what carries it quotes it

    def __init__(self, executable: str) -> None:
        super().__init__(executable, "utf-8")


sudo = Tool("sudo")["-n"]
sh = Tool("sh")


def as_root(command: BaseCommand, *, root: bool) -> BaseCommand:
    """Put sudo before a command, unless we are root."""
    return command if root else sudo[command]


def words(command: BaseCommand) -> tuple[str, ...]:
    """Spell a command."""
    return tuple(command.formulate())


def kexec_load(program: str, kernel: str, initrd: str, arguments: str, *, by_file: bool) -> BaseCommand:
    """Load a kernel. Without ``by_file`` its checksums are left out: they cost a second for nothing here."""
    how = ("--kexec-file-syscall",) if by_file else ("--kexec-syscall", "--no-checks")
    kexec: BaseCommand = Tool(program)
    return kexec[("--load", *how, f"--initrd={initrd}", f"--append={arguments}", kernel)]


def kexec_unload(program: str) -> BaseCommand:
    """Forget what was loaded."""
    return Tool(program)["--unload"]


def kernel_arguments(boot: RoleBoot, options: KexecOptions) -> str:
    """Return a node's kernel command line; what comes later wins. It does not grow with the nodes.

    A kernel that panics reboots, which gives the machine its former system back.
    """
    words = ["net.ifnames=0", "panic=10", "console=tty0"]
    if options.console:
        words.append(f"console={options.console}")
    text = " ".join([*words, boot.cmdline, options.cmdline]).strip()
    if len(text.encode()) > LONGEST:
        raise ConfigError(
            f"the nodes' kernel command line has {len(text.encode())} bytes, a kernel reads {LONGEST}",
            hint="shorten boot.kernelParams of the composition, or -o kexec.cmdline",
        )
    return text
