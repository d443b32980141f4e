"""compose gives what upstream's users write for, takes what they give, and says what is amiss."""

from __future__ import annotations

import json

import pytest

from tests import guests
from tests.composing import BAD, NUR, Library, library
from tests.standin import NIX, nix_path

__all__ = ["library"]  # fixtures

STATED = sorted(
    {**json.loads((NIX / "guests.json").read_text()), **json.loads((NIX / "platforms.json").read_text())}
)


# What comes out


def test_there_is_a_package_for_every_flavour_and_an_all_in_one_of_several(library: Library) -> None:
    single, several = library.value(
        """map builtins.attrNames [
             (all { composition = folder + "/composition.nix"; })
             (all {
               compositions = { a = folder + "/composition.nix"; b = { roles.bar = { }; }; };
               flavours = [ "docker" ];
             })
           ]"""
    )
    assert single == [f"composition::{flavour}" for flavour in STATED]
    assert several == ["::docker", "a::docker", "b::docker"]


def test_the_name_of_a_single_composition_can_be_given(library: Library) -> None:
    arguments = '{ single_composition_name = "mine"; composition.roles.a = { }; flavour = "docker"; }'
    assert library.value(f"builtins.attrNames (all {arguments})") == ["mine::docker"]


def test_a_role_by_path_and_every_flavour_evaluate(library: Library) -> None:
    found = library.value(
        'builtins.mapAttrs (_: p: p.drvPath) (all { composition = folder + "/composition.nix"; })'
    )
    assert len(set(found.values())) == len(STATED)
    assert all(path.endswith("-nxc-build.json.drv") for path in found.values())


def test_the_build_document(library: Library) -> None:
    text, parts = library.value(
        """let p = one { composition.nodes = { server = { }; client = { ... }: { }; }; }; in
           [ p.out.text (builtins.mapAttrs (_: builtins.mapAttrs (_: part: part.outPath)) p.nxc.parts) ]"""
    )
    document = json.loads(text)
    assert (document["schema"], document["composition"], document["flavour"]) == (
        "nxc.nixos/1",
        "composition",
        "vm-ramdisk",
    )
    assert (document["kind"], document["system"]) == ("ramdisk", "x86_64-linux")
    assert set(document["roles"]) == {"server", "client"}
    for name, role in document["roles"].items():
        assert role["toplevel"] == parts[name]["toplevel"]
        assert role["init"] == parts[name]["toplevel"] + "/init"
        assert set(document["boot"][role["boot"]]) == {"kernel", "initrd"}
    assert set(document) == {"schema", "composition", "flavour", "kind", "system", "roles", "boot", "files"}


def test_a_container_has_no_kernel(library: Library) -> None:
    parts, text = library.value(
        """let p = (all { flavour = "docker"; composition.roles.a = { }; })."composition::docker"; in
           [ { inherit (p.nxc.parts.a) kernel initrd; } p.out.text ]"""
    )
    assert parts == {"kernel": None, "initrd": None}
    assert json.loads(text)["boot"] == {}
    assert json.loads(text)["roles"]["a"]["boot"] is None


def test_what_a_role_says_of_its_virtual_machine_is_accepted(library: Library) -> None:
    warnings = library.value(
        """(one { composition = {
             roles.a.virtualisation = { memorySize = 2048; cores = 2; };
             testScript = { nodes, ... }: builtins.toJSON nodes.a.warnings;
           }; }).nxc.read.testScript"""
    )
    assert [one.split(" has no effect")[0] for one in json.loads(warnings)] == [
        "nxc: virtualisation.cores",
        "nxc: virtualisation.memorySize",
    ]


def test_all_in_one_has_the_roles_of_all_under_their_compositions(library: Library) -> None:
    text, read, templates = library.value(
        """let p = (all {
             flavours = [ "vm-ramdisk" ];
             compositions = {
               foo.roles.a = { };
               bar = { ... }: { roles = { a = { }; b = { }; }; rolesDistribution.b = 2; };
             };
           })."::vm-ramdisk"; in [ p.out.text p.nxc.read p.nxc.templates ]"""
    )
    assert sorted(json.loads(text)["roles"]) == read["roles"] == ["bar.a", "bar.b", "foo.a"]
    assert json.loads(text)["composition"] == ""
    assert read["rolesDistribution"] == {"bar.a": 1, "bar.b": 2, "foo.a": 1}
    assert read["hosts"] == {"bar.a": "bar.a", "bar.b1": "bar.b", "bar.b2": "bar.b", "foo.a": "foo.a"}
    assert read["compositions"]["bar"]["hosts"] == {"a": "a", "b1": "b", "b2": "b"}
    assert set(templates) == set(read["roles"])


