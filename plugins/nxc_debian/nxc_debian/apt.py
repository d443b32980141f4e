"""apt in a folder of its own: the machine's sources and proxies, but none of its packages, pins or hooks."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path

from attrs import frozen

from nxc_core.errors import BuildError, CommandError, PreflightError
from nxc_core.operation import Operation
from nxc_debian.files import digest, held, replace_text
from nxc_debian.lock import Package
from nxc_debian.sources import Source

FRESH = 12 * 3600.0
"""Seconds for which package lists are used before they are fetched again."""
_SETTINGS = re.compile(
    r'^Acquire::(?!IndexTargets|Languages|GzipIndexes|CompressionTypes|Changelogs|cdrom)\S+ ".*";$'
)
Stanza = Mapping[str, str]


@frozen(kw_only=True)
class Apt:
    """A folder with apt's configuration, sources and lists; of the machine it uses proxies and keys."""

    root: Path
    sources: tuple[Source, ...]
    architecture: str

    @property
    def lists(self) -> Path:
        """Where the package lists are."""
        return self.root / "state" / "lists"

    @property
    def status(self) -> Path:
        """A dpkg status file with nothing installed."""
        return self.root / "state" / "status"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which apt's programs work in this folder."""
        return {**base_environment(), "APT_CONFIG": str(self.root / "apt.conf")}


