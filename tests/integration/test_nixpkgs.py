"""Real examples on real trees of nixpkgs, evaluated to derivations: ours, and upstream's as they are.

NXC_TEST_NIXPKGS=/tree[:/other/tree]     trees of nixpkgs; without it nothing here runs
NXC_TEST_UPSTREAM=/checkout              NixOS Compose's own repository, for its examples
NXC_TEST_NIXPKGS_TABLE=/some/table.md    writes which example each tree could serve

A tree may lack what an example asks for: tests/nix/upstream/asks.nix finds that out, and shim.nix gives what
an overlay or a module can give. Nothing of an example is edited, and nothing is fetched or built.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from nxc_core.model import RAMDISK
from nxc_core.plugins import Plugins
from nxc_core.session import Session
from nxc_nixos import evaluation, study as studies
from nxc_nixos.answers import Answers
from nxc_nixos.cache import Cache
from nxc_nixos.options import NixosOptions

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "nix"
STAND_INS = ROOT / "tests/nix/upstream"
TREES = [Path(place) for place in os.environ.get("NXC_TEST_NIXPKGS", "").split(":") if place]
UPSTREAM = os.environ.get("NXC_TEST_UPSTREAM")
SYSTEM = "x86_64-linux"
Packages = Mapping[str, str]

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.nixpkgs,
]


def find_examples() -> list[Path]:
    """List what there is to evaluate: folders with a composition, or with several."""
    tops = [ROOT / "examples", *([Path(UPSTREAM) / "examples"] if UPSTREAM else [])]
    return sorted(file.parent for top in tops for file in top.glob("*/composition*.nix"))


def name_of(example: Path) -> str:
    """Say whose example it is, and which."""
    return example.name if example.is_relative_to(ROOT) else f"upstream-{example.name}"


CASES = [
    pytest.param(tree, example, id=f"{tree.name}-{name_of(example)}")
    for tree in TREES or [Path("no-tree")]
    for example in find_examples()
]


@frozen(eq=False)
class Nix:
    """A Nix with a store of its own, where derivations are written and nothing is built."""

    home: Path
    environment: dict[str, str] = field(repr=False)

    def ask(self, *argv: str | Path) -> Any:
        """Return the JSON that a command prints; a failure fails the test with what Nix said."""
        words = [str(word) for word in argv]
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=800, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)

    def evaluate(self, file: Path, **arguments: Path | bool) -> Any:
        """Return what a file's function gives."""
        words: list[str | Path] = []
        for name, value in arguments.items():
            words += ["--arg", name, str(value).lower() if isinstance(value, bool) else value]
        return self.ask("nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", file, *words)


@pytest.fixture(scope="module")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nix]:
    home = tmp_path_factory.mktemp("nix")
    folders = {name: home / name for name in ("store", "state", "log", "conf", "home")}
    for folder in folders.values():
        folder.mkdir()
    settings = (
        "experimental-features = nix-command flakes",
        "substituters =",
        "build-users-group =",
        "flake-registry =",
        "fsync-metadata = false",
    )
    yield Nix(
        home,
        {
            "PATH": os.environ["PATH"],
            "HOME": str(folders["home"]),
            "NIX_STORE_DIR": str(folders["store"]),
            "NIX_STATE_DIR": str(folders["state"]),
            "NIX_LOG_DIR": str(folders["log"]),
            "NIX_CONF_DIR": str(folders["conf"]),
            "NIX_CONFIG": "\n".join(settings),
        },
    )
    shutil.rmtree(home, ignore_errors=True)


@frozen
class Lacking:
    """What an example asks for and a tree does not have: without the shim, and even with it."""

    plain: tuple[str, ...]
    shimmed: tuple[str, ...]


@cache
def lacking(nix: Nix, tree: Path) -> Mapping[str, Lacking]:
    """Ask a tree, with and without the shim, for what any example asks for."""
    plain, shimmed = (nix.evaluate(STAND_INS / "asks.nix", nixpkgs=tree, shim=shim) for shim in (False, True))
    return {
        example: Lacking(*(tuple(what for what, has in asks[example].items() if not has) for asks in both))
        for both in [(plain, shimmed)]
        for example in plain
    }


def need_shim(nix: Nix, tree: Path, example: Path) -> bool:
    """Whether the shim is needed; skips where it is not enough."""
    lacks = lacking(nix, tree).get(example.name, Lacking((), ()))
    if lacks.shimmed:
        tell(tree, example, f"no: it has no {', '.join(lacks.shimmed)}")
        pytest.skip(f"{tree} has no {', '.join(lacks.shimmed)}")
    tell(tree, example, f"yes, with {', '.join(lacks.plain)} from the shim" if lacks.plain else "yes")
    return bool(lacks.plain)


@cache
def plainly(nix: Nix, tree: Path, example: Path, shim: bool) -> Packages:
    """Evaluate all of an example without flakes."""
    found: Packages = nix.ask(
        "nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "-E",
        f"builtins.mapAttrs (_: package: package.drvPath) (import {STAND_INS}/packages.nix {{"
        f" nixpkgs = {tree}; library = {LIBRARY}; example = {example}; shim = {str(shim).lower()}; }})",
    )  # fmt: skip
    return found


