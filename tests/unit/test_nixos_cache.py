"""What the NixOS base evaluates again, and what it does not: roles are counted, not seconds."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from nxc_core.errors import ConfigError, StateError
from nxc_core.model import Container, Guest, Kind
from nxc_nixos import nix
from tests import nixos_bench
from tests.nixos_bench import GUEST, RAMDISK, THREE, Bench
from tests.standin import StandIn, flake_project, set_variables, stand_in

ALL = ["alpha", "beta", "gamma"]


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return stand_in(tmp_path_factory.mktemp("standin"))


@pytest.fixture
def bench(standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A project of three roles, evaluated once."""
    set_variables(monkeypatch, standin.variables())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = nixos_bench.plain(standin, tmp_path / "project")
    found.evaluate()
    assert found.roles() == ALL
    return found


def test_nothing_changed_evaluates_nothing(bench: Bench) -> None:
    before = bench.evaluate()
    assert (bench.roles(), bench.evaluate().package) == ([], before.package)


def test_comments_and_spaces_evaluate_nothing(bench: Bench) -> None:
    before = bench.evaluate()
    bench.edit("# a comment", "# another\n\n")
    assert (bench.evaluate(), bench.roles()) == (before, [])


def test_the_test_script_evaluates_nothing(bench: Bench) -> None:
    before = bench.evaluate()
    bench.edit("succeed('true')", "fail('false')")
    bench.edit("testScript", "rolesDistribution = { beta = 3; };\n  testScript")
    assert (bench.evaluate(), bench.roles()) == (before, [])
    found = bench.read()
    assert found.test_script == "alpha.fail('false')"
    assert [role.count for role in found.roles] == [1, 3, 1]


def test_another_port_evaluates_one_role_at_most_and_builds_nothing(bench: Bench) -> None:
    """What is asked of containers is in no derivation; what the composition says of it, in no role."""

    def containers() -> dict[str, Container]:
        base, op = bench.base(), bench.op()
        examined = base.examine(bench.request(base, op), op)
        return {role.name: role.container for role in examined.roles}

    before = bench.evaluate()
    assert containers()["alpha"] == Container()
    bench.edit("testScript", 'dockerPorts.alpha = [ "80:80" ];\n  extraVolumes = [ "/x:/y" ];\n  testScript')
    assert (bench.evaluate(), bench.roles()) == (before, [])
    asked = containers()
    assert asked["alpha"] == Container(ports=("80:80",), volumes=("/x:/y",))
    assert asked["beta"] == Container(volumes=("/x:/y",))
    bench.edit("alpha = { ... }: {", "alpha = { ... }: { nxc.container = { ports = [ 443 ]; cpus = 1; };")
    assert bench.evaluate().package == before.package
    assert bench.roles() == ["alpha"]
    assert containers()["alpha"] == Container(ports=("443", "80:80"), volumes=("/x:/y",), cpus=1)
    assert bench.roles() == [], "and it is kept"


def test_one_role_of_ten_evaluates_one(bench: Bench) -> None:
    roles = "\n".join(f'r{i} = {{ ... }}: {{ environment.etc."x".text = "{i}"; }};' for i in range(10))
    bench.source.write_text(f"{{ ... }}:\n{{ roles = {{ {roles} }}; testScript = ''; }}".replace("''", '""'))
    first = bench.evaluate()
    assert len(bench.roles()) == 10
    bench.edit('text = "7"', 'text = "changed"')
    second = bench.evaluate()
    assert bench.roles() == ["r7"]
    differing = {role for role in first.parts if first.parts[role] != second.parts[role]}
    assert differing == {"r7"}
    shutil.rmtree(Path(bench.base()._answers(bench.source, bench.op()).cache.folder))
    assert bench.evaluate() == second, "from nothing, the same comes out"


def test_a_new_role_evaluates_it_alone(bench: Bench) -> None:
    bench.edit("alpha = ", "delta = { }; alpha = ")
    found = bench.evaluate()
    assert (set(found.parts), bench.roles()) == ({*ALL, "delta"}, ["delta"])
    bench.edit("delta = { }; ", "")
    assert set(bench.evaluate().parts) == set(ALL)
    assert bench.roles() == []


def test_what_roles_share_evaluates_all(bench: Bench) -> None:
    bench.edit('"secret"', '"other"')
    bench.evaluate()
    assert bench.roles() == ALL


