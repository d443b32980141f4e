"""The way into a machine's former system: the user's own ssh, and what its refusals mean."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from nxc_core import CommandError
from nxc_core.commands import Command
from nxc_core.connect import spell_path
from nxc_core.gateways import IDLE, through, users_own
from nxc_core.model import Gateway
from nxc_core.paths import shorten
from nxc_kexec.machines import Contact, read_target
from nxc_kexec.trouble import Trouble

NODE_PORT = 2200


@frozen(kw_only=True)
class Way:
    """How one machine's former system is reached: one connection, which all commands share."""

    contact: Contact
    runtime: Path
    known_hosts: str = ""
    patience: int = 20

    @property
    def control(self) -> Path:
        """The shared connection's socket."""
        return self.runtime / f"{shorten(self.contact.name)}.m"

    def options(self, *, shared: bool = True) -> tuple[str, ...]:
        """Return ssh's options: nothing of the user's changes, nobody is asked, no key is trusted unseen."""
        contact = self.contact
        control = str(self.control) if shared else "none"
        added = Path(self.known_hosts) if self.known_hosts else None
        words = [
            *users_own(known_hosts=added, trusted=contact.trusted, patience=self.patience),
            "-S",
            control,
        ]
        if self.gateway:
            words += ["-o", f"ProxyCommand={through(self.gateway, patience=self.patience)}"]
        if contact.port:
            words += ["-p", str(contact.port)]
        if contact.user:
            words += ["-l", contact.user]
        if contact.key:
            key = spell_path(Path(contact.key))
            words += ["-o", f"IdentityFile={key}", "-o", "IdentitiesOnly=yes"]
        return tuple(words)

    @property
    def gateway(self) -> Gateway | None:
        """The host on the way, and the connection to it that all machines behind it share."""
        jump = self.contact.jump
        if not jump:
            return None
        before, _, last = jump.rpartition(",")
        target = read_target(last.removeprefix("ssh://"), self.contact.where)
        return Gateway(
            host=target.host,
            user=target.user,
            port=target.port,
            before=before,
            known_hosts=Path(self.known_hosts) if self.known_hosts else None,
            control=self.runtime / f"{shorten(jump)}.j",
        )

    def open(self, timeout: float) -> Command:
        """Open the shared connection; it goes to the background by itself."""
        words = ("ssh", *self.options(), "-o", "ControlMaster=yes", "-o", f"ControlPersist={IDLE}", "-fN")
        return Command(argv=(*words, self.contact.host), timeout=timeout)

    def run(self, argv: Sequence[str], *, stdin: bytes | Path | None = None, timeout: float) -> Command:
        """Run a command there as the user we log in as."""
        words = ("ssh", *self.options(), "-o", "ControlMaster=auto", "-o", f"ControlPersist={IDLE}")
        argv = (*words, self.contact.host, "--", shlex.join(argv))
        return Command(argv=argv, stdin=stdin, timeout=timeout)

    def alone(self, argv: Sequence[str], *, timeout: float) -> Command:
        """Run a command by a connection of its own: the shared one may be of a system that is gone."""
        words = ("ssh", *self.options(shared=False))
        return Command(argv=(*words, self.contact.host, "--", shlex.join(argv)), timeout=timeout)

    def close(self) -> Command:
        """Close the shared connection."""
        return close(self.control)


def close(control: Path) -> Command:
    """Close the connection that has this socket."""
    return Command(argv=("ssh", "-F", "/dev/null", "-S", str(control), "-O", "exit", "none"), timeout=10)


def resolve(contact: Contact) -> Command:
    """Ask ssh what its configuration makes of a machine."""
    words = ["ssh", "-G"]
    words += ["-p", str(contact.port)] if contact.port else []
    words += ["-l", contact.user] if contact.user else []
    return Command(argv=(*words, contact.host), timeout=20)


# What a refusal means

_CAUSES = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key has changed",
        "if that was you, `ssh-keygen -R {place}`, then accept the new key by `ssh {target}`",
    ),
    (
        "host key is known for",
        "its host key is not known",
        "accept it once by `ssh {target}`, or name a file of host keys: -o kexec.known_hosts=FILE",
    ),
    ("Host key verification failed", "its host key is not trusted", "accept it once by `ssh {target}`"),
    (
        "Permission denied",
        "it does not accept our key",
        "`ssh -o BatchMode=yes {target}` must work: load your key into the agent, or give key=PATH",
    ),
    (
        "Too many authentication failures",
        "it does not accept our key: ssh offered too many",
        "give the right one: key=PATH in the machine file",
    ),
    ("Connection refused", "the connection was refused", "is its sshd running, and is the port right?"),
    ("No route to host", "it cannot be reached (no route to host)", "is it on, and in this network?"),
    ("Network is unreachable", "its network cannot be reached", "is this machine connected?"),
    ("Connection timed out", "it does not answer", "is it on, and does no firewall stand between?"),
    ("Operation timed out", "it does not answer", "is it on, and does no firewall stand between?"),
    ("Could not resolve hostname", "its name is not known", "correct the name, or use its address"),
    (
        "Connection closed by",
        "it closed the connection during login",
        "its own log (sshd) says why; may this user log in?",
    ),
    ("Connection reset by", "it reset the connection during login", "its own log (sshd) says why"),
    ("kex_exchange_identification", "what answers there is no ssh server", "is the port right?"),
)
PASSING = (
    "was refused",
    "no route",
    "network cannot",
    "does not answer",
    "closed the",
    "reset the",
    "no ssh server",
)
"""Causes that go by themselves where a machine is just booting."""


def is_passing(trouble: Trouble) -> bool:
    """Whether a refusal is one that a machine gives while it boots."""
    return any(word in trouble.cause for word in PASSING)


def refusal(error: CommandError, step: str, contact: Contact, timeout: float) -> Trouble:
    """Say what a failed ssh means, where ssh itself failed; ``last_line`` is what it wrote."""
    said = error.stderr.strip().splitlines()
    last = next((line for line in reversed(said) if line.strip()), "")
    via = f" (through {contact.jump})" if contact.jump else ""
    target = spell(contact)
    for mark, cause, hint in _CAUSES:
        if mark in error.stderr:
            place = contact.real or contact.host
            place = f"[{place}]:{contact.port}" if contact.port not in (0, 22) else place
            return Trouble(
                step=step,
                cause=cause + via,
                hint=hint.format(target=target, place=place),
                last_line=last,
                machine=contact.name,
            )
    if error.code is None:
        return Trouble(
            step=step,
            cause=f"it does not answer: not done after {timeout:g} s{via}",
            hint="look at its console, or allow more time (`nxc flavour show kexec`)",
            last_line=last,
            machine=contact.name,
        )
    return Trouble(
        step=step,
        cause=f"ssh ended with {error.code}{via}" + (f": {last}" if last else ""),
        hint=f"try `ssh {target}`",
        last_line=last,
        machine=contact.name,
    )


def spell(contact: Contact) -> str:
    """Spell a machine as an argument of ssh."""
    words = (["-p", str(contact.port)] if contact.port not in (0, 22) else []) + (
        ["-J", contact.jump] if contact.jump else []
    )
    words.append(f"{contact.user}@{contact.host}" if contact.user else contact.host)
    return " ".join(words)
