"""Asking Nix what a composition says: in a store of nxc's own, without a network, as any user."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from nxc_core.errors import BuildError, CommandError, ConfigError, PreflightError
from nxc_core.model import Container, Json
from nxc_core.operation import Operation
from nxc_core.paths import nix_dir
from nxc_core.process import find_program
from nxc_debian.apt import base_environment
from nxc_debian.files import digest, replace_text

SCHEMA = "nxc.debian.composition/1"
MINIMUM = (2, 8)
TIMEOUT = 300.0
_STORE_PATH = re.compile(r"/nix/store/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+")
_VERSION = re.compile(r"(\d+)\.(\d+)")


@frozen(kw_only=True)
class Evaluated:
    """What Nix says of a composition. ``roles`` holds each role's system as nix/debian describes it."""

    roles: Mapping[str, Mapping[str, Any]] = field(repr=False)
    distribution: Mapping[str, int | list[str]]
    test_script: str | None
    warnings: tuple[str, ...]


def to_container(said: Mapping[str, Any]) -> Container:
    """Take apart what a role asks of its containers."""
    return Container(
        ports=tuple(said["ports"]),
        volumes=tuple(said["volumes"]),
        memory=said["memory"],
        cpus=said["cpus"],
        pids=said["pids"],
        sysctls=said["sysctls"],
    )


def project_root(source: Path) -> Path:
    """Return the nearest folder above with nxc.toml or .git, else the composition's own."""
    folder = source.resolve().parent
    for candidate in (folder, *folder.parents):
        if (candidate / "nxc.toml").exists() or (candidate / ".git").exists():
            return candidate
    return folder


def store_dir(cache: Path) -> Path:
    """Where Nix writes derivations and copied files; below it, paths begin with nix/store."""
    return cache / "store"


def files_named(text: str, cache: Path) -> dict[str, Path]:
    """Map the files of the composition that a text names by their Nix paths to where they are."""
    named = dict.fromkeys(_STORE_PATH.findall(text))
    found = {path: store_dir(cache) / path.lstrip("/") for path in named}
    return {path: real for path, real in found.items() if real.exists()}


def evaluate(
    source: Path, cache: Path, names: Path | None, setup: Mapping[str, Json], op: Operation
) -> Evaluated:
    """Evaluate a composition file; raises ConfigError in few words, the module system's as they are."""
    if not source.is_file():
        raise ConfigError(f"{source}: there is no such file", hint="`nxc init` makes a first composition")
    nix = find_nix(op)
    root = project_root(source)
    empty = cache / "nix-conf"
    empty.mkdir(parents=True, exist_ok=True)
    argv = [nix, "--eval", "--strict", "--json", "--read-write-mode", "--store", str(store_dir(cache))]
    argv += ["--option", "restrict-eval", "true", "--show-trace"]
    argv += ["-I", f"nxc={nix_dir()}", "-I", f"project={root}"]
    if names is not None:
        argv += ["-I", f"names={names}", "--argstr", "packageNames", str(names)]
    argv += ["--argstr", "composition", str(source.resolve()), "--argstr", "system", "x86_64-linux"]
    if setup:
        argv += ["--argstr", "setup", json.dumps(setup)]
    argv += [str(nix_dir() / "debian" / "eval.nix")]
    env = {k: v for k, v in base_environment().items() if not k.startswith("NIX_")}
    env |= {
        "NIX_CONF_DIR": str(empty),
        "NIX_CONFIG": "build-users-group =\nsandbox = false",
        "NIX_STATE_DIR": "",
    }
    env |= {"NIX_USER_CONF_FILES": "", "XDG_CACHE_HOME": str(cache / "nix-cache")}
    del env["NIX_STATE_DIR"]
    op.need_disk(cache, 20, "evaluating the composition")
    op.step(f"evaluating {source.name}", topic="build")
    try:
        ended = op.run(argv, env=env, timeout=TIMEOUT)
    except CommandError as error:
        raise explain(error, source, root) from error
    return to_evaluated(json.loads(ended.stdout), source)


