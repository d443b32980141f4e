"""Cutting a composition into its roles, in the normal form that ``nix-instantiate --parse`` prints.

There, every compound expression is in parentheses and names are resolved: enough to find the set of roles
without understanding the rest. What is not understood is not cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

ROLES = ("roles", "nodes")
INERT = ("testScript", "rolesDistribution", "dockerPorts", "extraVolumes")
"""What no role's system depends on."""
_TOKEN = re.compile(
    r"""
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<path>(?<![\w.])/(?!/)[A-Za-z0-9._+@=/~-]+)
    | (?P<word>[A-Za-z_][\w'-]*)
    | (?P<number>[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)
    | (?P<open>[({\[])
    | (?P<close>[)}\]])
    | (?P<sign>\.\.\.|->|==|!=|<=|>=|&&|\|\||\+\+|//|[-.:;=@?,!<>+*/])
    | (?P<space>\s+)
    """,
    re.VERBOSE | re.DOTALL,
)


class NotUnderstoodError(Exception):
    """The text is not of a form that can be cut safely."""


@frozen
class Token:
    """A word of Nix."""

    kind: str
    text: str


Tokens = Sequence[Token]


@frozen(kw_only=True)
class Slices:
    """A composition in parts: each role's own text, and what all share.

    Of its own name and of the other roles, a role's system knows nothing: they are in no part.
    """

    roles: Mapping[str, Tokens]
    rest: Tokens


def tokenize(text: str) -> list[Token]:
    """Split a normal form in words; raises NotUnderstoodError for a word that is none."""
    found, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise NotUnderstoodError(text[place : place + 20])
        place = match.end()
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match[0]))
    return found


def spell(tokens: Tokens) -> str:
    """Return words as a text that is the same for the same words."""
    return " ".join(token.text for token in tokens)


def cut(tokens: Tokens) -> Slices:
    """Cut a composition into its roles; raises NotUnderstoodError where another role could reach into one."""
    start, end = _result(tokens, 0, len(tokens))
    outer = _entries(tokens, start, end)
    named = [name for name in ROLES if name in outer]
    if len(named) != 1:
        raise NotUnderstoodError("no literal set of roles")
    first, last = _result(tokens, *outer[named[0]])
    inner = _entries(tokens, first, last)
    if None in inner:
        raise NotUnderstoodError("roles are inherited")
    roles = {name: tuple(tokens[a:b]) for name, (a, b) in inner.items() if name is not None}
    gone = [*inner.values(), *(outer[name] for name in INERT if name in outer)]
    rest = tuple(_without(tokens, [(first - 2, last + 1) for first, last in gone]))
    return Slices(roles=roles, rest=rest)


def _without(tokens: Tokens, holes: Sequence[tuple[int, int]]) -> Iterator[Token]:
    place = 0
    for first, last in sorted(holes):
        yield from tokens[place:first]
        place = last
    yield from tokens[place:]


def _result(tokens: Tokens, start: int, end: int) -> tuple[int, int]:
    """Find the set that an expression gives, through functions, ``let``, ``with`` and ``assert``."""
    while start < end:
        start, end = _unwrapped(tokens, start, end)
        word = tokens[start].text
        if word == "let":
            start = _find(tokens, start + 1, end, "in") + 1
        elif word in ("with", "assert"):
            start = _find(tokens, start + 1, end, ";") + 1
        elif word == "{" and _partner(tokens, start) == end - 1:
            return start, end
        elif word == "{" or tokens[start].kind == "word":
            start = _after_head(tokens, start, end)
        else:
            break
    raise NotUnderstoodError("what gives the roles is no literal set")


def _after_head(tokens: Tokens, start: int, end: int) -> int:
    """Skip the head of a function: ``x:``, ``{ a, b }:``, ``{ a } @ x:``, ``x @ { a }:``."""
    place = start
    for _ in range(3):
        if place < end and tokens[place].text == "{":
            place = _partner(tokens, place) + 1
        elif place < end and tokens[place].kind == "word" and tokens[place].text not in ("rec", "if"):
            place += 1
        if place < end and tokens[place].text == ":":
            return place + 1
        if place >= end or tokens[place].text != "@":
            break
        place += 1
    raise NotUnderstoodError("no function")


def _entries(tokens: Tokens, start: int, end: int) -> dict[str | None, tuple[int, int]]:
    """Map the names of a literal set to where their values are; what is inherited is under None."""
    found: dict[str | None, tuple[int, int]] = {}
    place = start + 1
    while place < end - 1:
        stop = _find(tokens, place, end - 1, ";")
        head = tokens[place]
        if head.text == "inherit":
            if any(token.text in ROLES for token in tokens[place:stop]):
                raise NotUnderstoodError("roles are inherited")
            found[None] = (place, stop)
        elif head.kind in ("word", "string") and tokens[place + 1].text == "=" and "${" not in head.text:
            found[head.text.strip('"')] = (place + 2, stop)
        else:
            raise NotUnderstoodError(f"an entry begins with {head.text}")
        place = stop + 1
    return found


def _unwrapped(tokens: Tokens, start: int, end: int) -> tuple[int, int]:
    while start < end and tokens[start].text == "(" and _partner(tokens, start) == end - 1:
        start, end = start + 1, end - 1
    if start >= end:
        raise NotUnderstoodError("nothing is there")
    return start, end


def _partner(tokens: Tokens, start: int) -> int:
    depth = 0
    for place in range(start, len(tokens)):
        depth += {"open": 1, "close": -1}.get(tokens[place].kind, 0)
        if depth == 0:
            return place
    raise NotUnderstoodError("a bracket stays open")


def _find(tokens: Tokens, start: int, end: int, text: str) -> int:
    """Find a word outside any bracket."""
    depth = 0
    for place in range(start, end):
        depth += {"open": 1, "close": -1}.get(tokens[place].kind, 0)
        if depth == 0 and tokens[place].text == text and tokens[place].kind != "string":
            return place
    raise NotUnderstoodError(f"no {text}")
