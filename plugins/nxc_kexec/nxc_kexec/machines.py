"""Which machines there are: the machine file, or a list of hosts, and what ssh's configuration adds."""

from __future__ import annotations

import difflib
import ipaddress
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import evolve, frozen

from nxc_core import ConfigError

KEYS = ("key", "jump", "sudo", "address", "name")
_USER = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.@\\-]*$")
_HOST = re.compile(r"^[A-Za-z0-9_]([A-Za-z0-9_.:%-]*[A-Za-z0-9_])?$|^::[A-Fa-f0-9:.]*$")
_TARGET = re.compile(r"^(?:(?P<user>.+)@)?(?:\[(?P<six>[^]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>\d{1,5}))?$")
LIST, ALL = "-m", "the list of machines"
"""Where machines are named that no file names."""
_FORM = "[user@]host[:port] [key=PATH] [jump=[user@]host[:port]] [sudo=yes|no] [address=IP] [name=NAME]"


@frozen(kw_only=True)
class Target:
    """``[user@]host[:port]``."""

    host: str
    user: str = ""
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")


@frozen(kw_only=True)
class Contact:
    """A machine: how its former system is reached, and what we were told of it.

    ``host`` is the name that ssh's configuration may know; ``real``, ``jump`` and ``port`` what came of that.
    ``where`` says where it was named.
    """

    name: str
    host: str
    user: str = ""
    port: int = 0
    key: str = ""
    jump: str = ""
    sudo: bool = True
    address: str = ""
    real: str = ""
    trusted: tuple[str, ...] = ()
    """Files of known hosts for all users that their ssh reads."""
    known_hosts: str = ""
    """The one that was added, as seen from everywhere."""
    where: str = ""


def read_machines(given: Sequence[str], folder: Path) -> tuple[Contact, ...]:
    """Return the machines of a list of hosts, or of the machine file that is its only element.

    Raises ConfigError naming file and line.
    """
    words = [word.strip() for word in given if word.strip()]
    if not words:
        raise ConfigError(
            "no machines are named", hint="name them: -m host,host, or -m FILE with one machine a line"
        )
    if len(words) == 1:
        path = folder / Path(words[0]).expanduser()
        if path.is_file():
            return _read_file(path, words[0])
        if "/" in words[0]:
            told = "is a folder" if path.is_dir() else "does not exist"
            raise ConfigError(f"machine file {words[0]} {told}", hint=f"one machine a line: {_FORM}")
    return _distinct([_read_line(word, LIST) for word in words], ALL)


def _read_file(path: Path, shown: str) -> tuple[Contact, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            f"machine file {shown} cannot be read: {reason}", hint=f"one machine a line, in UTF-8: {_FORM}"
        ) from error
    found = [
        _read_line(line, f"{shown}, line {number}", path.parent)
        for number, line in enumerate(lines, 1)
        if line.partition("#")[0].strip()
    ]
    if not found:
        raise ConfigError(f"machine file {shown} names no machine", hint=f"one a line: {_FORM}")
    return _distinct(found, shown)


def _distinct(found: Sequence[Contact], where: str) -> tuple[Contact, ...]:
    for key_of in (lambda one: one.name, _place):
        seen: dict[object, Contact] = {}
        for one in found:
            first = seen.setdefault(key_of(one), one)
            if first is not one:
                hint = f"leave one of them out of {where}"
                if _place(one) != _place(first):
                    hint += ", or tell them apart by name=" + (" in a machine file" if where == ALL else "")
                raise ConfigError(f"{one.where}: {one.name} is named twice{_first(first, one)}", hint=hint)
    given: dict[str, Contact] = {}
    for one in found:
        first = given.setdefault(one.address, one) if one.address else one
        if first is not one:
            raise ConfigError(
                f"{one.where}: address={one.address} is given twice{_first(first, one)}",
                hint="each machine must have its own",
            )
    return tuple(found)


def _place(one: Contact) -> tuple[str, int, str]:
    return one.host, one.port or 22, one.jump


def _first(first: Contact, one: Contact) -> str:
    return f" (first in {first.where})" if first.where != one.where else ""


