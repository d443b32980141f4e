"""What each answer of Nix depends on: the whole project where it must be, one role where it can be."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from nxc_core.errors import CommandError
from nxc_core.operation import Operation
from nxc_core.paths import nix_dir
from nxc_nixos import tree
from nxc_nixos.nix import Nix
from nxc_nixos.project import Project, files_around
from nxc_nixos.reach import Reach, UnseenError
from nxc_nixos.slices import NotUnderstoodError, Slices, Token, Tokens, cut, spell

# What these give may be another tomorrow, or is not to be seen in the project's files.
_IMPURE = re.compile(
    r"(?:\b|__)(?:currentTime|getEnv|fetchTarball|fetchGit|fetchTree|fetchMercurial|getFlake)\b"
    r"|(?:builtins\.|__)fetchurl\b|inherit\s*\(\s*builtins\s*\)[^;]*\bfetchurl\b"
    r"|with\s+builtins\s*;(?s:.*)(?<![\w.])fetchurl\b"
)
_OUTPUTS = frozenset({"packages", "legacyPackages", "devShells", "devShell", "lib", "apps", "checks"})
_REVISION = re.compile(r"\b(?:\w*[rR]ev|revCount|lastModified|lastModifiedDate|sourceInfo)\b")
_LOCKED = ("flake.lock",)


@frozen(kw_only=True)
class Keys:
    """``reading`` is for what the composition says, ``rest`` for what roles share, ``roles`` for each alone.

    Without ``roles`` the composition could not be cut (``why``), and ``rest`` covers all of it.
    """

    reading: Any
    rest: Any
    roles: Mapping[str, Any] = field(factory=dict)
    why: str = ""
    impure: str = ""

    def role(self, name: str) -> Any:
        """Return what a role's derivations depend on."""
        return ["role", name, self.rest, self.roles.get(name)]

    def package(self, names: Sequence[str]) -> Any:
        """Return what the build document depends on."""
        return ["package", self.rest, {name: self.roles.get(name) for name in names}]


def find_keys(
    project: Project, files: Sequence[str], static: str, given: Sequence[str], nix: Nix, op: Operation
) -> Keys:
    """Find out what the answers about a composition depend on: ``static``, its files, and ``given`` texts."""

    def parse(paths: Sequence[Path]) -> Sequence[str]:
        argv = (nix.program("nix-instantiate"), "--parse", *map(str, paths))
        try:
            forms = op.run(argv, env=nix.environment, timeout=120).text.splitlines()
        except CommandError as error:
            raise NotUnderstoodError("a file cannot be parsed") from error
        if len(forms) != len(paths):
            raise NotUnderstoodError("a file's normal form has several lines")
        return forms

    outside = [nix_dir(), nix_dir().resolve(), *([project.nixpkgs_folder] if project.nixpkgs_folder else [])]
    reach = Reach(
        root=project.root, files=files, parse=parse, outside=outside, strict=project.flake is not None
    )
    try:
        if any(str(project.root) in text for text in given):
            raise NotUnderstoodError("a parameter names files")
        return _find(project, reach, static)
    except NotUnderstoodError as error:
        whole: list[Any] = [static, dict(tree.content_marks(project.root, files))]
        around = files_around(project, op)
        if project.git is not None and around:
            whole.append(dict(tree.content_marks(project.git, around)))
        if project.flake is not None and _word(_REVISION, project.root, files):
            whole += [tree.stat_digest(project.root), project_marks(project)]
        impure = str(error) if isinstance(error, UnseenError) else _word(_IMPURE, project.root, files)
        impure = impure or _word(_IMPURE, project.git or project.root, around)
        return Keys(reading=["reading", whole], rest=whole, why=str(error), impure=impure)


def _find(project: Project, reach: Reach, static: str) -> Keys:
    source = str(project.source.relative_to(project.root))
    entries = [source] if project.flake is None else ["flake.nix", source]
    entries = [name for name in entries if name in reach.files]
    always = [name for name in (*_LOCKED, "setup.toml", "nxc.json") if name in reach.files]
    if project.setup is not None:
        always.append(str(project.setup.relative_to(project.root)))
    reach.load(entries)
    if project.flake is not None:
        _check_flake(reach.tokens("flake.nix"))
    everything = {*entries, *always}
    for name in entries:
        everything |= reach.follow(reach.tokens(name))
    sources = reach.follow([token for name in everything for token in _sources(project.root, name)])
    everything |= sources
    _check_data(project.root, everything)
    marks = tree.content_marks(project.root, sorted(everything))
    reading = ["reading", static, dict(marks)]
    impure = _word(_IMPURE, project.root, sorted(everything))
    try:
        slices, shared = _cut(project, reach, source)
    except NotUnderstoodError as error:
        return Keys(reading=reading, rest=[static, dict(marks)], why=str(error), impure=impure)
    common = reach.follow(shared) | reach.follow(slices.rest) | set(always) | sources
    rest = [static, spell(shared), spell(slices.rest), {name: marks.get(name, "") for name in sorted(common)}]
    roles = {
        name: [spell(text), {each: marks.get(each, "") for each in sorted(reach.follow(text))}]
        for name, text in slices.roles.items()
    }
    return Keys(reading=reading, rest=rest, roles=roles, impure=impure)