def test_what_a_composition_says_is_read_without_its_packages(library: Library) -> None:
    read = library.value(
        """(one {
             pkgs = throw "packages were forced"; evalSystem = throw "NixOS was forced";
             composition = { pkgs, ... }: {
               roles = { a = { environment.systemPackages = [ pkgs.hello ]; }; b = pkgs.x; };
               rolesDistribution.a = [ "one" "two" ]; testScript = "a script"; dockerPorts.a = [ "80:80" ];
             };
           }).nxc.read"""
    )
    assert read == {
        "schema": "nxc.nixos.composition/1",
        "name": "composition",
        "roles": ["a", "b"],
        "rolesDistribution": {"a": ["one", "two"], "b": 1},
        "hosts": {"b": "b", "one": "a", "two": "a"},
        "testScript": "a script",
        "container": {
            "a": {"ports": ["80:80"], "volumes": []},
            "b": {"ports": [], "volumes": []},
        },
        "warnings": [],
    }


def test_a_test_script_may_ask_for_a_machines_configuration(library: Library) -> None:
    script = """(one { composition = {
        roles.a.environment.etc.word.text = "a word";
        rolesDistribution.a = 2;
        testScript = { nodes, ... }: nodes.a2.environment.etc.word.text;
      }; }).nxc.read.testScript"""
    assert library.value(script) == "a word"


def test_neither_the_test_script_nor_the_distribution_is_in_anything_that_is_built(library: Library) -> None:
    first, second, third = library.value(
        """let
             make = more: { inherit (one { composition = { roles.a = { }; } // more; }) drvPath outPath; };
           in [ (make { }) (make { testScript = "a.succeed('true')"; rolesDistribution.a = 7; })
                (make { roles.a = { environment.etc.x.text = ""; }; }) ]"""
    )
    assert first == second
    assert first != third


# What is given


def test_what_a_compositions_function_may_ask_for(library: Library) -> None:
    script = library.value(
        """(one {
             composition = { pkgs, lib, system, modulesPath, helpers, flavour, setup, nur }: {
               roles.a = { };
               testScript = builtins.toJSON {
                 inherit system modulesPath; flavour = flavour.name; setup = setup.params;
                 set = builtins.isAttrs nur; many = builtins.attrNames (helpers.makeMany { } "n" 2);
                 lib = lib ? mkIf; package = pkgs ? hello;
               };
             };
           }).nxc.read.testScript"""
    )
    assert json.loads(script) == {
        "system": "x86_64-linux",
        "modulesPath": f"{library.nixpkgs}/nixos",
        "flavour": "vm-ramdisk",
        "setup": {},
        "set": True,
        "many": ["n1", "n2"],
        "lib": True,
        "package": True,
    }


def test_nixpkgs_may_be_a_path_a_flake_or_a_text(library: Library) -> None:
    first, *others = library.value(
        """map (given: (one { nixpkgs = given; composition.roles.a = { }; }).drvPath) [
             nixpkgs
             (toString nixpkgs)
             { outPath = nixpkgs; }
             {
               outPath = toString nixpkgs;
               lib = import (nixpkgs + "/lib");
               legacyPackages.x86_64-linux = throw "not needed";
             }
           ]"""
    )
    assert others == [first] * 3


def test_every_part_of_nixpkgs_can_be_another(library: Library) -> None:
    first, second = library.value(
        """let
             lib = import (nixpkgs + "/lib");
             parts = {
               inherit lib; nixpkgs = null; pkgs = import nixpkgs { system = "x86_64-linux"; };
               composition.roles.a = { }; flavour = "docker"; system = "x86_64-linux";
             };
             real = import (nixpkgs + "/nixos/lib/eval-config.nix");
             more = { environment.etc.mine.text = ""; };
             mine = arguments: real (arguments // { modules = arguments.modules ++ [ more ]; });
             package = evalSystem: (nxc.compose (parts // { inherit evalSystem; }))."composition::docker";
           in map (evalSystem: (package evalSystem).drvPath) [ real mine ]"""
    )
    assert first != second


def test_modules_for_every_role_reach_every_role(library: Library) -> None:
    script = """(one {
        extraConfigurations = [ (folder + "/role.nix") ({ ... }: { environment.etc.more.text = "more"; }) ];
        composition = {
          roles = { a = { }; b = { }; };
          testScript = { nodes, ... }: builtins.toJSON (
            builtins.mapAttrs (_: n: n.environment.etc.byPath.text + n.environment.etc.more.text) nodes
          );
        };
      }).nxc.read.testScript"""
    assert json.loads(library.value(script)) == {"a": "yesmore", "b": "yesmore"}


def test_user_repositories_give_packages_and_modules(library: Library) -> None:
    script = f"""let
        composition = {{ pkgs, nur, ... }}: {{
          roles.a = {{ imports = [ nur.repos.alice.modules.greeting ]; }};
          testScript = {{ nodes, ... }}:
            "${{pkgs.nur.repos.alice.tool.name}} ${{nodes.a.environment.etc.greeting.text}}";
        }};
        NUR = {nix_path(NUR)};
        read = arguments: (one ({{ inherit composition; }} // arguments)).nxc.read.testScript;
      in [
        (read {{ inherit NUR; }})
        (read {{ nur = nxc.nur {{ inherit nixpkgs NUR; system = "x86_64-linux"; }}; }})
        (read {{ inherit NUR; repoOverrides.alice = folder + "/alice.nix"; }})
      ]"""
    library.write(
        "alice.nix",
        '{ pkgs }: { tool.name = "an override"; modules.greeting.environment.etc.greeting.text = "mine"; }',
    )
    assert library.value(script) == [
        "alices-tool hello from alice",
        "alices-tool hello from alice",
        "an override mine",
    ]


