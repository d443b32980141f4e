"""Where Nix keeps what it makes: the machine's store, a daemon's, or one in a home directory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import parse_qs

from attrs import field, frozen

from nxc_core.errors import PreflightError

LOGICAL = "/nix/store"
STATE = "/nix/var/nix"
_NAME = re.compile(r"[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+._?=-]+")


@frozen(kw_only=True)
class Store:
    """A store and how to reach it. ``logical`` is how its paths begin, ``physical`` where that folder is.

    ``uri`` is what NIX_REMOTE says; ``state`` holds the database and the roots; ``why`` it was chosen.
    """

    uri: str
    logical: str = LOGICAL
    physical: Path = field(default=Path(LOGICAL), converter=Path)
    state: Path = field(default=Path(STATE), converter=Path)
    why: str = ""

    @property
    def is_daemon(self) -> bool:
        """Whether someone else writes to the store for us."""
        return self.uri == "daemon" or self.uri.startswith("unix:")

    @property
    def is_moved(self) -> bool:
        """Whether paths are to be read elsewhere than they say."""
        return str(self.physical) != self.logical

    def locate(self, path: str | Path) -> Path:
        """Return where a store path can be read; any other path is returned as it is."""
        text = str(path)
        if text == self.logical or text.startswith(f"{self.logical}/"):
            return self.physical / text[len(self.logical) :].lstrip("/")
        return Path(text)

    def name(self, path: str | Path) -> str:
        """Return the store's own name of what lies at ``path``: the inverse of ``locate``."""
        found = Path(path)
        if found.is_relative_to(self.physical):
            return f"{self.logical}/{found.relative_to(self.physical)}".rstrip("/.")
        return str(found)

    def owner(self, path: str | Path) -> str:
        """Return the store path that a path lies in; raises ValueError for a path outside the store."""
        inside = self.name(path).removeprefix(f"{self.logical}/").split("/", 1)[0]
        if not _NAME.fullmatch(inside):
            raise ValueError(f"{path} is not in the store {self.logical}")
        return f"{self.logical}/{inside}"

    def holds(self, paths: Iterable[str]) -> bool:
        """Whether all the store paths are there; no process is asked, so it costs microseconds."""
        return all(os.path.lexists(self.locate(path)) for path in paths)


def choose(given: str | None, environ: Mapping[str, str] = os.environ) -> Store:
    """Choose the store: what the user says, the machine's if it can be used, else one in the home."""
    if given:
        return parse(given, environ, why=f"asked for: {given}")
    if environ.get("NIX_REMOTE"):
        return parse(environ["NIX_REMOTE"], environ, why="NIX_REMOTE says so")
    local = parse("local", environ, why="its folders are this user's to write")
    if environ.get("NIX_STORE_DIR") or environ.get("NIX_STATE_DIR"):
        return local
    if os.access(local.state, os.R_OK | os.W_OK):
        return local
    if socket_of(local, environ).exists():
        return parse("daemon", environ, why="a daemon keeps the machine's store")
    return parse(
        str(home_store(environ)), environ, why="the machine's store is not this user's and has no daemon"
    )


def home_store(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the store of a user without rights: the one that Nix itself would use if it is there."""
    home = Path(environ.get("HOME") or Path.home())
    share = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    own = share / "nix" / "root"
    return own if (own / "nix" / "store").is_dir() else share / "nxc" / "nix"


def socket_of(store: Store, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the daemon of a store listens."""
    if store.uri.startswith("unix://") and len(store.uri) > 7:
        return Path(store.uri[7:].split("?")[0])
    given = environ.get("NIX_DAEMON_SOCKET_PATH")
    return Path(given) if given else store.state / "daemon-socket" / "socket"


def parse(uri: str, environ: Mapping[str, str] = os.environ, *, why: str = "") -> Store:
    """Understand a store as Nix writes it; raises PreflightError for one on another machine."""
    logical = environ.get("NIX_STORE_DIR") or LOGICAL
    state = environ.get("NIX_STATE_DIR") or STATE
    place, _, query = uri.partition("?")
    if place.startswith(("ssh", "http", "s3:", "file:")):
        raise PreflightError(
            f"the store {uri} is on another machine", hint="nxc reads what it builds: name one that is here"
        )
    given = {key: values[-1] for key, values in parse_qs(query).items()}
    if place.startswith(("/", ".", "~")):
        given.setdefault("root", str(Path(place).expanduser().absolute()))
        uri = given["root"] + (f"?{query}" if query else "")
    logical, state = given.get("store", logical), given.get("state", state)
    physical = logical
    if "root" in given:  # Nix leaves NIX_STORE_DIR aside for the folders below a root
        root = given["root"].rstrip("/")
        physical, state = f"{root}/nix/store", given.get("state", f"{root}/nix/var/nix")
    return Store(
        uri="local" if uri == "auto" else uri,
        logical=logical,
        physical=Path(given.get("real", physical)),
        state=Path(state),
        why=why,
    )
