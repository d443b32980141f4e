"""Where things are: the user's cache, runtime and configuration folders, and the Nix library."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from nxc_core.errors import StateError

_HERE = Path(__file__).parent


def cache_dir() -> Path:
    """Return ``$XDG_CACHE_HOME/nxc``, shared by all projects of the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nxc"


def config_file() -> Path:
    """Return the user's configuration file; it may not exist."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nxc" / "config.toml"


def runtime_dir() -> Path:
    """Return a private folder with a short path, for sockets (sun_path holds 108 bytes)."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and len(given) < 40 and os.access(given, os.W_OK):
        return private(Path(given) / "nxc")
    return private(Path(tempfile.gettempdir()) / f"nxc-{os.getuid()}")


def shorten(name: str) -> str:
    """Return what stands for a name in the path of a socket."""
    return hashlib.sha256(name.encode()).hexdigest()[:10]


def private(folder: Path) -> Path:
    """Make a folder that only its owner enters; raises StateError if it is someone else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise StateError(
            f"{folder} is not a private folder of yours",
            hint=f"remove it, or set XDG_RUNTIME_DIR; it must be yours with mode 0700 (chmod 700 {folder})",
        )
    os.utime(folder)  # it is in use: what is empty and old is swept
    return folder


def nix_dir() -> Path:
    """Return the Nix library: inside an installed package, or at the top of a checkout."""
    inside = _HERE / "nix"
    return inside if inside.is_dir() else _HERE.parent / "nix"
