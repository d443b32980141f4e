"""Which files an expression can read: those whose paths it spells, and what these spell in turn."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from attrs import define, field

from nxc_nixos.slices import NotUnderstoodError, Token, Tokens, tokenize
from nxc_nixos.tree import SKIPPED

Parse = Callable[[Sequence[Path]], Sequence[str]]
"""Returns the normal forms of files."""
_CLIMBING = frozenset({"dirOf", "__dirOf", "__curPos", "scopedImport", "__scopedImport", "storePath"})
_CLIMBING_MORE = frozenset({"__storePath", "toPath", "__toPath", "unsafeGetAttrPos", "__unsafeGetAttrPos"})
_SEARCHING = frozenset({"findFile", "nixPath"})
_TURNED_TO_TEXT = frozenset({"toString", "unsafeDiscardStringContext", "__unsafeDiscardStringContext"})
_UPWARDS = re.compile(r"(?:^|/)\.\.(?:/|$)|/\.$")
_HIDDEN = re.compile(rf"(?:^|/)(?:{'|'.join(map(re.escape, sorted(SKIPPED)))})(?:/|$)")
_PLAIN = re.compile(r"[A-Za-z0-9._+@=/~-]+")


class UnseenError(NotUnderstoodError):
    """Something is named that is none of the project's files, so that no edit of it would be seen."""


@define(kw_only=True)
class Reach:
    """The files of a project as its expressions name them. ``outside`` are folders that do not change.

    ``strict`` is for flakes, where a path's text changes with every file of the project.
    """

    root: Path
    files: Sequence[str]
    parse: Parse
    outside: Sequence[Path] = ()
    strict: bool = False
    _tokens: dict[str, Tokens] = field(factory=dict)
    _direct: dict[str, frozenset[str]] = field(factory=dict)
    _bound: set[str] = field(factory=set)

    def tokens(self, name: str) -> Tokens:
        """Return a file of the project in its normal form."""
        if name not in self._tokens:
            self.load([name])
        return self._tokens[name]

    def load(self, names: Sequence[str]) -> None:
        """Parse several files at once; raises NotUnderstoodError where their names say too little."""
        wanted = [name for name in names if name not in self._tokens]
        if not _PLAIN.fullmatch(str(self.root)):
            raise NotUnderstoodError(f"{self.root}")
        if wanted:
            texts = self.parse([self.root / name for name in wanted])
            self._tokens |= {name: tokenize(text) for name, text in zip(wanted, texts, strict=True)}
            self._bound |= {bound for name in wanted for bound in _bound_to_paths(self._tokens[name])}

    def follow(self, tokens: Tokens) -> frozenset[str]:
        """Return the files that words can read, directly or by way of others."""
        found: set[str] = set()
        fresh: set[str] = set(self.named(tokens))
        while fresh:
            found |= fresh
            entered = sorted(name for name in fresh if name.endswith(".nix") and name in self._known)
            self.load(entered)
            fresh = {each for name in entered for each in self._named_by(name)} - found
        return frozenset(found)

    @property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    def _named_by(self, name: str) -> frozenset[str]:
        if name not in self._direct:
            self._direct[name] = self.named(self._tokens[name])
        return self._direct[name]

    def named(self, tokens: Tokens) -> frozenset[str]:
        """Return the files whose paths are spelt, and all whose paths begin so: below a folder, or by ``+``.

        Raises NotUnderstoodError for words by which other files could be read.
        """
        paths = [
            str(self.root) if _is_made_longer(tokens, place) else token.text
            for place, token in enumerate(tokens)
            if token.kind == "path"
        ]
        words = {token.text for token in tokens if token.kind == "word"}
        bad = words & (_CLIMBING | _CLIMBING_MORE | _SEARCHING)
        if bad:
            raise NotUnderstoodError(sorted(bad)[0])
        if self.strict:
            _check_turned(tokens, self._bound)
        else:  # of a flake, Nix sees no such folder
            _check_hidden(tokens, str(self.root))
        _check_strings(tokens, str(self.root))
        return frozenset(name for path in paths for name in self._below(path))

    def _below(self, path: str) -> Iterable[str]:
        whole = os.path.normpath(path)
        if any(Path(whole).is_relative_to(folder) for folder in self.outside):
            return ()
        if not Path(whole).is_relative_to(self.root):
            raise (NotUnderstoodError if self.strict else UnseenError)(f"{path} is outside the project")
        name = os.path.relpath(whole, self.root)
        prefix = "" if name == "." else name
        found = [each for each in self.files if each.startswith(prefix)] or [name]
        if any(os.path.realpath(self.root / each) != str(self.root / each) for each in found):
            raise NotUnderstoodError(f"{name} is behind a link")
        return found


def _check_strings(tokens: Sequence[Token], root: str) -> None:
    for place, token in enumerate(tokens):
        if token.kind == "string" and (_UPWARDS.search(token.text.strip('"')) or root in token.text):
            raise NotUnderstoodError(f"the text {token.text[:40]} may become a path")
        if token.text == "__findFile":
            name = tokens[place + 2].text.strip('"') if place + 2 < len(tokens) else ""
            if name.split("/")[0] != "nixpkgs":
                raise UnseenError(f"<{name}>")
        if token.text == "__nixPath" and (not place or tokens[place - 1].text != "__findFile"):
            raise NotUnderstoodError("__nixPath")


def _check_hidden(tokens: Tokens, root: str) -> None:
    for token in tokens:
        text = token.text.strip('"')
        if token.kind == "path":
            text = text.removeprefix(root)
        if token.kind in ("path", "string") and _HIDDEN.search(text) and "\n" not in text:
            raise UnseenError(f"{text[:60]}, which git or a tool keeps")


def _is_made_longer(tokens: Tokens, place: int) -> bool:
    """Whether something is put after a path that is no plain text: it may lead anywhere in the project."""
    following = [
        token.kind if token.kind == "string" else token.text for token in tokens[place + 1 : place + 4]
    ]
    return following[:1] == ["+"] and following[1:] != ["string", ")"]


def _bound_to_paths(tokens: Tokens) -> set[str]:
    """Return the names that are given to paths as they are."""
    return {
        tokens[place].text
        for place, token in enumerate(tokens[2:])
        if token.kind == "path" and tokens[place + 1].text == "=" and tokens[place].kind == "word"
    }


def _check_turned(tokens: Tokens, bound: set[str]) -> None:
    """Raise NotUnderstoodError where a path's text may be used; ``bound`` are names of paths."""
    for place, token in enumerate(tokens):
        if token.text in _TURNED_TO_TEXT and token.kind == "word":
            argument = _argument(tokens, place + 1)
            is_called = place > 0 and tokens[place - 1].text in ("(", ".")
            is_list = bool(argument) and argument[0].text == "["
            if any(after.kind == "path" or after.text in bound for after in argument):
                raise NotUnderstoodError("a path becomes a text")
            if not (is_called or is_list):
                raise NotUnderstoodError(f"{token.text} is applied to what is not seen")


def _argument(tokens: Tokens, start: int) -> Tokens:
    """Return what follows in the same brackets."""
    depth = 0
    for place in range(start, len(tokens)):
        depth += {"open": 1, "close": -1}.get(tokens[place].kind, 0)
        if depth < 0:
            return tokens[start:place]
    return tokens[start:]
