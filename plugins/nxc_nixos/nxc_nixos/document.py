"""The build document: from what Nix built to an artifact."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nxc_core.errors import BuildError
from nxc_core.model import Artifact, Kind, RoleBoot
from nxc_nixos.stores import Store

SCHEMA = "nxc.nixos/1"
_REINSTALL = "build it again; if that does not help, the flake's input nxc and this nxc differ too much"


def load(store: Store, path: str) -> Mapping[str, Any]:
    """Read a build document; raises BuildError for one that this nxc does not understand."""
    try:
        content = json.loads(store.locate(path).read_text(encoding="utf-8"))
        schema = str(content["schema"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{path} is no build document: {error}", hint=_REINSTALL) from error
    if schema == SCHEMA:
        found: Mapping[str, Any] = content
        return found
    known, given = SCHEMA.rpartition("/"), schema.rpartition("/")
    if given[0] == known[0] and given[2].isdigit() and int(given[2]) > int(known[2]):
        raise BuildError(
            f"{path} is a document {schema}, and this nxc reads up to {SCHEMA}",
            hint="the flake's input nxc is newer than this nxc: update nxc, or pin an older input",
        )
    raise BuildError(f"{path} is a document {schema!r}, not {SCHEMA}", hint=_REINSTALL)


def to_artifact(store: Store, content: Mapping[str, Any], kind: Kind) -> Artifact:
    """Return what a document describes, with paths as they are on this machine.

    Raises BuildError for what the document promises and the store lacks.
    """
    try:
        if content["kind"] != kind:
            raise BuildError(f"asked for {kind}, built {content['kind']}", hint=_REINSTALL)
        files = {name: store.locate(path) for name, path in content["files"].items()}
        roles = {role: _role(store, said, content["boot"]) for role, said in content["roles"].items()}
    except (KeyError, TypeError, AttributeError, OSError) as error:
        raise BuildError(f"the build document cannot be used: {error!r}", hint=_REINSTALL) from error
    if kind == "closure":
        files["store"] = store.physical
    artifact = Artifact(kind=kind, files=files, roles=roles)
    missing = [str(path) for path in artifact.paths() if not path.exists()]
    if missing:
        raise BuildError(f"the store lacks {', '.join(missing[:3])}", hint="build again")
    return artifact


def _role(store: Store, said: Mapping[str, Any], boot: Mapping[str, Mapping[str, str]]) -> RoleBoot:
    init = str(said["init"])
    parameters = store.locate(said["toplevel"]) / "kernel-params"
    words = parameters.read_text(encoding="utf-8").split() if parameters.exists() else []
    image = boot[said["boot"]] if said["boot"] is not None else None
    return RoleBoot(
        kernel=store.locate(image["kernel"]) if image else None,
        initrd=store.locate(image["initrd"]) if image else None,
        cmdline=" ".join([*words, f"init={init}"]) if image else "",
        init=init,
    )


def named_paths(store: Store, text: str) -> list[str]:
    """Return the store paths that a text names."""
    pattern = rf"{re.escape(store.logical)}/[0-9a-z]{{32}}-[0-9A-Za-z+._?=-]+"
    return list(dict.fromkeys(re.findall(pattern, text)))


def named_files(store: Store, text: str) -> dict[str, Path]:
    """Map the store paths that a text names to where they are on this machine."""
    found = {path: store.locate(path) for path in named_paths(store, text)}
    return {path: real for path, real in found.items() if real.exists()}