@cache
def locked(nix: Nix, folder: Path) -> str:
    """Return a folder as a flake's input that needs not be copied again."""
    tree = f'builtins.fetchTree {{ type = "path"; path = "{folder}"; }}'
    mark = nix.ask("nix", "eval", "--impure", "--json", "--expr", f"({tree}).narHash")
    return f"path:{folder}?narHash={mark}"


ROWS: dict[tuple[str, str], str] = {}


def tell(tree: Path, example: Path, text: str) -> None:
    """Keep for the table whether an example is possible on a tree."""
    version = (tree / ".version").read_text().strip() if (tree / ".version").exists() else tree.name
    ROWS[name_of(example), version] = text


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    yield
    place = os.environ.get("NXC_TEST_NIXPKGS_TABLE")
    if place:
        trees = sorted({tree for _, tree in ROWS})
        lines = [["example", *trees], ["-"] * (len(trees) + 1)]
        lines += [
            [name, *(ROWS.get((name, tree), "") for tree in trees)] for name in sorted({n for n, _ in ROWS})
        ]
        Path(place).write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


@cache
def flavours() -> frozenset[str]:
    stated = ((LIBRARY / name).read_text() for name in ("guests.json", "platforms.json"))
    return frozenset(flavour for text in stated for flavour in json.loads(text))


def compositions_of(example: Path) -> set[str]:
    """Name an example's compositions; several also make one of all, named by nothing."""
    if (example / "composition.nix").exists():
        return {"composition"}
    read = ["nix-instantiate", "--eval", "--strict", "--json", "-E"]
    text = subprocess.run(
        [*read, f"builtins.attrNames (import {example}/compositions.nix)"],
        capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    return {"", *json.loads(text)}


@pytest.mark.parametrize(("tree", "example"), CASES)
def test_an_example_evaluates_for_every_flavour(nix: Nix, tree: Path, example: Path) -> None:
    found = plainly(nix, tree, example, need_shim(nix, tree, example))
    expected = {f"{name}::{flavour}" for name in compositions_of(example) for flavour in flavours()}
    assert set(found) == expected
    assert all(Path(drv).is_file() for drv in found.values()), "the derivations are written"
    assert len(set(found.values())) == len(found), "each is a package of its own"


def overrides(nix: Nix, tree: Path, shim: bool) -> list[str]:
    """Say where the inputs of upstream's flakes are, as a user would."""
    inputs = {
        "nixpkgs": tree,
        "nxc": STAND_INS if shim else LIBRARY,
        **({"nxc/library": LIBRARY, "nxc/library/nixpkgs": tree} if shim else {"nxc/nixpkgs": tree}),
        "NUR": STAND_INS / "NUR",
        "kapack": STAND_INS / "kapack",
        "kapack/nixpkgs": tree,
    }
    return [word for name, at in inputs.items() for word in ("--override-input", name, locked(nix, at))]


@pytest.mark.parametrize(("tree", "example"), CASES)
def test_a_flake_gives_the_same(nix: Nix, tree: Path, example: Path, tmp_path: Path) -> None:
    shim = need_shim(nix, tree, example)
    if not (example / "flake.nix").exists():
        pytest.skip("it has no flake.nix")
    project = tmp_path / example.name
    shutil.copytree(example, project)
    found = nix.ask(
        "nix", "eval", "--json", "--no-write-lock-file", *overrides(nix, tree, shim),
        f"path:{project}#packages.{SYSTEM}", "--apply", "builtins.mapAttrs (_: package: package.drvPath)",
    )  # fmt: skip
    assert found == plainly(nix, tree, example, shim)


@pytest.mark.parametrize(("tree", "example"), CASES)
def test_several_processes_give_the_same(
    nix: Nix, tree: Path, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `nxc build` evaluates: one process for each role, then one that puts them together."""
    for name, value in {**nix.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(evaluation, "DIVIDED_FROM", 1)
    monkeypatch.setattr(evaluation, "ROLES_EACH", 1)
    monkeypatch.setattr(evaluation, "ROLES_MOST", 1)
    shim = need_shim(nix, tree, example)
    project = tmp_path / example.name
    shutil.copytree(example, project)
    is_flake = (example / "flake.nix").exists()
    (source,) = project.glob("composition*.nix")
    flavour = "vm-ramdisk"
    for composition in sorted(compositions_of(example)):
        options = NixosOptions(
            composition=composition,
            nixpkgs=None if is_flake else str(tree),
            flags=shlex.join([*overrides(nix, tree, shim), "--no-write-lock-file"]) if is_flake else "",
            jobs=2,
        )
        op = Session.open(project).operation(tmp_path, "test")
        cache = Cache(folder=op.cache / "nixos")
        study = studies.begin(source, options, cache, op)
        assert not study.impure
        answers = Answers(study=study, options=options, cache=cache, op=op)
        found = answers.evaluate(RAMDISK, Plugins.discover().flavour(flavour).guest)
        assert not answers.study.impure
        assert found.package == plainly(nix, tree, example, shim)[f"{composition}::{flavour}"]