def _check_data(root: Path, names: Iterable[str]) -> None:
    """Raise NotUnderstoodError for a file of data that may name files of the project."""
    for name in names:
        path = root / name
        if path.suffix == ".nix" or not path.is_file() or path.stat().st_size > tree.LARGEST:
            continue
        text = path.read_bytes()
        if os.fsencode(root) in text:
            raise NotUnderstoodError(f"{name} names files")


def _sources(root: Path, name: str) -> Iterator[Token]:
    """Yield the paths in the project that a setup.toml gives to packages; others Nix refuses to read."""
    if not name.endswith(".toml"):
        return
    try:
        pending: list[Any] = [tomllib.loads((root / name).read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        return
    while pending:
        table = pending.pop()
        for key, value in table.items():
            if isinstance(value, dict):
                pending.append(value)
            elif key == "src" and isinstance(value, str):
                path = os.path.normpath(root / Path(name).parent / value)
                if Path(path).is_relative_to(root):
                    yield Token("path", path)


def _cut(project: Project, reach: Reach, source: str) -> tuple[Slices, Tokens]:
    """Cut the composition; also return what a flake says around it."""
    slices = cut(reach.tokens(source))
    if project.flake is None:
        return slices, ()
    shared = list(reach.tokens("flake.nix"))
    path = str(project.root / source)
    places = [place for place, token in enumerate(shared) if token.kind == "path" and token.text == path]
    if len(places) == 1:
        (place,) = places
        around = [token.text for token in (*shared[place - 2 : place], shared[place + 1])]
        if around != ["composition", "=", ";"]:
            raise NotUnderstoodError("the flake does more with the composition than to compose it")
        shared[place] = Token("hole", "<>")
    elif places or source != "composition.nix":
        raise NotUnderstoodError("the flake's composition is not found")
    return slices, shared


def _check_flake(tokens: Tokens) -> None:
    """Raise NotUnderstoodError where a flake may read its own files other than by spelling their paths."""
    texts = [token.text for token in tokens]
    heads = [place for place, text in enumerate(texts) if text == "outputs" and texts[place + 1] == "="]
    if len(heads) != 1 or texts[heads[0] + 2 : heads[0] + 4] != ["(", "{"]:
        raise NotUnderstoodError("the flake's outputs are no plain function")
    bound = {
        texts[place + step]
        for place, text in enumerate(texts)
        if text == "@"
        for step in (-1, 1)
        if tokens[place + step].kind == "word"
    }
    for place, text in enumerate(texts):
        before, after = texts[place - 1] if place else "", texts[place + 1 : place + 4]
        if text == "self":
            is_formal = before in ("{", ",") and after[:1] in ([","], ["}"], ["?"])
            is_output = before == "(" and after[:2] == [")", "."] and after[2] in _OUTPUTS
            if not (is_formal or is_output):
                raise NotUnderstoodError("the flake uses itself as a whole")
        elif text in bound:
            is_name = before == "." or after[:1] == ["="]  # of an attribute
            is_head = "@" in (before, *after[:1])
            if not (is_head or is_name or (before == "(" and after[:2] == [")", "."] and after[2] != "self")):
                raise NotUnderstoodError("the flake uses all its inputs as a whole")


def _word(pattern: re.Pattern[str], root: Path, files: Sequence[str]) -> str:
    """Return the first word of a pattern in some Nix files, and where it stands; empty when there is none."""
    for name in files:
        if name.endswith(".nix"):
            try:
                found = pattern.search((root / name).read_text(encoding="utf-8", errors="replace"))
            except OSError:
                continue
            if found:
                return f"{re.findall(r'[A-Za-z]+', found[0])[-1]} in {name}"
    return ""


def project_marks(project: Project) -> list[str]:
    """Mark what git knows: a file that is added becomes one that Nix sees."""
    if project.git is None:
        return []
    folder = project.git / ".git"
    if folder.is_file():  # a further working tree, or a submodule
        folder = project.git / folder.read_text().partition("gitdir:")[2].strip()
    return [tree.stat_mark(folder / name) for name in ("index", "HEAD")]
