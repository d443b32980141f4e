"""What the NixOS base cannot keep, and what its fingerprint follows: flags, nixpkgs, what is impure."""

from __future__ import annotations

import shutil

import pytest

from nxc_core.errors import ConfigError
from tests.nixos_bench import ALL, GUEST, RAMDISK, Bench, bench, evaluated, standin

__all__ = ["bench", "evaluated", "standin"]  # fixtures


def test_what_the_users_flags_let_in_is_not_kept(bench: Bench) -> None:
    more = bench.folder.parent / "more"
    more.mkdir()
    (more / "x.nix").write_text('"1"')
    bench.options["flags"] = f"-I more={more}"
    bench.edit('"b"', "import <more/x.nix>")
    before = bench.evaluate()
    (more / "x.nix").write_text('"2"')
    assert bench.evaluate().parts["beta"] != before.parts["beta"]
    assert bench.fingerprint() != bench.fingerprint()


def test_flags_that_turn_nix_into_something_else_are_said(bench: Bench) -> None:
    bench.options["flags"] = "--xml"
    with pytest.raises(ConfigError, match="printed no JSON"):
        bench.evaluate()


def test_the_commit_of_nixpkgs_is_part_of_it(bench: Bench) -> None:
    head = bench.standin.nixpkgs / ".git" / "HEAD"
    head.parent.mkdir()
    before = bench.fingerprint()
    try:
        head.write_text("0" * 40)
        assert bench.fingerprint() != before
    finally:
        shutil.rmtree(head.parent)


def test_what_is_impure_is_so_without_a_cache(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.folder.parent / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(bench.folder.parent / "file"))
    bench.edit('"b"', "toString builtins.currentTime")
    base, op = bench.base(), bench.op()
    base.examine(bench.request(base, op), op)
    recorded = base.fingerprint(bench.source, RAMDISK, GUEST, op)
    assert bench.fingerprint() != recorded


def test_the_fingerprint_follows_what_may_change_the_result(bench: Bench) -> None:
    before = bench.fingerprint()
    assert bench.fingerprint() == before
    bench.edit('"b"', '"other"')
    changed = bench.fingerprint()
    assert changed != before
    (bench.standin.nixpkgs / "new-file").write_text("")
    try:
        assert bench.fingerprint() != changed, "nixpkgs outside a store is looked through"
    finally:
        (bench.standin.nixpkgs / "new-file").unlink()
    bench.options["setup_params"] = ("a=1",)
    assert bench.fingerprint() != changed
    bench.options = {**bench.options, "setup_params": (), "jobs": 7, "show_trace": True}
    shown = bench.fingerprint()
    assert bench.fingerprint() == shown, "how a thing is evaluated does not count"


# What cannot be digested


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('builtins.getEnv "HOME"', "getEnv in composition.nix"),
        ("toString builtins.currentTime", "currentTime in composition.nix"),
        ('builtins.readFile "/etc/hostname"', "access to absolute path '/etc/hostname'"),
        ("builtins.readFile ../outside.txt", "outside.txt is outside the project"),
        ('if builtins.pathExists ../outside.txt then "y" else "n"', "outside.txt is outside the project"),
        ("builtins.readFile ./.git/refs/heads/main", "which git or a tool keeps"),
        ('builtins.readFile (./. + "/.git/refs/heads/main")', "which git or a tool keeps"),
        ("toString __currentTime", "currentTime in composition.nix"),
        (
            "let inherit (builtins) fetchurl; in toString (builtins.isNull fetchurl)",
            "fetchurl in composition.nix",
        ),
    ],
)
def test_what_is_impure_is_evaluated_each_time_with_a_word(bench: Bench, text: str, told: str) -> None:
    (bench.folder.parent / "outside.txt").write_text("out")
    (bench.folder / ".git/refs/heads").mkdir(parents=True)
    (bench.folder / ".git/refs/heads/main").write_text("1")
    bench.edit('"b"', text)
    bench.evaluate()
    assert any(told in warning for warning in bench.warnings()), bench.warnings()
    assert "beta" in bench.roles()
    bench.evaluate()
    assert bench.roles() == ALL, "nothing of it is kept"
    assert bench.fingerprint() != bench.fingerprint()


def test_pure_refuses_what_is_impure(bench: Bench) -> None:
    bench.options["pure"] = True
    bench.edit('"b"', 'builtins.readFile "/etc/hostname"')
    with pytest.raises(ConfigError) as told:
        bench.evaluate()
    assert "/etc/hostname" in told.value.message


def test_the_environment_is_not_seen_unless_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "seen")
    bench.edit('"b"', '(import ./hidden.nix) ("get" + "Env") "MINE"')
    (bench.folder / "hidden.nix").write_text("name: builtins.${name}")
    assert bench.evaluate() == (pure := bench.evaluate())
    bench.options["impure"] = True
    free = bench.evaluate()
    assert free.parts["beta"] != pure.parts["beta"]
    assert free.parts["alpha"] == pure.parts["alpha"]