def _read_line(line: str, where: str, folder: Path | None = None) -> Contact:
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}", hint=_FORM) from error
    target = read_target(words[0], where)
    values: dict[str, str] = {}
    for word in words[1:]:
        key, is_pair, value = word.partition("=")
        if not is_pair or key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"did you mean {near[0]}=? " if near else ""
            form = f"Commas are between hosts, as in -m a,b. In a file, a line is: {_FORM}"
            raise ConfigError(
                f"{where}: {word!r} is not understood",
                hint=hint + (form if where == LIST else f"A line is: {_FORM}"),
            )
        if key in values:
            raise ConfigError(f"{where}: {key}= is given twice", hint="leave one of them out")
        if not value:
            raise ConfigError(f"{where}: {key}= has no value", hint=_FORM)
        values[key] = value
    return Contact(
        name=_read_name(values.get("name", target.host), where),
        host=target.host,
        user=target.user,
        port=target.port,
        key=_read_key(values.get("key", ""), where, folder),
        jump=str(read_target(values["jump"], where)) if "jump" in values else "",
        sudo=_read_sudo(values.get("sudo", "yes"), where),
        address=_read_address(values.get("address", ""), where),
        where=where,
    )


def read_target(text: str, where: str) -> Target:
    """Read ``[user@]host[:port]``, an IPv6 address in brackets; raises ConfigError."""
    shape = _TARGET.match(text)
    if shape is None and _is_address(text):
        return Target(host=text)
    host = (shape["six"] or shape["host"]) if shape else ""
    user, port = (shape["user"] or "", int(shape["port"] or 0)) if shape else ("", 0)
    if (
        not _HOST.match(host)
        or (user and not _USER.match(user))
        or (shape and shape["six"] and not _is_address(host))
    ):
        raise ConfigError(f"{where}: {text!r} is not [user@]host[:port]", hint=f"a line is: {_FORM}")
    if shape is not None and shape["port"] and not 0 < port < 65536:
        raise ConfigError(f"{where}: there is no port {port}", hint="ports are 1 to 65535")
    return Target(host=host, user=user, port=port)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _read_name(text: str, where: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,253}", text):
        raise ConfigError(
            f"{where}: {text!r} cannot be a machine's name", hint="use letters, digits, . and -"
        )
    return text


def _read_key(text: str, where: str, folder: Path | None) -> str:
    if not text:
        return ""
    path = (folder or Path()) / Path(text).expanduser()
    if not path.is_file():
        raise ConfigError(f"{where}: key {text} does not exist", hint="key= is the path of a private ssh key")
    return str(path.absolute())


def _read_sudo(text: str, where: str) -> bool:
    if text not in ("yes", "no"):
        raise ConfigError(f"{where}: sudo={text} is neither yes nor no", hint="no: the user is root")
    return text == "yes"


def _read_address(text: str, where: str) -> str:
    if text and not _is_address(text):
        raise ConfigError(f"{where}: address={text} is not an IP address", hint="as address=10.0.0.7")
    return text


# What ssh's own configuration says


def configured(contact: Contact, told: str) -> Contact:
    """Add what ``ssh -G`` told: the real host, port and user, the way there, trusted host keys.

    Raises ConfigError where ssh goes a way that cannot be gone to a node.
    """
    words: dict[str, str] = {}
    for line in told.splitlines():
        key, _, value = line.partition(" ")
        words.setdefault(key, value)
    told_jump = words.get("proxyjump", "none")
    jump = contact.jump or ("" if told_jump == "none" else told_jump)
    if not jump and words.get("proxycommand", "none") != "none":
        raise ConfigError(
            f"{contact.where}: ssh reaches {contact.host} by a ProxyCommand, which does not lead to a node",
            hint="use ProxyJump in ssh's configuration, or jump=HOST in the machine file",
        )
    return evolve(
        contact,
        real=words.get("hostname", contact.host),
        user=contact.user or words.get("user", ""),
        port=contact.port or int(words.get("port", "22")),
        jump=jump,
        trusted=tuple(_paths(words.get("globalknownhostsfile", ""))),
    )


def _paths(text: str) -> Iterator[str]:
    for word in shlex.split(text):
        yield str(Path(word).expanduser())
