"""Which files an expression can read: those whose paths it spells, and what these spell in turn."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from attrs import define, field

from nxc_nixos.slices import NotUnderstoodError, Token, Tokens, tokenize

Parse = Callable[[Sequence[Path]], Sequence[str]]
"""Returns the normal forms of files."""
_CLIMBING = frozenset({"dirOf", "__dirOf", "__curPos", "scopedImport", "__scopedImport", "storePath"})
_CLIMBING_MORE = frozenset({"__storePath", "toPath", "__toPath", "unsafeGetAttrPos", "__unsafeGetAttrPos"})
_TURNED_TO_TEXT = frozenset({"toString", "unsafeDiscardStringContext", "__unsafeDiscardStringContext"})
_UPWARDS = re.compile(r"(?:^|/)\.\.(?:/|$)")
_PLAIN = re.compile(r"[A-Za-z0-9._+@=/~-]+")


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

    def follow(self, tokens: Tokens, *, but: frozenset[str] = frozenset()) -> frozenset[str]:
        """Return the files that words can read, directly or by way of others; ``but`` are not entered."""
        found: set[str] = set()
        fresh: set[str] = set(self.named(tokens) - but)
        while fresh:
            found |= fresh
            entered = sorted(name for name in fresh if name.endswith(".nix") and name in self._known)
            self.load(entered)
            fresh = {each for name in entered for each in self._named_by(name)} - found - but
        return frozenset(found)

    @property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    def _named_by(self, name: str) -> frozenset[str]:
        if name not in self._direct:
            self._direct[name] = self.named(self._tokens[name])
        return self._direct[name]

    def named(self, tokens: Tokens) -> frozenset[str]:
        """Return the files whose paths are spelt, all below those that are folders.

        Raises NotUnderstoodError for words by which other files could be read.
        """
        paths = [token.text for token in tokens if token.kind == "path"]
        words = {token.text for token in tokens if token.kind == "word"}
        bad = words & (_CLIMBING | _CLIMBING_MORE)
        if bad:
            raise NotUnderstoodError(sorted(bad)[0])
        if self.strict:
            _check_turned(tokens)
        _check_strings(tokens, str(self.root))
        return frozenset(name for path in paths for name in self._below(path))

    def _below(self, path: str) -> Iterable[str]:
        whole = os.path.normpath(path)
        if any(Path(whole).is_relative_to(folder) for folder in self.outside):
            return ()
        if not Path(whole).is_relative_to(self.root):
            raise NotUnderstoodError(f"{path} is outside the project")
        name = os.path.relpath(whole, self.root)
        prefix = "" if name == "." else name + "/"
        below = [each for each in self.files if each.startswith(prefix)]
        found = [name] if name in self._known or not below else below
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
                raise NotUnderstoodError(f"<{name}>")


def _check_turned(tokens: Sequence[Token]) -> None:
    for place, token in enumerate(tokens):
        following = [after for after in tokens[place + 1 : place + 4] if after.text not in ("(", ")")]
        if token.text in _TURNED_TO_TEXT and following and following[0].kind == "path":
            raise NotUnderstoodError("a path becomes a text")
