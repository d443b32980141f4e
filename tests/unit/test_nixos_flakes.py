"""A flake that is a folder: the files around it, and the copies of it that the NixOS base keeps."""

from __future__ import annotations

import os
import shutil

import pytest

from nxc_core.errors import StateError
from tests import nixos_bench
from tests.nixos_bench import THREE, Bench, bench, evaluated, standin
from tests.standin import StandIn, flake_project

__all__ = ["bench", "evaluated", "standin"]  # fixtures


def test_a_flake_sees_the_files_around_it_change(standin: StandIn, bench: Bench) -> None:
    found = nixos_bench.Bench(folder=bench.folder.parent / "repository" / "inner", standin=standin)
    source = bench.folder.parent / "source"
    source.mkdir()
    text = THREE.replace('"b"', "builtins.readFile ../common.txt")
    (source / "composition.nix").write_text(text)
    flake_project(standin, found.folder, source)
    common = found.folder.parent / "common.txt"
    common.write_text("1")
    for words in (("init", "-q"), ("add", ".")):
        standin.run("git", "-C", str(common.parent), *words)
    before, seen = found.evaluate(), found.fingerprint()
    assert (found.evaluate(), found.fingerprint()) == (before, seen)
    common.write_text("2")
    assert found.fingerprint() != seen
    assert found.evaluate().parts["beta"] != before.parts["beta"]


@pytest.fixture
def flake(bench: Bench) -> Bench:
    """The same project as a flake that no git keeps."""
    folder = bench.folder.parent / "flake"
    flake_project(bench.standin, folder, bench.folder)
    return Bench(folder=folder, standin=bench.standin)


def test_a_damaged_copy_of_a_flake_is_made_again(flake: Bench) -> None:
    before = flake.evaluate()
    cache = flake.base()._answers(flake.source, flake.op()).cache.folder
    (tree,) = (cache / "trees").iterdir()
    (tree / "composition.nix").write_text("{ roles.other = { }; }")
    (tree / "flake.nix").unlink()
    shutil.rmtree(cache / "package")
    shutil.rmtree(cache / "part")
    shutil.rmtree(cache / "reading")
    assert flake.evaluate() == before


def test_old_copies_of_a_flake_are_removed(flake: Bench) -> None:
    flake.evaluate()
    trees = flake.base()._answers(flake.source, flake.op()).cache.folder / "trees"
    (old,) = trees.iterdir()
    os.utime(old, (0, 0))
    flake.edit('"c"', '"changed"')
    flake.evaluate()
    (new,) = trees.iterdir()
    assert new != old


def test_no_room_for_a_copy_of_a_flake_is_said(flake: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (flake.folder.parent / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(flake.folder.parent / "file"))
    with pytest.raises(StateError, match="cannot be copied"):
        flake.evaluate()
