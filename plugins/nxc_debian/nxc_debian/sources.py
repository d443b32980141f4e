"""The machine's own apt sources: which of them are Debian's, read from either of apt's two formats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import evolve, field, frozen

RELEASES = ("bookworm", "trixie", "forky", "duke", "sid")
"""Releases that this base builds, oldest first."""
ALIASES = ("stable", "testing", "unstable")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_POCKET = re.compile(r"^([a-z]+)(-updates|-security|/updates|-proposed-updates|-backports)?$")
_ONE_LINE = re.compile(r"^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)$")


@frozen(kw_only=True)
class Source:
    """One entry of apt's sources. ``stanza`` is its whole text as deb822, Signed-By included."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    stanza: str = field(repr=False)

    @property
    def releases(self) -> frozenset[str]:
        """Names of the Debian releases it offers; empty for a source that is not Debian's."""
        found = set()
        for suite in self.suites:
            match = _POCKET.match(suite)
            if match is None or match[1] not in (*RELEASES, *ALIASES):
                return frozenset()
            found.add(match[1])
        return frozenset(found) if "main" in self.components else frozenset()

    @property
    def is_security(self) -> bool:
        """Whether its files are below pool/updates."""
        return all(suite.endswith(("-security", "/updates")) for suite in self.suites)


def machine_sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    """List the enabled binary sources of the machine, in apt's order."""
    found: list[Source] = []
    main = folder / "sources.list"
    if main.is_file():
        found += parse_lines(main.read_text(errors="replace"))
    parts = folder / "sources.list.d"
    for path in sorted(parts.iterdir()) if parts.is_dir() else ():
        if path.suffix == ".list":
            found += parse_lines(path.read_text(errors="replace"))
        elif path.suffix == ".sources":
            found += parse_stanzas(path.read_text(errors="replace"))
    return found


def parse_lines(text: str) -> Iterator[Source]:
    """Read the one-line format."""
    for line in text.splitlines():
        match = _ONE_LINE.match(line.strip())
        if match is None or match[2].startswith("cdrom:") or match[3].endswith("/"):
            continue
        options, uri, suite, components = match.groups()
        fields = {
            "Types": "deb",
            "URIs": uri,
            "Suites": suite,
            "Components": components.partition("#")[0].strip(),
        }
        for option in (options or "").split():
            name, _, value = option.partition("=")
            fields[_OPTION_FIELDS.get(name, name.title())] = value.replace(",", " ")
        yield _source(fields)


_OPTION_FIELDS = {
    "arch": "Architectures",
    "signed-by": "Signed-By",
    "trusted": "Trusted",
    "check-valid-until": "Check-Valid-Until",
    "by-hash": "By-Hash",
    "pdiffs": "PDiffs",
    "lang": "Languages",
    "target": "Targets",
}


def parse_stanzas(text: str) -> Iterator[Source]:
    """Read the deb822 format."""
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t" and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name := name.strip()] = value.strip()
        enabled = fields.get("Enabled", "yes").lower() not in ("no", "false", "0", "off")
        usable = not fields.get("URIs", "cdrom:").startswith("cdrom:") and "Components" in fields
        if enabled and usable and "deb" in fields.get("Types", "").split():
            yield _source({**fields, "Types": "deb"})


def _source(fields: dict[str, str]) -> Source:
    return Source(
        uris=tuple(fields["URIs"].split()),
        suites=tuple(fields["Suites"].split()),
        components=tuple(fields["Components"].split()),
        stanza="".join(f"{name}: {value}\n" for name, value in fields.items()),
    )


def debian_sources(sources: Iterable[Source], suite: str) -> list[Source]:
    """Keep what is Debian's and of this release; what a name like ``stable`` means is seen later."""
    return [source for source in sources if source.releases & {suite, *ALIASES}]


def choose(mirror: str | None, suite: str) -> list[Source]:
    """Return the sources to build a release from: the mirror that is set, else the machine's own.

    A machine that runs another release offers the same mirrors for this one.
    """
    if mirror is not None:
        return mirror_sources(mirror, suite)
    machine = machine_sources()
    found = debian_sources(machine, suite)
    if found:
        return found
    return [_other_release(source, suite) for source in machine if source.releases & set(RELEASES)]


def _other_release(source: Source, suite: str) -> Source:
    suites = tuple(dict.fromkeys(_POCKET.sub(rf"{suite}\2", name) for name in source.suites))
    stanza = re.sub(r"^Suites:.*$", f"Suites: {' '.join(suites)}", source.stanza, flags=re.M)
    return evolve(source, suites=suites, stanza=stanza)


def mirror_sources(mirror: str, suite: str) -> list[Source]:
    """Make sources of the ``mirror`` option: a whole ``deb`` line, or an address."""
    if mirror.startswith("deb "):
        return list(parse_lines(mirror))
    fields = {"Types": "deb", "URIs": mirror, "Suites": f"{suite} {suite}-updates", "Components": "main"}
    if KEYRING.exists():
        fields["Signed-By"] = str(KEYRING)
    return [_source(fields)]


def machine_release(path: Path = Path("/etc/os-release")) -> str:
    """Return the machine's Debian release where this base builds it, else bookworm."""
    values = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        name, _, value = line.partition("=")
        values[name] = value.strip().strip('"')
    codename = values.get("VERSION_CODENAME", "")
    return codename if values.get("ID") == "debian" and codename in RELEASES else RELEASES[0]
