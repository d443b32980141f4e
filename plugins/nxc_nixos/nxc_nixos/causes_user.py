"""Causes in what the user wrote: options, packages, files, inputs; known by Nix' words."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from nxc_core.errors import ConfigError, NxcError, PreflightError
from nxc_nixos.case import TRACE, Case, Rule, rule

_COPY = re.compile(r"^path:\S*/nixos/trees/[0-9a-f]{32}: ")
"""nxc's own copy of a flake's files, which the user has never seen."""

_OPTIONS = "is it spelt as in https://search.nixos.org/options, and in the nixpkgs that is pinned?"


def _recursion(match: re.Match[str], case: Case) -> NxcError:
    options = case.failure.options()
    circle = f" in the option {options[0]}" if options else ""
    frames = [f"\n  at {frame}" for frame in case.files.frames(case.failure)]
    others = f"\n  asked for by {', '.join(options[1:4])}" if len(options) > 1 else ""
    roles = "".join(f"\n  of role {role}" for role in case.failure.roles()[:1])
    place = "" if frames else f"{case.what}: "
    return ConfigError(
        f"{place}infinite recursion{circle}: its value asks for itself{''.join(frames)}{others}{roles}",
        hint=f"`imports` and what decides `mkIf` may not depend on what they define; {TRACE}",
    )


def _overflow(match: re.Match[str], case: Case) -> NxcError:
    return ConfigError(case.at("a function calls itself without end"), hint=f"is there a loop in it? {TRACE}")


def _unfree(match: re.Match[str], case: Case) -> NxcError:
    name, licence = match["name"], match["licence"]
    return ConfigError(
        case.at(f"{name} has an unfree licence ({licence})"),
        hint="if you accept it: nixpkgs.config.allowUnfree = true; in the role, or "
        "config.allowUnfree = true; among nxc.lib.compose's arguments for all roles",
    )


def _marked(match: re.Match[str], case: Case) -> NxcError:
    name, mark = match["name"], match["mark"]
    switches = {
        "broken": "nixpkgs.config.allowBroken = true;",
        "insecure": f'nixpkgs.config.permittedInsecurePackages = [ "{name}" ];',
    }
    known = re.findall(r"^ - .+$", case.failure.message, re.M)
    told = "".join(f"\n {line}" for line in known[:5])
    return ConfigError(
        case.at(f"{name} is marked as {mark}{told}"),
        hint=f"take another package, or, if you accept it, in the role: {switches[mark]}",
    )


def _platform(match: re.Match[str], case: Case) -> NxcError:
    return ConfigError(
        case.at(f"{match['name']} is not there for {match['system']}"),
        hint="take another package, or leave it out of roles for this system",
    )


def _nixpkgs_missing(match: re.Match[str], case: Case) -> NxcError:
    return ConfigError(
        case.at("there is no nixpkgs: nothing says which one to use"),
        hint="add an input to flake.nix: inputs.nixpkgs.url = \"github:NixOS/nixpkgs/nixos-25.05\"; "
        "or name a tree: -o nixos.nixpkgs=FOLDER",
    )  # fmt: skip


def _newer(match: re.Match[str], case: Case) -> NxcError:
    here = ".".join(map(str, case.version)) or "an older one"
    return PreflightError(
        f"this nixpkgs needs nix {match['needed']} or later; here is {here}",
        hint="install a newer Nix (https://nixos.org/download), or choose an older nixpkgs",
    )


def _forbidden(match: re.Match[str], case: Case) -> NxcError:
    return ConfigError(
        case.at(f"{match['path']} cannot be read: a flake sees only its own files and inputs"),
        hint="move it into the project, or let it see other files: -o nixos.impure=true",
    )


def _looked_up(match: re.Match[str], case: Case) -> NxcError:
    return ConfigError(
        case.at(case.words),
        hint="a flake takes files from its inputs: write inputs.NAME in place of <NAME>",
    )


def _missing(match: re.Match[str], case: Case) -> NxcError:
    near = case.failure.near
    return ConfigError(case.at(case.words), hint=f"did you mean {near}?" if near else TRACE)


def _own_words(match: re.Match[str], case: Case) -> NxcError:
    words = _COPY.sub("flake.nix: ", case.words.removeprefix("nxc: "))
    message, _, hint = words.partition("\nhint: ")
    return ConfigError(message, hint=hint)


def _conflict(match: re.Match[str], case: Case) -> NxcError:
    message = re.sub(r"\s*Use `lib\.mkForce value.*", "", case.words, flags=re.DOTALL)
    return ConfigError(
        case.at(message), hint="let one win: lib.mkForce VALUE, or lib.mkDefault VALUE for the other"
    )


def _assertions(match: re.Match[str], case: Case) -> NxcError:
    listed = "\n".join(f"  {line}" for line in case.words.split(":", 1)[1].strip().splitlines())
    return ConfigError(
        case.at(f"what the configuration asks for does not hold:\n{listed}"), hint="correct the role"
    )


def _option(match: re.Match[str], case: Case) -> NxcError:
    message, _, near = case.words.partition("Did you mean ")
    hint = f"did you mean {near.strip().rstrip('?')}?" if near else ""
    return ConfigError(case.at(message.strip()), hint=hint or _OPTIONS)


def _no_file(match: re.Match[str], case: Case) -> NxcError:
    root, inside = case.files.root, match["inside"]
    mine = root / inside
    others = [name for name in case.untracked() if name != inside]
    if mine.exists() and (inside in case.untracked() or not others):
        more = f", nor {', '.join(others[:5])}" if others else ""
        return ConfigError(
            f"{inside} is not known to git{more}; Nix sees only files that git knows",
            hint=f"git -C {root} add {' '.join([inside, *others[:5]])}",
        )
    siblings = [path.name for path in mine.parent.glob("*")] if mine.parent.is_dir() else []
    near = difflib.get_close_matches(mine.name, siblings, 1)
    return ConfigError(
        case.at(f"there is no file {inside}"), hint=f"did you mean {near[0]}?" if near else f"below {root}"
    )


def _no_plain_file(match: re.Match[str], case: Case) -> NxcError:
    path = Path(match["path"])
    siblings = [found.name for found in path.parent.glob("*")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, 1)
    short = case.files.own(str(path))
    name = str(short.relative_to(case.files.root)) if short else str(path)
    return ConfigError(case.at(f"there is no file {name}"), hint=f"did you mean {near[0]}?" if near else "")


def _not_tracked(match: re.Match[str], case: Case) -> NxcError:
    names = [match["inside"], *(name for name in case.untracked() if name != match["inside"])][:6]
    return ConfigError(
        f"{', '.join(names)}: not known to git; Nix sees only files that git knows",
        hint=f"git -C {case.files.root} add {' '.join(names)}",
    )


def _no_repository(match: re.Match[str], case: Case) -> NxcError:
    return ConfigError(
        f"{case.files.root} is not in a git repository that can be read",
        hint="git init && git add ., or name the flake path:FOLDER; "
        "one of someone else's: git config --global --add safe.directory FOLDER",
    )


def _download(match: re.Match[str], case: Case) -> NxcError:
    address, why = match["address"], match["why"].rstrip(".")
    if "HTTP error" in why or "returned error" in why:
        limited = "api.github.com" in address and re.search(r"\b(403|429)\b", why)
        hint = (
            "GitHub limits anonymous use: set access-tokens in nix.conf"
            if limited
            else "is the address right?"
        )
        return ConfigError(case.at(f"{address} cannot be fetched: {why}"), hint=hint)
    if "flake-registry" in address:
        address = "the registry of flakes, to find an input that flake.nix does not name,"
    if case.offline:
        return PreflightError(
            f"{address} is not on this machine, and nxc is offline",
            hint="build once without --offline; flake.lock then holds its version (`nix flake lock`)",
        )
    return PreflightError(
        f"{address} cannot be reached: {why}",
        hint="check the network; inputs that flake.lock holds and that were fetched once need none: "
        "write it where there is one (nix flake lock)",
    )


def _not_allowed(match: re.Match[str], case: Case) -> NxcError:
    return ConfigError(
        "flake.lock does not hold all inputs of flake.nix",
        hint="write it: nix flake lock; then `git add flake.lock`",
    )


def _nar_mismatch(match: re.Match[str], case: Case) -> NxcError:
    return ConfigError(
        f"an input is not what flake.lock says:\n{case.words}",
        hint="if the change is meant: nix flake lock --update-input NAME",
    )


_IN_SOURCE = r"[^'\s]*/[0-9a-df-np-sv-z]{32}-[^/'\s]*/(?P<inside>[^'\s]+?)"
_PACKAGE = r"Package ‘(?P<name>[^’]+)’ in .*? "
_LOCKING = r"lock file changes|cannot update unlocked flake input"

RULES: tuple[Rule, ...] = (
    rule(r"^nxc: ", _own_words),
    rule(r"requires Nix (?:version )?(?:>=|≥) ?(?P<needed>[\d.]+\d)", _newer),
    rule(_PACKAGE + r"has an unfree licen[sc]e \(‘(?P<licence>[^’]*)’\)", _unfree),
    rule(_PACKAGE + r"is marked as (?P<mark>broken|insecure)", _marked),
    rule(_PACKAGE + r"is not supported on ‘(?P<system>[^’]+)’", _platform),
    rule(
        _PACKAGE + r"is not available on the requested hostPlatform:.*?system = \"(?P<system>[^\"]+)",
        _platform,
    ),
    rule(r"(?:NAR )?hash mismatch in (?:file|input|downloaded)|mismatch in field 'narHash'", _nar_mismatch),
    rule(r"unable to download '(?P<address>[^']+)': (?P<why>[^\n]+)", _download),
    rule(r"cannot fetch input|Failed to fetch git repository|program 'git' failed", _no_repository),
    rule(_LOCKING, _not_allowed),
    rule(r"Path '(?P<inside>[^']+)' in the repository .* is not tracked by Git", _not_tracked),
    rule(
        rf"(?:getting status of|path|opening file) '{_IN_SOURCE}'(?:: No such file| does not exist)", _no_file
    ),
    rule(r"does not contain a '/?(?P<inside>flake\.nix)' file", _no_file),
    rule(r"getting status of '(?P<path>/[^']+)': No such file", _no_plain_file),
    rule(r"path '(?P<path>/[^']+)' does not exist", _no_plain_file),
    rule(r"file 'nixpkgs' was not found in the Nix search path", _nixpkgs_missing),
    rule(
        r"cannot find flake 'flake:nixpkgs'|(?:attribute|argument) 'nixpkgs'(?: missing)?$", _nixpkgs_missing
    ),
    rule(r"cannot look up '<", _looked_up),
    rule(r"access to (?:absolute )?path '(?P<path>[^']+)' is forbidden", _forbidden),
    rule(r"infinite recursion encountered", _recursion),
    rule(r"stack overflow|max-call-depth exceeded", _overflow),
    rule(r"^\s*Failed assertions:", _assertions),
    rule(r"has conflicting definition", _conflict),
    rule(r"^The option [`‘'].+' does not exist", _option),
    rule(r"^(?:attribute '[^']*' missing|undefined variable)", _missing),
)
