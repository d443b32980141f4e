"""Causes in the machine or its store, and builds that fail; known by Nix' words."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from nxc_core.errors import BuildError, ConfigError, Interrupted, NxcError, PreflightError, UsageError
from nxc_nixos.case import Case, Rule, rule
from nxc_nixos.log import KEPT, title


def _builder(match: re.Match[str], case: Case) -> NxcError:
    derivation = match["drv"]
    how = re.sub(r"\s+", " ", match["how"]).strip().rstrip(";:.")
    tail = case.tail(derivation) or _tail_in(case.failure.message)
    if "No space left on device" in case.failure.message + tail:
        return _full(match, case)
    return BuildError(f"{title(derivation)} could not be built: {how}{tail}", hint=case.log_hint(derivation))


def _tail_in(message: str) -> str:
    """Return the log's lines that newer versions of Nix put into the error."""
    lines = re.findall(r"^\s*> (.*)$", message, re.M)
    return "".join(f"\n  | {line}" for line in lines[-KEPT:])


def _hash(match: re.Match[str], case: Case) -> NxcError:
    return BuildError(
        f"{title(match['drv'])}: what was fetched is not what its hash says\n"
        f"  said:  {match['said']}\n  found: {match['got']}",
        hint="if the source may have changed, put the found hash into the expression",
    )


def _wrong_system(match: re.Match[str], case: Case) -> NxcError:
    wanted, here = match["wanted"], match["here"]
    name = title(match["drv"])
    if wanted == here:
        return PreflightError(
            f"{name} needs a machine with {match['features']}",
            hint="allow it in nix.conf (system-features), or name builders: -o nixos.builders=...",
        )
    return PreflightError(
        f"{name} is for {wanted}, this machine is {here}",
        hint=f'build for {here} (system = "{here}"), or name a machine that can: -o nixos.builders=...',
    )


def _full(match: re.Match[str], case: Case) -> NxcError:
    place = case.store.physical
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free >> 20
    return BuildError(
        f"{case.what}: no space left for Nix' store ({place} has {free} MiB free)",
        hint="free some: `nxc clean`, then nix-collect-garbage; or build elsewhere: -o nixos.store=FOLDER",
    )


def _no_daemon(match: re.Match[str], case: Case) -> NxcError:
    return PreflightError(
        f"Nix' daemon does not answer at {match['socket']}: {match['why']}",
        hint="start it (systemctl start nix-daemon.socket); a store of your own needs none: "
        "unset NIX_REMOTE, and -o nixos.store=FOLDER",
    )


def _denied(match: re.Match[str], case: Case) -> NxcError:
    path = Path(match["path"])
    if not any(path.is_relative_to(place) for place in (case.store.physical.parent, case.store.state)):
        return ConfigError(case.at(f"{path} may not be read or written"), hint="see its rights: ls -ld")
    return PreflightError(
        f"{match['path']} is not yours to write, so Nix cannot use the store there",
        hint="use one of your own: -o nixos.store=FOLDER; or the machine's daemon: NIX_REMOTE=daemon",
    )


def _not_trusted(match: re.Match[str], case: Case) -> NxcError:
    return PreflightError(case.words, hint="ask for it in /etc/nix/nix.conf (trusted-users)")


def _no_namespaces(match: re.Match[str], case: Case) -> NxcError:
    return PreflightError(
        f"Nix may not shut its builders in: {case.words}",
        hint="user namespaces must be allowed (sysctl kernel.unprivileged_userns_clone=1), or, with the "
        "machine's own store, NIX_CONFIG='sandbox = false'",
    )


def _build_users(match: re.Match[str], case: Case) -> NxcError:
    return PreflightError(
        case.words, hint="make the group with users in it, or set `build-users-group =` in nix.conf"
    )


def _invalid(match: re.Match[str], case: Case) -> NxcError:
    return BuildError(
        f"{match['path']} is not in the store any more",
        hint="it was collected as garbage: build again",
    )


def _feature(match: re.Match[str], case: Case) -> NxcError:
    return PreflightError(
        f"Nix refuses its feature {match['feature']}",
        hint=f"nix.conf: extra-experimental-features = {match['feature']}",
    )


def _flag(match: re.Match[str], case: Case) -> NxcError:
    return UsageError(f"Nix does not take this: {case.words}", hint="see -o nixos.flags and --nix-flags")


def _interrupted(match: re.Match[str], case: Case) -> NxcError:
    return Interrupted("interrupted")


_DRV = r"'?(?P<drv>[^'\s]+\.drv)'?"
_FEATURES = r"with features \{(?P<features>[^}]*)\}"
_TOUCHING = (
    "could not set permissions on|creating (?:directory|file|symlink)|opening (?:lock )?file|cannot open|"
    "changing ownership of(?: path)?|cannot create"
)
_REFUSED = "Permission denied|Operation not permitted|Read-only file system"
_SHUT_IN = (
    "cloning builder process|kernel namespaces|unable to (?:fork|start build process)|"
    "while setting up the build environment|setting up a private mount namespace"
)
_SETTING = r"unrecognised flag '|^(?:configuration )?setting '.* should be|unknown setting|flag '.*' requires"

RULES: tuple[Rule, ...] = (
    rule(r"interrupted by the user", _interrupted),
    rule(r"No space left on device|database or disk is full", _full),
    rule(r"cannot connect to (?:socket|daemon) at '(?P<socket>[^']+)':? ?(?P<why>[^\n]*)", _no_daemon),
    rule(r"experimental Nix feature '(?P<feature>[^']+)' is disabled", _feature),
    rule(_SETTING, _flag),
    rule(r"the group '[^']+' specified in 'build-users-group'", _build_users),
    rule(_SHUT_IN, _no_namespaces),
    rule(rf"(?:{_TOUCHING}) '(?P<path>/[^']+)'[^\n]*: (?:{_REFUSED})", _denied),
    rule(r"is not allowed to|lacks a (?:valid )?signature|not a trusted user", _not_trusted),
    rule(
        r"hash mismatch in fixed-output derivation '(?P<drv>[^']+)':"
        r"\s+specified: +(?P<said>\S+)\s+got: +(?P<got>\S+)",
        _hash,
    ),
    rule(
        rf"a '(?P<wanted>[^']+)' {_FEATURES} is required to build {_DRV}, but I am a '(?P<here>[^']+)'",
        _wrong_system,
    ),
    rule(
        rf"Cannot build {_DRV}.*?Required system: '(?P<wanted>[^']+)' {_FEATURES}"
        r".*?Current system: '(?P<here>[^']+)'",
        _wrong_system,
    ),
    rule(rf"builder for {_DRV} (?P<how>failed[^\n;]*)", _builder),
    rule(rf"Cannot build {_DRV}\.\s*Reason: (?P<how>[^\n]+)", _builder),
    rule(rf"{_DRV} (?P<how>timed out[^\n]*)", _builder),
    rule(r"path '(?P<path>[^']+)' is not valid", _invalid),
    rule(r"don't know how to build these paths:\s+(?P<path>\S+)", _invalid),
)
