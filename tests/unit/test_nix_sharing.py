"""What the roles of a composition share: one set of packages, overlays, and evaluations of a module."""

from __future__ import annotations

import pytest

from tests.composing import Library, library

__all__ = ["library"]  # fixtures

TRACED = 'overlays = [ (_: _: builtins.trace "a set of packages" { }) ];'


def test_all_roles_of_a_composition_have_one_set_of_packages(library: Library) -> None:
    roles = "roles = { a = { }; b = { ... }: { }; c = ./role.nix; };".replace("./", "folder + /")
    assert (
        library.traces(f"(one {{ {TRACED} composition = {{ {roles} }}; }}).drvPath", "a set of packages") == 1
    )


def test_overlays_for_every_role_are_taken_into_the_shared_set(library: Library) -> None:
    count = library.traces(
        """let p = one {
             extraConfigurations = [
               { nixpkgs.overlays = [ (_: _: builtins.trace "a set of packages" { word = "a module's"; }) ]; }
             ];
             composition = { pkgs, ... }: { roles = {
               a = { pkgs, ... }: { environment.etc.word.text = pkgs.word; };
               b = { environment.etc.word.text = pkgs.word; };
             }; };
           }; in p.drvPath""",
        "a set of packages",
    )
    assert count == 1


@pytest.mark.parametrize(
    "own",
    [
        "nixpkgs.config.word = true;",
        "nixpkgs.overlays = [ (_: previous: { word = previous.word + 1; }) ];",
        'nixpkgs.hostPlatform = "x86_64-linux";',
    ],
)
def test_a_roles_own_packages_are_its_own_and_have_the_compositions_overlays(
    library: Library, own: str
) -> None:
    count = library.traces(
        f"""let p = one {{
             overlays = [ (_: _: builtins.trace "a set of packages" {{ word = 1; }}) ];
             composition.roles = {{
               a = {{ pkgs, ... }}: {{ {own} environment.etc.word.text = toString pkgs.word; }};
               b = {{ pkgs, ... }}: {{ environment.etc.word.text = toString pkgs.word; }};
             }};
           }}; in p.drvPath""",
        "a set of packages",
    )
    assert count == 2


def test_overlays_of_a_role_are_applied_after_those_of_the_composition(library: Library) -> None:
    script = """(one {
        overlays = [ (_: _: { word = "composition"; }) ];
        composition = {
          roles = {
            a = { pkgs, ... }: {
              nixpkgs.overlays = [ (_: previous: { word = previous.word + ", role"; }) ];
              environment.etc.word.text = pkgs.word;
            };
            b = { pkgs, ... }: {
              nixpkgs.config.mine = true;
              nixpkgs.overlays = [ (_: previous: { word = previous.word + ", role"; }) ];
              environment.etc.word.text = pkgs.word;
            };
          };
          testScript = { nodes, ... }:
            "${nodes.a.environment.etc.word.text}; ${nodes.b.environment.etc.word.text}";
        };
      }).nxc.read.testScript"""
    assert library.value(script) == "composition, role; composition, role"


def test_unfree_packages_are_for_a_role_or_for_all_to_allow(library: Library) -> None:
    def package(own: str = "", of_all: str = "") -> str:
        return f"""(one {{
            {of_all}
            composition.roles.a = {{ pkgs, ... }}: {{
              {own}
              environment.systemPackages = [
                (pkgs.runCommand "secret" {{ meta.license = {{ free = false; }}; }} "")
              ];
            }};
          }}).drvPath"""

    assert "unfree" in library.complaint(package())
    library.value(package(own="nixpkgs.config.allowUnfree = true;"))
    library.value(package(of_all="config.allowUnfree = true;"))


def test_a_configuration_for_all_is_the_compositions_packages_too(library: Library) -> None:
    script = """(one {
        config.mine = 5;
        composition = { pkgs, ... }: { roles.a = { }; testScript = toString pkgs.config.mine; };
      }).nxc.read.testScript"""
    assert library.value(script) == "5"


COUNTED = '{ ... }: builtins.trace "a role" { }'


@pytest.mark.parametrize(
    ("roles", "evaluated", "templates"),
    [
        ('helpers.makeMany node "node" 3', 1, {"node1": "node1", "node2": "node1", "node3": "node1"}),
        (
            '{ x = node; y = { ... }: builtins.trace "a role" { }; z = node; }',
            2,
            {"x": "x", "y": "y", "z": "x"},
        ),
        ('helpers.makeManyById (_: { ... }: builtins.trace "a role" { }) "n" 2', 2, {"n1": "n1", "n2": "n2"}),
        ("{ p = folder + /role.nix; q = folder + /role.nix; }", 0, {"p": "p", "q": "p"}),
        ("{ s = { }; t = { }; }", 0, {"s": "s", "t": "t"}),
    ],
)
def test_roles_that_are_one_module_are_evaluated_once(
    library: Library, roles: str, evaluated: int, templates: dict[str, str]
) -> None:
    package = f"one {{ composition = {{ helpers, ... }}: let node = {COUNTED}; in {{ roles = {roles}; }}; }}"
    assert library.traces(f"({package}).drvPath", "a role") == evaluated
    assert library.value(f"({package}).nxc.templates") == templates


def test_templates_are_known_without_looking_into_sets(library: Library) -> None:
    assert library.value(
        '(roles { a = { x = throw "looked"; }; b = { x = throw "looked"; }; }).nxc.templates'
    ) == {"a": "a", "b": "b"}


def test_a_system_does_not_know_the_name_of_its_role_or_composition(library: Library) -> None:
    first, second = library.value(
        """map (p: p.drvPath) [
             (system (roles { a = { }; }) "a")
             (system (all { compositions = { x.roles.b = { }; }; })."x::vm-ramdisk" "b")
           ]"""
    )
    assert first == second
