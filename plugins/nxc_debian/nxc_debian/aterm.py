"""Reading .drv files, which Nix writes as ATerms, and ordering them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from nxc_core.errors import BuildError

_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(\w+)(?=\()|([\[\](),]))', re.S)
_ESCAPE = re.compile(r"\\(.)", re.S)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


@frozen(kw_only=True)
class Derivation:
    """What a .drv file says. ``env`` holds what the Nix side asks of the builder."""

    path: str
    out: str
    inputs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    env: Mapping[str, str] = field(factory=dict, repr=False)

    @property
    def kind(self) -> str:
        """How the builder makes it: package, text, command, join."""
        return self.env.get("nxcKind", "")


def parse_derivation(path: str, text: str) -> Derivation:
    """Read one .drv file; raises BuildError when it is none."""
    try:
        name, terms = _Parser(text).constructor()
        if name != "Derive":
            raise ValueError(name)
        outputs, inputs, sources, _system, _builder, _args, env = terms
        return Derivation(
            path=path,
            out=next(output[1] for output in outputs if output[0] == "out"),
            inputs=tuple(given[0] for given in inputs),
            sources=tuple(sources),
            env=dict(env),
        )
    except (ValueError, IndexError, StopIteration, RecursionError) as error:
        raise BuildError(
            f"{path} is not a derivation", hint="remove it from nxc's store and build again"
        ) from error


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = [match.groups() for match in _TOKEN.finditer(text)]
        self.at = 0

    def constructor(self) -> tuple[str, list[Any]]:
        name = self._next()[1]
        if name is None:
            raise ValueError("a constructor was expected")
        return name, self._sequence("(", ")")

    def _next(self) -> tuple[str | None, ...]:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def _sequence(self, opening: str, closing: str) -> list[Any]:
        if self._next()[2] != opening:
            raise ValueError(f"{opening} was expected")
        found: list[Any] = []
        while self.tokens[self.at][2] != closing:
            if found and self._next()[2] != ",":
                raise ValueError("a comma was expected")
            found.append(self._term())
        self.at += 1
        return found

    def _term(self) -> Any:
        text, _, mark = self.tokens[self.at]
        if text is not None:
            self.at += 1
            return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text[1:-1])
        return self._sequence("[", "]") if mark == "[" else self._sequence("(", ")")


def closure(roots: Iterable[str], read: Callable[[str], str]) -> list[Derivation]:
    """Return the derivations that ``roots`` need, themselves included, inputs first."""
    found: dict[str, Derivation] = {}
    ordered: list[Derivation] = []
    done: set[str] = set()
    stack = [(path, False) for path in sorted(roots, reverse=True)]
    while stack:
        path, ready = stack.pop()
        if path in done:
            continue
        if ready:
            done.add(path)
            ordered.append(found[path])
            continue
        found[path] = found.get(path) or parse_derivation(path, read(path))
        stack.append((path, True))
        stack += [(given, False) for given in reversed(found[path].inputs) if given not in done]
    return ordered


def read_from(store: Path) -> Callable[[str], str]:
    """Return a reader of derivations in a store whose files lie below another root."""

    def read(path: str) -> str:
        file = store / path.lstrip("/")
        try:
            return file.read_text(errors="surrogateescape")
        except OSError as error:
            raise BuildError(
                f"{path} is not in the store ({error.strerror})", hint="`nxc clean` and build again"
            ) from error

    return read