def to_evaluated(value: Any, source: Path) -> Evaluated:
    """Take the document apart; raises ConfigError for failed assertions."""
    if value.get("schema") != SCHEMA:
        raise BuildError(
            f"nix/ speaks {value.get('schema')}, this nxc {SCHEMA}", hint="reinstall nxc: its parts differ"
        )
    failed = [
        f"role {role}: {message}"
        for role, system in value["roles"].items()
        for message in system["failedAssertions"]
    ]
    if failed:
        listed = "\n".join(f"  {message}" for message in failed)
        raise ConfigError(
            f"{source.name}: what it asks for does not hold:\n{listed}", hint="correct the composition"
        )
    warnings = [*value.get("warnings", [])]
    for role, system in value["roles"].items():
        warnings += [f"role {role}: {message}" for message in system["warnings"]]
    return Evaluated(
        roles=value["roles"],
        distribution=value["rolesDistribution"],
        test_script=value["testScript"],
        warnings=tuple(warnings),
    )


def find_nix(op: Operation) -> str:
    """Return nix-instantiate; raises PreflightError when it is missing or too old."""
    nix = find_program("nix-instantiate", package="nix-bin")
    version = nix_version(op.run((nix, "--version"), timeout=30).text)
    if version < MINIMUM:
        told = "{}.{} is too old".format(*version) if any(version) else "does not say its version"
        raise PreflightError(f"nix {told}", hint="nix 2.8 or later is needed (nix-bin)")
    return nix


def nix_version(text: str) -> tuple[int, int]:
    """Read the version out of what ``nix-instantiate --version`` prints."""
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def explain(error: CommandError, source: Path, root: Path) -> ConfigError | BuildError:
    """Shorten Nix' words: nxc's own messages as they are, of a trace the frames in the project."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", error.stderr or error.message)
    if error.code is None:
        return ConfigError(
            f"{source.name}: evaluating it took more than {TIMEOUT:g} s", hint="is there a loop in it?"
        )
    if "No space left on device" in text:
        return BuildError(
            "no space left for nxc's store", hint="free some space, or set XDG_CACHE_HOME to another disk"
        )
    own = re.findall(r"error: (?:nxc: )(.+)", text)
    if own:
        return ConfigError(own[-1].strip())
    message = _message(text)
    reading = re.search(r"nxc: while reading ([^$\n]+)", text)  # not the quoted source line
    if reading:
        return ConfigError(f"{_short(reading[1].strip(), root)}: {message}")
    places = [
        f"  at {_short(file, root)}:{line}"
        for file, line in re.findall(r"at (/[^\s:]+):(\d+)(?::\d+)?", text)
        if Path(file).is_relative_to(root)
    ]
    options = re.findall(r"while evaluating the option `?'?([\w.\"<>-]+)'?:?", text)
    where = list(dict.fromkeys(reversed(places)))[:4]
    if "infinite recursion" in message and options:
        where.append(f"  while evaluating the option {options[-1]}")
    place = "" if places or source.name in message else f"{source.name}: "
    near = re.search(r"Did you mean (.+)\?", text)
    hint = f"did you mean {near[1]}?" if near else ""
    if "forbidden" in message:
        hint = "only files of the project can be read; put it below the folder with nxc.toml"
    return ConfigError(place + "\n".join([message, *where]), hint=hint)


def _message(text: str) -> str:
    """Return what follows the last ``error:`` that says something."""
    found = [
        words.strip()
        for words in re.findall(r"error:\s*([^\n]*(?:\n(?!\s*(?:at|…|\n|\d+\|)|error:).+)?)", text)
    ]
    said = [words for words in found if words]
    return said[-1] if said else text.strip().splitlines()[-1] if text.strip() else "nix-instantiate failed"


def _short(file: str, root: Path) -> str:
    return os.path.relpath(file, root)


def cached(
    source: Path, key: str, cache: Path, names: Path | None, setup: Mapping[str, Json], op: Operation
) -> Evaluated:
    """Evaluate, or take what was evaluated for the same ``key``, while the store still has its paths."""
    kept = cache / "eval" / f"{digest([key, str(source.resolve()), setup])[:24]}.json"
    try:
        value = json.loads(kept.read_text())
        roles = value["roles"].values()
        paths = [path for system in roles for path in (*system["derivations"], *system["sources"])]
        if all((store_dir(cache) / path.lstrip("/")).exists() for path in paths):
            return to_evaluated(value, source)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = evaluate(source, cache, names, setup, op)
    value = {
        "schema": SCHEMA,
        "roles": {role: {**system, "warnings": []} for role, system in found.roles.items()},
        "rolesDistribution": found.distribution,
        "testScript": found.test_script,
        "warnings": list(found.warnings),
    }
    replace_text(kept, json.dumps(value, sort_keys=True))
    return found
