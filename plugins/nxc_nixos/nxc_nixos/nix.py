"""Asking Nix: which one, in which store, with which settings; to evaluate, to instantiate, to build."""

from __future__ import annotations

import grp
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from nxc_core.errors import BuildError, CommandError, ConfigError, Interrupted, NxcError, PreflightError
from nxc_core.model import Json
from nxc_core.operation import Operation
from nxc_nixos import complaints, stores
from nxc_nixos.log import Log, rendered
from nxc_nixos.options import NixosOptions
from nxc_nixos.stores import Store

MINIMUM = (2, 8)
EVALUATION = 1800.0
BUILD = 86400.0
HOLDING = 300.0
"""Seconds that one evaluation and one build may take."""
_VERSION = re.compile(r"(\d+(?:\.\d+)+)\S*\s*$")
_PLACES = ("/nix/var/nix/profiles/default/bin", "~/.nix-profile/bin", "~/.local/state/nix/profile/bin")
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")
NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: nothing leaves the machine."""
OFFLINE = ("substitute = false", "download-attempts = 1", "connect-timeout = 1", "tarball-ttl = 4294967295")
_versions: dict[tuple[str, int, int, int], tuple[int, ...]] = {}
_FEATURES = "extra-experimental-features = nix-command flakes"


@frozen(kw_only=True)
class Nix:
    """A Nix that can be asked. ``flags`` go to every command; ``flake_flags`` only to ``nix flake``."""

    programs: Path
    version: tuple[int, ...]
    store: Store
    environment: Mapping[str, str] = field(repr=False)
    flags: tuple[str, ...] = ()
    flake_flags: tuple[str, ...] = ()
    show_trace: bool = False

    def program(self, name: str) -> str:
        """Return the path of one of Nix' programs."""
        return str(self.programs / name)


def find(options: NixosOptions, op: Operation) -> Nix:
    """Find Nix and choose the store; raises PreflightError where there is none that can be used."""
    programs = find_programs()
    version = ask_version(programs, op)
    if version < MINIMUM:
        told = f"{'.'.join(map(str, version))} is too old" if any(version) else "does not say its version"
        raise PreflightError(
            f"nix {told} ({programs})", hint=f"nix {'.'.join(map(str, MINIMUM))} or later is needed"
        )
    store = stores.choose(options.store)
    flags, flake_flags = sort_flags(shlex.split(options.flags))
    if options.builders is not None:
        flags += ("--builders", options.builders)
    return Nix(
        programs=programs,
        version=version,
        store=store,
        environment=environment(store, offline=op.offline),
        flags=flags,
        flake_flags=flake_flags,
        show_trace=options.show_trace or "--show-trace" in flags,
    )


def find_programs() -> Path:
    """Return the folder of Nix' programs: on PATH, or where its installers put them."""
    found = shutil.which("nix-instantiate")
    places = [Path(place).expanduser() for place in _PLACES]
    if found is not None:
        return Path(found).parent
    for place in places:
        if (place / "nix-instantiate").exists():
            return place
    raise PreflightError("nix is not installed", hint="install the Debian package nix-bin")


def ask_version(programs: Path, op: Operation) -> tuple[int, ...]:
    """Ask Nix for its version; (0,) if it does not say one. The same program is asked once."""
    program = programs / "nix-instantiate"
    found = program.stat()
    key = (str(program), found.st_ino, found.st_mtime_ns, found.st_size)
    if key not in _versions:
        text = op.run((str(program), "--version"), timeout=30).text.strip()
        match = _VERSION.search(text.splitlines()[0] if text else "")
        _versions[key] = tuple(map(int, match[1].split("."))) if match else (0,)
    return _versions[key]


HEAP = "512M"
"""What Nix begins with: with its own small heap it spends a tenth of an evaluation on collecting garbage."""