def test_flavours_may_be_chosen_and_described(library: Library) -> None:
    library.write("flavours.nix", '{ third = { kind = "closure"; guest.kernel = false; }; }')
    found = library.value(
        """let names = arguments: builtins.attrNames (all (arguments // { composition.roles.a = { }; })); in [
             (names { flavour = "docker"; })
             (names { flavour = { name = "mine"; kind = "ramdisk"; }; })
             (names { flavours = [ "vm" "docker" ]; })
             (names { flavours = { own = { kind = "ramdisk"; }; docker = { }; }; })
             (names { flavours = folder + "/flavours.nix"; })
           ]"""
    )
    assert found == [
        ["composition::docker"],
        ["composition::mine"],
        ["composition::docker", "composition::vm"],
        ["composition::docker", "composition::own"],
        ["composition::third"],
    ]


def test_a_flavours_guest_and_module_reach_the_systems(library: Library) -> None:
    script = library.value(
        """(all {
             flavours.own = {
               kind = "ramdisk";
               guest = { console = "ttyS7"; lean = true; };
               module.environment.etc.mine.text = "flavour";
             };
             composition = {
               roles.a = { };
               testScript = { nodes, ... }:
                 builtins.toJSON [ nodes.a.nxc.guest nodes.a.environment.etc.mine.text ];
             };
           })."composition::own".nxc.read.testScript"""
    )
    guest, text = json.loads(script)
    assert (guest["console"], guest["lean"], guest["root"], text) == ("ttyS7", True, "tmpfs", "flavour")


def test_a_package_gives_that_of_another_guest(library: Library) -> None:
    known, anew, other, third = library.value(
        """let
             packages = all { composition.roles.a = { }; };
             inherit (packages."composition::vm-ramdisk".nxc) withGuest;
           in [
             packages."composition::vm".drvPath
             (withGuest { flavour = "vm"; inherit (nxc.flavours.vm) kind guest; }).drvPath
             (withGuest { flavour = "vm"; guest = nxc.flavours.vm.guest // { console = "ttyS1"; }; }).drvPath
             (withGuest { flavour = "third"; kind = "closure"; guest.kernel = false; }).drvPath
           ]"""
    )
    assert known == anew
    assert len({known, other, third}) == 3


def test_a_package_is_assembled_from_derivations_that_others_evaluated(library: Library) -> None:
    whole, assembled = library.value(
        """let
             p = roles { a = { }; b = { environment.etc.b.text = ""; }; };
             imported = drv: { type = "derivation"; inherit (drv) name drvPath outPath; };
             parts = builtins.mapAttrs (_: builtins.mapAttrs (_: imported)) p.nxc.parts;
           in map (p: p.drvPath) [ p (p.nxc.assemble parts) ]"""
    )
    assert whole == assembled
    assert "was given no parts of `b'" in library.complaint(
        "let p = roles { a = { }; b = { }; }; in (p.nxc.assemble { inherit (p.nxc.parts) a; }).drvPath"
    )


def test_helpers(library: Library) -> None:
    assert library.value(
        """[
             (nxc.makeMany 7 "n" 2) (nxc.makeMany 7 "n" 0) (nxc.makeManyById (id: id * 10) "n" 2)
             (nxc.mapListToAttrs (x: { ${x} = x + "-2"; }) [ "a" "b" ])
             (nxc.mapAttrNamesToAttrs (x: { ${x} = x + "-2"; }) { a = 1; })
             (nxc.mapAttrsToAttrs (n: v: { ${n + "2"} = v + 1; }) { a = 1; b = 2; })
           ]"""
    ) == [
        {"n1": 7, "n2": 7},
        {},
        {"n1": 10, "n2": 20},
        {"a": "a-2", "b": "b-2"},
        {"a": "a-2"},
        {"a2": 2, "b2": 3},
    ]


def test_guests_are_what_the_plugins_state() -> None:
    assert guests.FILE.read_text() == guests.text(), "`./task guests' writes it anew"
    waiting = json.loads((NIX / "platforms.json").read_text())
    assert not set(waiting) & set(guests.stated()), (
        "these have a plugin now: take them out of nix/platforms.json"
    )


# What is amiss


@pytest.mark.parametrize("case", BAD["call"], ids=lambda case: case["expression"])
def test_what_is_amiss_is_told(library: Library, case: dict[str, str]) -> None:
    for name in ("nixos/lib/eval-config.nix", "lib/minver.nix"):
        path = library.home / "newer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('"99.1"')
    complaint = library.complaint(case["expression"])
    error = next(line for line in complaint.splitlines() if line.startswith("error: "))
    assert error.startswith("error: nxc: ")
    assert case["told"] in error