def test_another_guest_evaluates_all(bench: Bench) -> None:
    bench.evaluate(guest=Guest(console="ttyS7"))
    assert bench.roles() == ALL
    bench.evaluate(kind=Kind("rootfs-tar"))
    assert bench.roles() == ALL


def test_a_role_by_path_depends_on_its_file_alone(bench: Bench) -> None:
    (bench.folder / "beta.nix").write_text("{ ... }: { imports = [ ./more ]; }")
    (bench.folder / "more").mkdir()
    (bench.folder / "more" / "default.nix").write_text('{ environment.etc."m".source = ../data.txt; }')
    (bench.folder / "data.txt").write_text("1")
    bench.edit('beta = { ... }: { environment.etc."beta".text = "b"; };', "beta = ./beta.nix;")
    bench.evaluate()
    assert bench.roles() == ["beta"]
    (bench.folder / "data.txt").write_text("2")
    bench.evaluate()
    assert bench.roles() == ["beta"]
    (bench.folder / "more" / "new.nix").write_text("{ }")
    bench.evaluate()
    assert bench.roles() == ["beta"], "a folder is one with all that is in it"
    (bench.folder / "README.md").write_text("nobody reads it")
    bench.evaluate()
    assert bench.roles() == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("roles = {", "roles = rec {", "a rec set's roles see each other"),
        ("in\n{", "self = {", "the set has a name"),
        ("roles = {", "roles = { } // {", "the set is made of several"),
    ],
)
def test_what_is_not_understood_is_evaluated_whole(bench: Bench, old: str, new: str, why: str) -> None:
    text = THREE.replace(old, new)
    bench.source.write_text(text + ("; in self" if "self" in new else ""))
    bench.evaluate()
    bench.roles()
    bench.edit('text = "b"', 'text = "other"')
    bench.evaluate()
    assert bench.roles() == ALL, why


@pytest.mark.parametrize(
    "expression",
    [
        'builtins.readFile (./. + "/data.txt")',
        'builtins.readFile (dirOf ./sub/x + "/../data.txt")',
        'builtins.readFile (./sub + "/../data.txt")',
        'builtins.readFile (@folder@ + "/data.txt")',
        "toString (builtins.attrNames (builtins.readDir ./.)) + builtins.readFile ./data.txt",
        "(import ./reader.nix)",
        'builtins.readFile (./data + ".txt")',
        'builtins.readFile (./dat${"a"}.txt)',
        'let d = ./data; in builtins.readFile (d + ".txt")',
        'builtins.readFile (./sub + ("/." + "./data.txt"))',
        "builtins.readFile (builtins.head (builtins.fromJSON (builtins.readFile ./names.json)))",
        "builtins.readFile (./sub + builtins.fromJSON (builtins.readFile ./way.json))",
        'builtins.readFile (builtins.findFile builtins.nixPath "nxc-allowed/data.txt")',
    ],
)
def test_a_file_that_a_role_reads_is_seen_to_change(bench: Bench, expression: str) -> None:
    (bench.folder / "sub").mkdir()
    (bench.folder / "sub" / "x").write_text("")
    (bench.folder / "data.txt").write_text("1")
    (bench.folder / "reader.nix").write_text("builtins.readFile ./data.txt")
    (bench.folder / "way.json").write_text('"/../data.txt"')
    (bench.folder / "names.json").write_text(f'["{bench.folder}/data.txt"]')
    bench.edit('"b"', expression.replace("@folder@", f'/. + "{bench.folder}"'))
    before = bench.evaluate()
    bench.roles()
    (bench.folder / "data.txt").write_text("2")
    after = bench.evaluate()
    assert "beta" in bench.roles()
    assert before.parts["beta"] != after.parts["beta"]


@pytest.mark.parametrize(
    ("text", "parameter"),
    [('"${pkgs.hello}"', "x=1"), ("builtins.readFile setup.params.file", "file=@folder@/data/file")],
)
def test_files_that_parameters_name_are_seen_to_change(bench: Bench, text: str, parameter: str) -> None:
    data = bench.folder / "data" / "file"
    data.parent.mkdir()
    data.write_text("1")
    (bench.folder / "setup.toml").write_text('[build.hello]\nsrc = "data"\n' if "hello" in text else "")
    bench.edit('"b"', text)
    bench.edit("{ pkgs, ... }", "{ pkgs, setup, ... }")
    bench.options["setup_params"] = (parameter.replace("@folder@", str(bench.folder)),)
    before = bench.evaluate()
    data.write_text("2")
    assert bench.evaluate().parts["beta"] != before.parts["beta"]


