"""The cache of .deb files: each checked against the lock's sha256 before it is there."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from nxc_core.errors import BuildError, CommandError
from nxc_core.operation import Operation
from nxc_debian import apt as apt_tool
from nxc_debian.apt import Apt, Stanza
from nxc_debian.files import disk_full, file_digest, held, no_space, replace_text
from nxc_debian.lock import Package

BATCH = 40
"""Packages fetched by one command."""
_HELPER = "/usr/lib/apt/apt-helper"


def deb_path(cache: Path, package: Package) -> Path:
    """Where a package's .deb is kept: found by content."""
    return cache / "debs" / package.sha256[:2] / f"{package.sha256[:16]}_{package.deb}"


def fetch(cache: Path, apt: Apt, packages: Iterable[Package], op: Operation) -> None:
    """Bring the packages into the cache; with all of them there, no program is started.

    Raises BuildError naming those that are missing when offline, or that the mirror no longer has.
    """
    missing = sorted({found for found in packages if not deb_path(cache, found).exists()})
    if not missing:
        return
    with held(cache / "locks" / "debs", op, "fetching packages"):
        missing = [found for found in missing if not deb_path(cache, found).exists()]
        if op.offline and missing:
            raise BuildError(
                f"offline, and {_listed(missing)} {'are' if len(missing) > 1 else 'is'} not in the cache",
                hint="run the build once with network: it keeps what it needs",
            )
        size = sum(found.size for found in missing) >> 20
        op.need_disk(cache, size * 2 + 10, "fetching Debian packages")
        done = 0
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            op.step(f"fetching Debian packages, {done} of {len(missing)} ({size} MiB)", topic="build")
            _fetch_batch(cache, apt, batch, op)
            done += len(batch)


def _fetch_batch(cache: Path, apt: Apt, batch: Sequence[Package], op: Operation) -> None:
    folder = cache / "debs" / f".part-{secrets.token_hex(4)}"
    with disk_full(folder):
        folder.mkdir(parents=True)
    try:
        left = list(batch)
        complaints: list[str] = []
        for turn in range(max(len(_bases(apt, found)) for found in batch)):
            left, words = _try_mirror(cache, apt, left, folder, turn, op)
            complaints += words
            if not left:
                return
        raise _not_fetched(left, complaints)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try_mirror(
    cache: Path, apt: Apt, wanted: Sequence[Package], folder: Path, turn: int, op: Operation
) -> tuple[list[Package], list[str]]:
    """Try each package at the ``turn``-th address that may have it; return those that are not there."""
    argv: list[str] = [_HELPER, "download-file"]
    for found in wanted:
        bases = _bases(apt, found)
        if turn < len(bases):
            # a sha256 given here makes apt give up the whole batch at the first mismatch: we check ourselves
            argv += [f"{bases[turn]}/{found.filename}", str(folder / found.deb), ""]
    try:
        ended = op.run(argv, env=apt.environment, timeout=1800, check=False)
    except CommandError as error:
        return list(wanted), [error.message]
    left = []
    said = re.findall(r"^(?:E|W|Err)[:\s].*$", ended.error_text, re.M)
    words = [line for line in said if line != "E: Download Failed"]
    for found in wanted:
        path = folder / found.deb
        if not path.exists():
            left.append(found)
        elif path.stat().st_size != found.size or file_digest(path) != found.sha256:
            left.append(found)
            words.append(f"E: {found.filename}: the mirror's file is not the one in the lock")
        else:
            target = deb_path(cache, found)
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
    if left and shutil.disk_usage(folder).free < 1 << 20:
        raise no_space(folder)
    return left, words


def _bases(apt: Apt, package: Package) -> list[str]:
    """Addresses to try, the likely one first: security's packages are below pool/updates."""
    security = package.filename.startswith("pool/updates/")
    sources = sorted(apt.sources, key=lambda source: source.is_security != security)
    return list(dict.fromkeys(uri.rstrip("/") for source in sources for uri in source.uris))


def _not_fetched(left: Sequence[Package], complaints: Sequence[str]) -> BuildError:
    gone = all(
        "404" in words or "not the one in the lock" in words or "File not found" in words
        for words in complaints
    )
    first = left[0]
    if complaints and gone:
        return BuildError(
            f"the mirror no longer has {_listed(left)}",
            hint="`nxc build --relock` takes the mirror's present versions; a snapshot mirror "
            "(-o debian.mirror=ADDRESS) keeps the locked ones",
        )
    words = "\n".join(f"  {line}" for line in dict.fromkeys(complaints[-4:]))
    return BuildError(
        f"{first.name} {first.version} could not be fetched" + (f":\n{words}" if words else ""),
        hint="check the network, apt's sources and proxy (`apt-get update` must work)",
    )


def _listed(packages: Sequence[Package]) -> str:
    shown = ", ".join(f"{found.name} {found.version}" for found in packages[:4])
    return shown + (f" and {len(packages) - 4} more" if len(packages) > 4 else "")


def stanzas(cache: Path, apt: Apt, packages: Sequence[Package], op: Operation) -> list[Stanza]:
    """Return what dpkg must know of each package: from the cache, else the lists, else the .deb itself."""
    folder = cache / "control"
    missing = [found for found in packages if not (folder / found.sha256).exists()]
    if missing:
        _keep_stanzas(cache, apt, missing, op)
    return [apt_tool.parse_stanza((folder / found.sha256).read_text()) for found in packages]


def _keep_stanzas(cache: Path, apt: Apt, missing: Sequence[Package], op: Operation) -> None:
    shown: dict[tuple[str, str], dict[str, str]] = {}
    if (apt.root / "updated").exists():
        shown = apt_tool.show(apt, [(found.name, found.version) for found in missing], op)
    rest = []
    for found in missing:
        stanza = shown.get((found.name, found.version))
        if stanza is not None and stanza.get("SHA256") == found.sha256:
            keep_stanza(cache, found, stanza)
        else:
            rest.append(found)
    fetch(cache, apt, rest, op)
    for found in rest:
        text = op.run(("dpkg-deb", "-f", str(deb_path(cache, found))), timeout=60).text
        keep_stanza(cache, found, apt_tool.parse_stanza(text))


def keep_stanza(cache: Path, package: Package, stanza: Stanza) -> None:
    """Keep a package's stanza, spelled the same wherever it came from."""
    own = (
        "Filename",
        "Size",
        "SHA256",
        "MD5sum",
        "SHA1",
        "Description-md5",
        "Tag",
        "Description",
        "Homepage",
    )
    kept = {name: value for name, value in sorted(stanza.items()) if name not in own}
    replace_text(cache / "control" / package.sha256, apt_tool.render_stanza(kept))


def write_repository(cache: Path, apt: Apt, packages: Sequence[Package], folder: Path, op: Operation) -> None:
    """Make ``folder`` a flat repository of exactly these packages, linked or copied from the cache."""
    fetch(cache, apt, packages, op)
    folder.mkdir(parents=True, exist_ok=True)
    blocks = []
    for found, stanza in zip(packages, stanzas(cache, apt, packages, op), strict=True):
        target = folder / found.deb
        source = deb_path(cache, found)
        if not target.exists():
            try:
                os.link(source, target)
            except OSError:
                with disk_full(folder):
                    shutil.copyfile(source, target)
        own = {"Filename": f"./{found.deb}", "Size": str(found.size), "SHA256": found.sha256}
        blocks.append(apt_tool.render_stanza({"Package": found.name, **stanza, **own}))
    replace_text(folder / "Packages", "\n".join(blocks))