def base_environment() -> dict[str, str]:
    """Return the caller's environment without what would change a tool's words or results."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("LC_", "APT_", "DEB_", "DPKG_")) and k != "LANG"
    }
    return {**kept, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def prepare(
    cache: Path, sources: Sequence[Source], architecture: str, op: Operation, *, dated: bool = False
) -> Apt:
    """Make or find apt's folder for these sources; ``dated`` ones may be old snapshots."""
    settings = [
        line for line in op.run(("apt-config", "dump"), timeout=30).text.splitlines() if _SETTINGS.match(line)
    ]
    settings += ['Acquire::Check-Valid-Until "false";'] if dated else []
    key = digest([architecture, *(source.stanza for source in sources), *settings])[:16]
    apt = Apt(root=cache / "apt" / key, sources=tuple(sources), architecture=architecture)
    for folder in (apt.lists / "partial", apt.root / "etc", apt.root / "cache" / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    for number, source in enumerate(sources):
        replace_text(apt.root / "etc" / f"{number:02}.sources", source.stanza)
    replace_text(apt.status, "")
    replace_text(apt.root / "apt.conf", "\n".join([*settings, *_own_settings(apt)]) + "\n", mode=0o600)
    return apt


def _own_settings(apt: Apt) -> list[str]:
    own = {
        "Dir::State": apt.root / "state",
        "Dir::State::status": apt.status,
        "Dir::Cache": apt.root / "cache",
        "Dir::Cache::pkgcache": "pkgcache.bin",
        "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": apt.root / "etc",
        "Dir::Log": apt.root / "cache",
        "APT::Architecture": apt.architecture,
        "APT::Architectures": apt.architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "true",
    }
    return [f'{name} "{value}";' for name, value in own.items()]


def update(apt: Apt, op: Operation, *, max_age: float = FRESH) -> None:
    """Fetch the package lists unless they are younger than ``max_age`` seconds; never when offline."""
    stamp = apt.root / "updated"
    if _is_fresh(stamp, max_age, op):
        return
    if op.offline:
        raise BuildError(
            "offline, and the lists of Debian packages have never been fetched",
            hint="run the build once with network: it keeps what it needs",
        )
    with held(apt.root.with_name(f"{apt.root.name}.lock"), op, "the lists of Debian packages"):
        if not _is_fresh(stamp, max_age, op):
            _update(apt, op)
            stamp.touch()


def _is_fresh(stamp: Path, max_age: float, op: Operation) -> bool:
    return stamp.exists() and (op.offline or time.time() - stamp.stat().st_mtime < max_age)


def _update(apt: Apt, op: Operation) -> None:
    op.need_disk(apt.root, 200, "the lists of Debian packages")
    op.step("fetching the lists of Debian packages", topic="build")
    try:
        argv = ("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any")
        op.run(argv, env=apt.environment, timeout=900)
    except CommandError as error:
        raise BuildError(
            "the lists of Debian packages could not be fetched:\n"
            + _complaints(error.stderr or error.message),
            hint="check the network, apt's sources and proxy (`apt-get update` must work), "
            "or give another mirror with -o debian.mirror=ADDRESS",
        ) from error
    replace_text(apt.root / "foreign", "\n".join(_foreign(apt, op)))


def _foreign(apt: Apt, op: Operation) -> list[str]:
    """List the addresses that serve something else than Debian under a Debian release's name."""
    argv = ("apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)")
    rows = op.run(argv, env=apt.environment, timeout=60).text.splitlines()
    return sorted(
        {row.partition("|")[2].rstrip("/") for row in rows if row.partition("|")[0] not in ("Debian", "")}
    )


def foreign(apt: Apt) -> frozenset[str]:
    """Return the addresses that are not Debian's, as far as lists have been fetched."""
    path = apt.root / "foreign"
    return frozenset(path.read_text().split("\n") if path.exists() else ())


def _complaints(text: str) -> str:
    found = [line for line in text.splitlines() if line.startswith(("E:", "Err:", "W:"))]
    return "\n".join(f"  {line}" for line in dict.fromkeys(found[:6] or text.splitlines()[-6:]))


def releases(apt: Apt) -> Iterator[dict[str, str]]:
    """Yield the header of every list's Release file."""
    for path in sorted([*apt.lists.glob("*InRelease"), *apt.lists.glob("*_Release")]):
        text = path.read_text(errors="replace").removeprefix("-----BEGIN PGP SIGNED MESSAGE-----")
        yield parse_stanza(
            text.split("\nMD5Sum:")[0].split("\nSHA256:")[0].partition("\n\n")[2] or text[:4000]
        )


def release_epoch(apt: Apt) -> int:
    """Return the date of the newest list: the time that everything in an image is said to be of."""
    dates = [parsedate_to_datetime(found["Date"]) for found in releases(apt) if "Date" in found]
    if not dates:
        raise BuildError(
            "the mirror's lists have no date", hint="give another mirror with -o debian.mirror=ADDRESS"
        )
    return int(max(date.timestamp() for date in dates))


def names(apt: Apt, op: Operation) -> list[str]:
    """List the names of all packages of the mirror, sorted."""
    kept = apt.root / "names"
    stamp = apt.root / "updated"
    if not kept.exists() or kept.stat().st_mtime < stamp.stat().st_mtime:
        text = op.run(("apt-cache", "pkgnames"), env=apt.environment, timeout=120).text
        replace_text(kept, "\n".join(sorted(text.split())) + "\n")
    return kept.read_text().split()


def check_names(apt: Apt, asked: Iterable[str], op: Operation) -> None:
    """Raise BuildError for a package that the mirror does not have, naming near ones or who provides it."""
    known = frozenset(names(apt, op))
    for name in asked:
        if name in known:
            continue
        shown = op.run(("apt-cache", "showpkg", name), env=apt.environment, timeout=60, check=False).text
        providers = sorted(
            {line.split()[0] for line in shown.partition("Reverse Provides:")[2].splitlines() if line.strip()}
        )
        if providers:
            raise BuildError(
                f"{name} is a virtual package: several packages provide it",
                hint=f"name one: {', '.join(providers[:8])}",
            )
        near = difflib.get_close_matches(name, known, 4)
        raise BuildError(
            f"the mirror has no Debian package {name}",
            hint=f"did you mean {', '.join(near)}?"
            if near
            else "packages.debian.org searches by file and word",
        )


def resolve(
    apt: Apt,
    asked: Sequence[str],
    op: Operation,
    *,
    installed: Sequence[Stanza] = (),
    pinned: Iterable[Package] = (),
) -> list[tuple[str, str]]:
    """Return name and version of what ``asked`` adds to ``installed``; what is pinned keeps its version.

    Raises BuildError, in apt's words, when that cannot be.
    """
    with tempfile.TemporaryDirectory(prefix="work-", dir=apt.root) as work:  # another nxc may resolve, too
        shown = _install(apt, asked, Path(work), installed, pinned, op)
    removed = re.findall(r"^Remv (\S+)", shown, re.M)
    if removed:
        raise BuildError(
            f"{', '.join(asked[-8:])} conflicts with {', '.join(removed)} of the base system",
            hint="remove the conflicting package from the role",
        )
    return re.findall(r"^Inst ([^\s:]+)(?::\S+)? (?:\[\S+\] )?\((\S+) ", shown, re.M)


def _install(
    apt: Apt,
    asked: Sequence[str],
    work: Path,
    installed: Sequence[Stanza],
    pinned: Iterable[Package],
    op: Operation,
) -> str:
    status, preferences = work / "status", work / "preferences"
    replace_text(status, "\n".join(_installed(stanza) for stanza in installed))
    pins = (f"Package: {found.name}\nPin: version {found.version}\nPin-Priority: 1001\n" for found in pinned)
    replace_text(preferences, "\n".join(pins))
    argv: tuple[str, ...] = ("apt-get", "install", "-s", "-qq", "-o", f"Dir::State::status={status}")
    argv += ("-o", f"Dir::Etc::preferences={preferences}", "-o", "Dir::Cache::pkgcache=", *asked)
    try:
        return op.run(argv, env=apt.environment, timeout=300).text
    except CommandError as error:
        words = (error.stderr or error.message).strip().splitlines()
        reason = [
            line for line in error.message.splitlines() if "Depends:" in line or "Conflicts:" in line
        ] or words[-6:]
        raise BuildError(
            f"apt finds no way to install {', '.join(asked[-8:])}:\n"
            + "\n".join(f"  {line.strip()}" for line in reason),
            hint="if the locked versions stand in the way, `nxc build --relock` chooses all versions anew",
        ) from error


def show(apt: Apt, wanted: Sequence[tuple[str, str]], op: Operation) -> dict[tuple[str, str], dict[str, str]]:
    """Return what the lists say of these versions; those that the mirror no longer has are left out."""
    if not wanted:
        return {}
    argv = ("apt-cache", "show", *(f"{name}={version}" for name, version in wanted))
    text = op.run(argv, env=apt.environment, timeout=120, check=False).text
    stanzas = [parse_stanza(block) for block in text.split("\n\n") if block.strip()]
    return {(found["Package"], found["Version"]): found for found in stanzas}


def to_package(stanza: Stanza) -> Package:
    """Make a lock entry of a stanza of the lists."""
    return Package(
        name=stanza["Package"],
        version=stanza["Version"],
        architecture=stanza["Architecture"],
        sha256=stanza["SHA256"],
        size=int(stanza["Size"]),
        filename=stanza["Filename"],
    )


def parse_stanza(text: str) -> dict[str, str]:
    """Read one deb822 stanza."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.strip("\n").splitlines():
        if line[:1] in (" ", "\t"):
            fields[name] += "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def render_stanza(fields: Stanza) -> str:
    """Spell one deb822 stanza."""
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def _installed(stanza: Stanza) -> str:
    kept = {
        name: value for name, value in stanza.items() if name not in ("Filename", "Size", "SHA256", "MD5sum")
    }
    return render_stanza({"Package": kept.pop("Package"), "Status": "install ok installed", **kept})


def find_sources(candidates: Sequence[Source], suite: str) -> list[Source]:
    """Check that there is a mirror to build from."""
    if not candidates:
        raise PreflightError(
            f"the machine's apt sources offer no Debian {suite}",
            hint="give a mirror: -o debian.mirror=ADDRESS, or in nxc.toml [base.debian] mirror",
        )
    return list(candidates)
