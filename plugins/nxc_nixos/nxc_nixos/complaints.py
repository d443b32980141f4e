"""What Nix complains of, in few words: what, where in the user's own files, and the way out."""

from __future__ import annotations

from pathlib import Path

from nxc_core.errors import ConfigError, NxcError


def complain(stderr: str, *, project: Path, what: str) -> NxcError:
    """Return one error for all that Nix wrote."""
    return ConfigError(f"{what}: {stderr.strip()}")
