"""What Tab offers at the prompt of ``nxc driver``. Looking at a name never acts: no property is evaluated."""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_INDEX = r"""\[(?:\d+|"[^"]*"|'[^']*')\]"""
_EXPRESSION = rf"[A-Za-z_]\w*(?:\.\w+|{_INDEX})*"
_ATTRIBUTE = re.compile(rf"({_EXPRESSION})\.(\w*)$")
_KEY = re.compile(rf"({_EXPRESSION})\[[\"']([^\"']*)$")
_NAME = re.compile(r"(?<![\w.])(\w*)$")
_STEP = re.compile(rf"\.(\w+)|{_INDEX}")
_UNKNOWN = object()
DELIMITERS = " \t\n`~!@#$%^&*()=+[{]}\\|;:'\",<>/?"
"""What readline ends a word at: not at a hyphen, which names of nodes have."""


class Completer:
    """Completes names of a scope, attributes, and keys of plain dictionaries, as ``nodes["s``."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.scope = scope
        self._found: list[str] = []

    def for_readline(
        self, line: Callable[[], str], end: Callable[[], int]
    ) -> Callable[[str, int], str | None]:
        """Return what readline calls with its own idea of the word, until that is answered None."""

        def complete(word: str, state: int) -> str | None:
            if state == 0:
                self._found = self.complete(line()[: end()], word)
            return self._found[state] if state < len(self._found) else None

        return complete

    def complete(self, line: str, word: str) -> list[str]:
        """List what may stand for ``word``, with which a line ends; for an empty line it is indentation."""
        if not line.strip():
            return ["    "]
        if _in_text(line) and not _KEY.search(line):
            return []
        if found := _ATTRIBUTE.search(line):
            return _cut(found[2], word, self._attributes(found[1], found[2]))
        if found := _KEY.search(line):
            return _cut(found[2], word, self._keys(found[1], found[2]))  # readline closes the quotes
        found = _NAME.search(line)
        return _cut(found[1], word, self._names(found[1])) if found else []

    def _names(self, begun: str) -> Iterator[str]:
        known = {**vars(builtins), **self.scope}
        for name in sorted({*known, *keyword.kwlist}):
            if name.startswith(begun) and (begun.startswith("_") or not name.startswith("_")):
                yield f"{name}(" if name in known and _is_function(known[name]) else name

    def _attributes(self, expression: str, begun: str) -> Iterator[str]:
        thing = self._find(expression)
        if thing is _UNKNOWN:
            return
        for name in sorted(dir(thing)):
            if name.startswith(begun) and (begun.startswith("_") or not name.startswith("_")):
                yield f"{name}(" if _is_function(_peek(thing, name)) else name

    def _keys(self, expression: str, begun: str) -> list[str]:
        thing = self._find(expression)
        keys = thing if type(thing) is dict else ()
        return [key for key in keys if isinstance(key, str) and key.startswith(begun)]

    def _find(self, expression: str) -> Any:
        """Return what an expression stands for, unless that would take a call or a property to know."""
        name = re.match(r"\w+", expression)
        assert name is not None
        thing = self.scope.get(name[0], vars(builtins).get(name[0], _UNKNOWN))
        for step in _STEP.finditer(expression, name.end()):
            if thing is _UNKNOWN:
                break
            thing = _peek(thing, step[1]) if step[1] else _pick(thing, step[0][1:-1])
        return thing


def _peek(thing: Any, name: str) -> Any:
    """Return an attribute as it lies there; a property is not asked."""
    found = inspect.getattr_static(thing, name, _UNKNOWN)
    if isinstance(found, (staticmethod, classmethod)):
        return found.__func__
    return _UNKNOWN if inspect.isdatadescriptor(found) else found


def _pick(thing: Any, key: str) -> Any:
    if type(thing) is dict:
        return thing.get(key[1:-1], _UNKNOWN)
    if type(thing) in (list, tuple) and key.isdecimal() and int(key) < len(thing):
        return thing[int(key)]
    return _UNKNOWN


def _is_function(thing: Any) -> bool:
    return inspect.isroutine(thing) or inspect.isclass(thing)


def _in_text(line: str) -> bool:
    """Whether a line ends inside a string or a comment."""
    quote, escaped = "", False
    for char in line:
        if escaped:
            escaped = False
        elif quote:
            escaped = char == "\\"
            quote = "" if char == quote else quote
        elif char == "#":
            return True
        elif char in "\"'":
            quote = char
    return bool(quote)


def _cut(begun: str, word: str, found: Iterable[str]) -> list[str]:
    """Spell what was found so that it replaces what readline takes for the word."""
    if len(word) < len(begun):
        return [one[len(begun) - len(word) :] for one in found]
    return [word[: len(word) - len(begun)] + one for one in found]