def environment(
    store: Store, *, offline: bool = False, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment for Nix: the user's, with what nxc needs added to the user's settings."""
    settings = [environ.get("NIX_CONFIG", ""), _FEATURES]
    if os.geteuid() == 0 and not store.is_daemon and not _has_build_users(environ):
        settings.append("build-users-group =")
    if offline:
        settings += OFFLINE
    config = "\n".join(line for line in settings if line)
    made = {"GC_INITIAL_HEAP_SIZE": HEAP, **environ, "NIX_CONFIG": config, "NIX_REMOTE": store.uri}
    if offline:  # Nix has no setting that forbids all of its downloads
        made |= {name: NOWHERE for form in _PROXIES for name in (form, form.upper())}
        made |= {"no_proxy": "", "NO_PROXY": "", "GIT_SSH_COMMAND": "false"}
    return made


def _has_build_users(environ: Mapping[str, str]) -> bool:
    """Whether root's builds can go to other users: the default group exists, or the user chose."""
    folder = Path(environ.get("NIX_CONF_DIR") or "/etc/nix")
    try:
        chosen = environ.get("NIX_CONFIG", "") + "\n" + (folder / "nix.conf").read_text()
    except OSError:
        chosen = environ.get("NIX_CONFIG", "")
    if re.search(r"^\s*build-users-group\s*=", chosen, re.M):
        return True
    try:
        grp.getgrnam("nixbld")
    except KeyError:
        return False
    return True


def sort_flags(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Part the user's words in those for every command of Nix and those that only a flake understands."""
    arity = {"--override-input": 2, "--update-input": 1, "--impure": 0, "--no-write-lock-file": 0}
    arity |= {"--no-update-lock-file": 0, "--recreate-lock-file": 0, "--commit-lock-file": 0}
    arity |= {"--no-registries": 0, "--refresh": 0, "--offline": 0, "--accept-flake-config": 0}
    general: list[str] = []
    flake: list[str] = []
    rest = list(words)
    while rest:
        count = arity.get(rest[0])
        if count is None:
            general.append(rest.pop(0))
        else:
            flake += rest[: count + 1]
            rest = rest[count + 1 :]
    return tuple(general), tuple(flake)


def evaluate_command(
    nix: Nix, expression: str, *, strict: bool = True, pure: bool = False, write: bool = True
) -> tuple[str, ...]:
    """Return the command that prints a value as JSON; with ``write`` its derivations are written."""
    words = ["--eval", "--json", *(["--read-write-mode"] if write else []), *(["--strict"] if strict else [])]
    return _instantiate(nix, words, expression, pure=pure)


def instantiate_command(
    nix: Nix, expression: str, *, link: Path | None = None, pure: bool = False
) -> tuple[str, ...]:
    """Return the command that writes an expression's derivations and prints their paths."""
    words = [] if link is None else ["--add-root", str(link), "--indirect"]
    return _instantiate(nix, words, expression, pure=pure)


def _instantiate(nix: Nix, words: Sequence[str], expression: str, *, pure: bool) -> tuple[str, ...]:
    purity = ("--option", "pure-eval", "true") if pure else ()
    program = nix.program("nix-instantiate")
    return (program, *words, *purity, "--show-trace", *_log(), *nix.flags, "-E", expression)


def _log() -> tuple[str, ...]:
    return ("--log-format", "internal-json")


def evaluate(
    nix: Nix,
    expression: str,
    op: Operation,
    *,
    project: Path,
    what: str,
    strict: bool = True,
    pure: bool = False,
    write: bool = True,
    timeout: float = EVALUATION,
) -> Json:
    """Return an expression's value. Raises ConfigError in few words; ``what`` says what is asked for."""
    argv = evaluate_command(nix, expression, strict=strict, pure=pure, write=write)
    printed = ask(nix, argv, op, project=project, what=what, timeout=timeout)
    try:
        value: Json = json.loads(printed)
    except ValueError as error:
        raise ConfigError(
            f"{what}: Nix printed no JSON but {printed[:60]!r}", hint="is a word in nixos.flags too much?"
        ) from error
    return value


def instantiate(
    nix: Nix,
    expression: str,
    op: Operation,
    *,
    project: Path,
    what: str,
    link: Path | None = None,
    pure: bool = False,
    timeout: float = EVALUATION,
) -> tuple[str, ...]:
    """Write derivations and return their paths, kept by ``link`` if there is one."""
    argv = instantiate_command(nix, expression, link=link, pure=pure)
    printed = ask(nix, argv, op, project=project, what=what, timeout=timeout).split()
    if link is None:
        return tuple(printed)
    return tuple(str(Path(path.split("!")[0]).readlink()) for path in printed)


def build(
    nix: Nix,
    derivations: Sequence[str],
    op: Operation,
    *,
    project: Path,
    what: str = "building",
    links: Path | None = None,
    jobs: int | None = None,
    timeout: float = BUILD,
) -> dict[str, str]:
    """Build the ``out`` of derivations; map each to its store path, kept by links in the folder ``links``.

    Raises BuildError with the end of the log of what failed. What was built by then is kept.
    """
    wanted = list(dict.fromkeys(derivations))
    if not wanted:
        return {}
    if links is not None:
        links.mkdir(parents=True, exist_ok=True)
    argv = build_command(nix, wanted, links=links, jobs=jobs)
    printed = ask(nix, argv, op, project=project, what=what, timeout=timeout).split()
    if links is not None:
        _drop_others(links, [Path(path) for path in printed])
        printed = [str(Path(path).readlink()) for path in printed]
    return dict(zip(wanted, printed, strict=True))


def hold(nix: Nix, files: Sequence[Path], op: Operation) -> None:
    """Keep the store paths that files lie in from being collected, by links in the operation's folder."""
    paths = sorted({nix.store.owner(path) for path in files})
    if not paths:
        return
    links = op.dir / "roots"
    links.mkdir(exist_ok=True)
    words = ("--realise", *paths, "--add-root", str(links / "result"), "--indirect")
    argv = (nix.program("nix-store"), *words, *_log(), *nix.flags)
    ask(nix, argv, op, project=op.dir, what="keeping what was built", timeout=HOLDING)


def build_command(
    nix: Nix, derivations: Sequence[str], *, links: Path | None = None, jobs: int | None = None
) -> tuple[str, ...]:
    """Return the command that builds. With nxc's own default, all processors, Nix' setting stays."""
    words = ["--realise", *(f"{path}!out" for path in derivations)]
    if links is not None:
        words += ["--add-root", str(links / "result"), "--indirect"]
    if jobs not in (None, len(os.sched_getaffinity(0))):
        words += ["--max-jobs", str(jobs)]
    return (nix.program("nix-store"), *words, *_log(), *nix.flags)


def _drop_others(links: Path, kept: Sequence[Path]) -> None:
    """Remove the links of an earlier build, so that it is garbage from now on."""
    names = {path.name for path in kept}
    for link in links.iterdir():
        if link.is_symlink() and link.name not in names:
            link.unlink()


def ask(
    nix: Nix,
    argv: Sequence[str],
    op: Operation,
    *,
    project: Path,
    what: str,
    timeout: float,
    cwd: Path | None = None,
) -> str:
    """Run one of Nix' commands with its log told as events; return what it printed.

    Raises one error in few words. All that Nix wrote is then in a file that the error names.
    """
    log = Log(op)
    try:
        return op.run(argv, env=nix.environment, timeout=timeout, on_line=log.line, cwd=cwd).text
    except CommandError as error:
        raise refuse(nix, error, log, op, project=project, what=what) from error


def refuse(nix: Nix, error: CommandError, log: Log, op: Operation, *, project: Path, what: str) -> NxcError:
    """Say in few words what Nix said, and keep all of it in a file."""
    if error.code is None:
        return BuildError(f"{what}: not done in time ({error.message.splitlines()[0]})")
    if error.code == -9:
        return BuildError(f"{what}: nix was killed", hint="is there memory enough? fewer at once: --jobs 1")
    said = error.stderr or error.message
    kept = keep(op, what, said)
    found = complaints.complain(
        said,
        project=project,
        what=what,
        store=nix.store,
        tails=log.tails,
        untracked=lambda: untracked(project, op),
        show_trace=nix.show_trace,
        version=nix.version,
        offline=op.offline,
    )
    if kept is not None and not isinstance(found, Interrupted):
        found.hint = "; ".join(filter(None, [found.hint, f"all that Nix said: {kept}"]))
    return found


def keep(op: Operation, what: str, said: str) -> Path | None:
    """Write all that Nix said to a file of the operation; None where that cannot be, as on a full disk."""
    name = re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")[:60] or "nix"
    path = op.dir / f"nix-{name}.log"
    try:
        op.dir.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered(said) + "\n")
    except OSError:
        return None
    return path


def untracked(project: Path, op: Operation) -> Sequence[str]:
    """List the project's files that git does not know; none outside a repository."""
    if shutil.which("git") is None:
        return ()
    argv = ("git", "-C", str(project), "ls-files", "--others", "--exclude-standard", "-z")
    ended = op.run(argv, check=False, timeout=30)
    return sorted(filter(None, ended.text.split("\0"))) if ended.code == 0 else ()
