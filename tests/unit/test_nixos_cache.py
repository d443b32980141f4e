"""What the NixOS base evaluates again, and what it does not: roles are counted, not seconds."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from nxc_core.model import Container, Guest, Kind
from nxc_nixos import nix
from tests.nixos_bench import ALL, GUEST, RAMDISK, THREE, Bench, bench, evaluated, standin

__all__ = ["bench", "evaluated", "standin"]  # fixtures


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


# What is not there any more


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