def test_an_empty_folder_is_seen_to_come(bench: Bench) -> None:
    (bench.folder / "sub").mkdir()
    bench.edit('"b"', "toString (builtins.attrNames (builtins.readDir ./sub))")
    before, seen = bench.evaluate(), bench.fingerprint()
    (bench.folder / "sub" / "new").mkdir()
    assert bench.fingerprint() != seen
    assert bench.evaluate().parts["beta"] != before.parts["beta"]


def test_an_edit_during_the_evaluation_is_not_kept_as_what_was_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bench.folder / "data.txt"
    data.write_text("1")
    bench.edit('"b"', "builtins.readFile ./data.txt")
    before = bench.evaluate()
    bench.edit('"c"', '"changed"')
    data.write_text("3")
    evaluate = nix.evaluate

    def edited(*arguments: Any, **named: Any) -> Any:
        data.write_text("2")
        return evaluate(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(nix, "evaluate", edited)
        bench.evaluate()
    assert any("was edited while" in warning for warning in bench.warnings())
    data.write_text("3")
    other = bench.evaluate()
    data.write_text("1")
    assert bench.evaluate().parts["beta"] == before.parts["beta"] != other.parts["beta"]
    data.write_text("2")
    assert bench.evaluate().parts["beta"] != other.parts["beta"]


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


def test_a_derivation_that_was_collected_is_written_again(bench: Bench) -> None:
    found = bench.evaluate()
    gone = bench.standin.physical(found.parts["beta"].paths[0])
    gone.chmod(0o644)
    bench.standin.run("nix-store", "--delete", "--ignore-liveness", *sorted(_above(bench, found.package)))
    assert not gone.exists()
    assert bench.evaluate() == found
    assert "beta" in bench.roles()
    assert gone.exists()


def test_a_derivation_that_is_there_and_unknown_to_nix_is_written_again(bench: Bench) -> None:
    found = bench.evaluate()
    database = sqlite3.connect(bench.standin.store / "nix/var/nix/db/db.sqlite")
    with contextlib.closing(database), database:
        database.execute("delete from Refs")
        for path in (found.package, *found.parts["beta"].paths):
            database.execute("delete from ValidPaths where path = ?", (path,))
    assert bench.standin.physical(found.package).exists()
    assert bench.evaluate() == found
    bench.standin.run("nix-store", "--check-validity", found.package, *found.parts["beta"].paths)


def _above(bench: Bench, package: str) -> set[str]:
    beta = bench.evaluate().parts["beta"].paths[0]
    up = bench.standin.run("nix-store", "--query", "--referrers-closure", beta).split()
    return {beta, package, *up}


def test_a_collected_result_makes_another_fingerprint(bench: Bench) -> None:
    base, op = bench.base(), bench.op()
    artifact = base.build(bench.request(base, op), op)
    assert base.fingerprint(bench.source, RAMDISK, GUEST, op) == bench.fingerprint()
    made = next(boot.initrd for boot in artifact.roles.values())
    assert made is not None
    assert base.fingerprint(bench.source, RAMDISK, GUEST, op) == bench.fingerprint()
    (op.dir / "outputs.json").write_text('["/nix/store/gone"]')
    assert base.fingerprint(bench.source, RAMDISK, GUEST, op) != bench.fingerprint()


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


# A flake that is a folder of a repository


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


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"schema": "nxc.nixos.cache/2", "value": {}}'])
def test_a_damaged_cache_is_none(bench: Bench, text: str) -> None:
    before = bench.evaluate()
    bench.roles()
    for path in bench.base()._answers(bench.source, bench.op()).cache.folder.rglob("*.json"):
        path.write_text(text)
    assert (bench.evaluate(), bench.roles()) == (before, ALL)


def test_a_systems_name_may_be_no_word_of_nix(bench: Bench) -> None:
    bench.edit('environment.etc."beta"', 'system.name = "a=b"; environment.etc."beta"')
    found = bench.evaluate()
    assert "a=b" in str(found.parts["beta"].derivations["toplevel"])


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
