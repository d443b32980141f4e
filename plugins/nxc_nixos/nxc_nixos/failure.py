"""Nix' errors taken apart: what was said, where, and through which files and options Nix got there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from nxc_nixos.log import records, uncoloured

_SOURCE = re.compile(r"(?:\S*/)?[0-9a-df-np-sv-z]{32}-[^/\s]+/(.+)$")
_LAZY = re.compile(r"«[^»]+»/(.+)$")
_AT = re.compile(r"^\s*at ((?:/|«)[^\n]*?):(\d+)(?::\d+)?:?$")
_ERROR = re.compile(r"(?:^|\n)\s*error: ?")
_OPTION = re.compile(r"while evaluating the option [`'‘]([^`'’:]+?)['’`]?:?$")
_DEFINITIONS = re.compile(r"while evaluating definitions from [`'‘](.+?)['’]:?$")
_ROLE = re.compile(r"(?:^|\s)role [`'‘\"]([\w.-]+)")
_WITHIN = re.compile(r", role [`'‘]?[\w.-]+['’]?$")
_NEAR = re.compile(r"Did you mean (?:one of )?(.+?)\?", re.DOTALL)


@frozen
class Place:
    """A file as Nix names it, and a line of it (0: none was said)."""

    file: str
    line: int = 0


@frozen(kw_only=True)
class Failure:
    """One error: its words without the trace, and the trace, innermost first."""

    message: str
    place: Place | None = None
    trace: tuple[tuple[str, Place | None], ...] = field(default=(), repr=False)
    near: str = ""

    def places(self) -> list[Place]:
        """List all places, the error's own first, then those on the way to it."""
        found = [self.place] if self.place else []
        for words, place in self.trace:
            definitions = _DEFINITIONS.search(words)
            if definitions:
                found.append(Place(_WITHIN.sub("", definitions[1])))
            elif place is not None:
                found.append(place)
        return list(dict.fromkeys(found))

    def options(self) -> list[str]:
        """List the options that were being evaluated, innermost first."""
        return self._named(_OPTION)

    def roles(self) -> list[str]:
        """List the roles that were being evaluated."""
        return self._named(_ROLE)

    def _named(self, pattern: re.Pattern[str]) -> list[str]:
        found = [match[1] for words, _ in self.trace if (match := pattern.search(words.strip()))]
        return list(dict.fromkeys(found))


def read_failures(text: str) -> list[Failure]:
    """Find the errors in what Nix wrote, as records or for a person; what it says of no error is left out."""
    found = [_from_record(record) for record in records(text) if _is_error(record)]
    if not found:
        found = [_from_text(text)] if _ERROR.search(uncoloured(text)) else []
    return [failure for failure in found if failure.message]


def _is_error(record: Mapping[str, Any]) -> bool:
    return record.get("action") == "msg" and record.get("level") == 0 and "raw_msg" in record


def _from_record(record: Mapping[str, Any]) -> Failure:
    trace = record.get("trace")
    frames = [frame for frame in trace if isinstance(frame, dict)] if isinstance(trace, list) else []
    near = _NEAR.search(uncoloured(str(record.get("msg", ""))))
    return Failure(
        message=uncoloured(str(record["raw_msg"])).strip(),
        place=_place(record),
        trace=tuple((uncoloured(str(frame.get("raw_msg", ""))), _place(frame)) for frame in frames),
        near=" ".join(near[1].split()) if near else "",
    )


def _place(record: Mapping[str, Any]) -> Place | None:
    file, line = record.get("file"), record.get("line")
    if not isinstance(file, str) or not isinstance(line, int) or not file.startswith(("/", "«")):
        return None
    return None if file.startswith("«string") else Place(file, line)


def _from_text(text: str) -> Failure:
    """Read an error as a person sees it: before Nix 2.20 the words come first, since then last."""
    plain = uncoloured(text)
    heads = [match.end() for match in _ERROR.finditer(plain)]
    bodies = [plain[start:end] for start, end in zip(heads, [*heads[1:], len(plain)], strict=True)]
    said = [body for body in bodies if body.strip() and not body.lstrip().startswith("…")]
    newest = bool(bodies) and not bodies[0].partition("\n")[0].strip()
    body = said[-1] if newest and said else (said or bodies)[0]
    words = re.split(r"\n\s*(?:at (?:/|«)|… |\d+\||\|)", body)[0]
    own = [place for place in map(_at, body.splitlines()) if place]
    frames = [(line.strip(" …"), _at(line)) for line in plain.splitlines() if "while " in line or _at(line)]
    if newest:
        frames.reverse()
    near = _NEAR.search(body)
    message = "\n".join(line.strip() for line in words.splitlines()).strip()
    return Failure(
        message=re.sub(r"\s*Did you mean .*", "", message, flags=re.DOTALL) if near else message,
        place=own[0] if own and not newest else next((place for _, place in frames if place), None),
        trace=tuple(frames),
        near=" ".join(near[1].split()) if near else "",
    )


def _at(line: str) -> Place | None:
    match = _AT.match(line)
    return Place(match[1], int(match[2])) if match and "«string" not in match[1] else None


@frozen
class Files:
    """A user's files, recognised where Nix saw a copy of them."""

    root: Path
    locate: Callable[[str], Path] = Path

    def own(self, file: str) -> Path | None:
        """Return the user's file behind what Nix names; None for files of nixpkgs, of nxc, or of no one."""
        path = Path(file)
        if path.is_absolute() and path.is_relative_to(self.root) and not _SOURCE.search(file):
            return path
        inside = _SOURCE.match(file) or _LAZY.match(file)
        if inside is None:
            return None
        mine = self.root / inside[1]
        if not mine.is_file():
            return None
        copy = self.locate(file)
        try:  # another tree may hold a file of that name: nixpkgs has a flake.nix, too
            return mine if copy.read_bytes() == mine.read_bytes() else None
        except OSError:
            return mine if file.startswith("«") and str(self.root) in file else None

    def short(self, place: Place) -> str | None:
        """Return ``file:line`` below the project; None if it is not the user's."""
        mine = self.own(place.file)
        if mine is None:
            return None
        name = str(mine.relative_to(self.root))
        return f"{name}:{place.line}" if place.line else name

    def shorten(self, text: str) -> str:
        """Name the user's own files as the user does, and a file of nixpkgs from its root."""

        def short(match: re.Match[str]) -> str:
            mine = self.own(match[0])
            if mine is not None:
                return str(mine.relative_to(self.root))
            inside = _SOURCE.match(match[0])
            return f"<{inside[1]}>" if inside and "-source/" in match[0] else match[0]

        return re.sub(r"(?:/|«)[^\s:'’`\"»]+(?:»/[^\s:'’`\"]+)?(?<![,;.)])", short, text)

    def are_named(self, text: str) -> bool:
        """Whether a text that ``shorten`` returned names one of the user's files."""
        return any((self.root / word).is_file() for word in re.findall(r"[\w./-]+\.nix\b", text))

    def frames(self, failure: Failure, *, most: int = 4) -> list[str]:
        """List the user's own places in an error, the innermost first, a file once without a line."""
        short = [text for place in failure.places() if (text := self.short(place))]
        lined = {text.rsplit(":", 1)[0] for text in short if ":" in text}
        return list(dict.fromkeys(text for text in short if text not in lined))[:most]


def first(failures: Iterable[Failure]) -> Failure:
    """Return the error that came first: the others follow from it."""
    return next(iter(failures), Failure(message=""))
