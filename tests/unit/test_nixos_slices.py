"""Compositions are cut only where that is safe, and what is cut belongs to one role alone."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from nxc_nixos.keys import _check_flake
from nxc_nixos.reach import Reach
from nxc_nixos.slices import NotUnderstoodError, Tokens, cut, spell, tokenize


def normal(paths: Sequence[Path]) -> Sequence[str]:
    """Have Nix parse files."""
    argv = ["nix-instantiate", "--store", "dummy://", "--parse", *map(str, paths)]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def parsed(text: str, folder: Path) -> Tokens:
    path = folder / "composition.nix"
    path.write_text(text)
    return tokenize(normal([path])[0])


GOOD = {
    "a set": "{ roles = { a = 1; b = 2; }; }",
    "a function": "{ pkgs, ... }: { roles = { a = 1; b = 2; }; }",
    "named arguments": "{ pkgs, ... }@args: { roles = { a = 1; b = 2; }; }",
    "names first": "args@{ pkgs, ... }: { roles = { a = 1; b = 2; }; }",
    "a plain argument": "args: { roles = { a = 1; b = 2; }; }",
    "let": "{ ... }: let x = { roles = 3; }; in { roles = { a = 1; b = 2; }; }",
    "with and assert": "{ pkgs }: with pkgs; assert true; { roles = { a = 1; b = 2; }; }",
    "nodes": "{ nodes = { a = 1; b = 2; }; }",
    "let within": "{ x }: { roles = let y = x; in with y; { a = 1; b = 2; }; }",
    "dotted": "{ roles.a = 1; roles.b = 2; }",
    "parentheses": "({ roles = ({ a = 1; b = 2; }); })",
    "others": "{ a = rec { roles = 1; }; roles = { a = 1; b = 2; }; testScript = ''x''; inherit (3) z; }",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_a_literal_set_of_roles_is_cut(text: str, tmp_path: Path) -> None:
    found = cut(parsed(text, tmp_path))
    assert {name: spell(tokens) for name, tokens in found.roles.items()} == {"a": "1", "b": "2"}


BAD = {
    "a recursive composition": "rec { roles = { a = 1; b = 2; }; }",
    "recursive roles": "{ roles = rec { a = 1; b = a; }; }",
    "roles from elsewhere": "{ roles = import ./roles.nix; }",
    "joined roles with let": "{ roles = let x = { a = 1; }; in x // { b = 2; }; }",
    "recursive roles with let": "{ roles = let x = 1; in rec { a = 1; b = a; }; }",
    "joined roles": "{ roles = { a = 1; } // { b = 2; }; }",
    "a function of roles": "{ helpers, ... }: { roles = helpers.makeMany 1 'a' 2; }".replace("'", '"'),
    "inherited roles": "let roles = { a = 1; }; in { inherit roles; }",
    "inherited from a set": "{ x }: { inherit (x) roles; }",
    "an inherited role": "{ a }: { roles = { inherit a; b = 2; }; }",
    "a role by a made up name": '{ n }: { roles = { "${n}" = 1; }; }',
    "a key by a made up name": '{ n }: { "${n}" = 1; roles = { a = 1; }; }',
    "a named composition": "let self = { roles = { a = 1; b = self.roles.a; }; }; in self",
    "a choice": "{ x }: if x then { roles = { a = 1; }; } else { roles = { b = 1; }; }",
    "a call": "{ x }: x { roles = { a = 1; }; }",
    "a joined composition": "{ x }: { roles = { a = 1; }; } // x",
    "both names": "{ roles = { a = 1; }; nodes = { b = 1; }; }",
    "a number": "3",
    "no roles": "{ testScript = ''x''; }",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_anything_else_is_not(text: str, tmp_path: Path) -> None:
    with pytest.raises(NotUnderstoodError):
        cut(parsed(text, tmp_path))


def test_what_no_system_depends_on_is_in_no_part_of_it(tmp_path: Path) -> None:
    def rest(roles: str, more: str) -> str:
        text = f"{{ pkgs, ... }}: let t = 1; in {{ roles = {{ {roles} }}; {more} }}"
        return spell(cut(parsed(text, tmp_path)).rest)

    same = rest("a = 1; b = 2;", "testScript = ''x'';")
    assert rest("a = 1; b = 3;", "testScript = ''y'';") == same
    assert rest("c = 1;", "rolesDistribution = { a = 2; };") == same
    assert rest("c = 1;", "dockerPorts = { }; extraVolumes = [ ];") == same
    assert rest("a = 1; b = 2;", "meta = { };") != same

    def within(value: str) -> str:
        text = f"{{ roles = let c = {value}; in {{ a = c; }}; }}"
        return spell(cut(parsed(text, tmp_path)).rest)

    assert within("1") != within("2")


STRANGE = r"""{ pkgs, lib ? null, ... }:
{
  roles.a = { config, ... }: {
    text = "quote \" brace } paren ) ${toString 3} \${kept} \\";
    more = ''
      if [ "$x" = ")" ]; then echo '}'; fi ''${kept} ''' ;
    '';
    "odd name;}" = [ (-1) (4 / 2) (! true) ({ } // { }) ({ } ? a) (config.x or 3) <nixpkgs> ];
    f = { x ? "}", y }@z: x: if x == y && z != 1 || 2 <= 3 -> true then x ++ [ ] else { inherit x; };
    url = https://example.org/a?b=c;
    path = ./a-b_c+d.nix;
    deep."x y".z = 1.5e3;
  };
  roles.b = 2;
}
"""


def test_strange_texts_end_where_they_end(tmp_path: Path) -> None:
    found = cut(parsed(STRANGE, tmp_path))
    assert spell(found.roles["b"]) == "2"
    assert spell(found.roles["a"]).endswith(")")
    assert set(found.roles) == {"a", "b"}


# Which files are read


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "role.nix": "{ imports = [ ./common.nix ./lib ]; }",
        "common.nix": "{ x = builtins.readFile ./data/motd; }",
        "lib/default.nix": "import ./inner.nix",
        "lib/inner.nix": "{ y = ../other.txt; }",
        "data/motd": "hello",
        "other.txt": "1",
        "unread.nix": "{ }",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def reach(project: Path, *, strict: bool = False) -> Reach:
    files = [str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()]
    return Reach(root=project, files=files, parse=normal, outside=[Path("/nixpkgs")], strict=strict)


def test_files_are_followed_through_files_and_folders(project: Path) -> None:
    tokens = parsed("{ imports = [ ./role.nix /nixpkgs/nixos ]; }", project)
    assert reach(project).follow(tokens) == {
        "role.nix", "common.nix", "lib/default.nix", "lib/inner.nix", "data/motd", "other.txt",
    }  # fmt: skip


def test_a_file_that_is_not_there_yet_counts(project: Path) -> None:
    tokens = parsed("{ x = if builtins.pathExists ./local.nix then import ./local.nix else { }; }", project)
    assert reach(project).follow(tokens) == {"local.nix"}


@pytest.mark.parametrize(
    "text",
    [
        'import (./lib + "/../unread.nix")',
        "import (dirOf ./lib/inner.nix)",
        "builtins.readFile ../outside",
        "import /etc/passwd",
        'import (builtins.toPath "/x")',
        "(builtins.unsafeGetAttrPos 1 2).file",
        "__curPos.file",
        "import <mine/x.nix>",
        "builtins.scopedImport { } ./role.nix",
        "import ./link.nix",
    ],
)
def test_what_may_lead_anywhere_is_not_followed(project: Path, text: str) -> None:
    (project / "link.nix").symlink_to("unread.nix")
    with pytest.raises(NotUnderstoodError):
        reach(project).follow(parsed(text, project))


def test_the_projects_own_path_in_a_text_is_not_followed(project: Path) -> None:
    with pytest.raises(NotUnderstoodError):
        reach(project).follow(parsed(f'import (/. + "{project}/unread.nix")', project))


def test_a_path_as_a_text_differs_with_the_whole_flake(project: Path) -> None:
    tokens = parsed("{ x = toString ./other.txt; y = toString 3; }", project)
    assert reach(project).follow(tokens) == {"other.txt"}
    with pytest.raises(NotUnderstoodError):
        reach(project, strict=True).follow(tokens)
    assert reach(project, strict=True).follow(parsed("{ x = ./other.txt; y = toString 3; }", project))


@pytest.mark.parametrize(
    "text",
    ["map toString [ ./other.txt ]", "let p.q = ./other.txt; in toString p.q", "{ x }: map toString x"],
)
def test_so_it_does_by_another_name(project: Path, text: str) -> None:
    tokens = parsed(text, project)
    with pytest.raises(NotUnderstoodError):
        found = reach(project, strict=True)
        found.load(["composition.nix"])
        found.follow(tokens)


FLAKE = "{ inputs.a.url = ''x''; outputs = { self, nixpkgs, ... }@inputs: let system = 1; in %s; }"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("{ packages = nixpkgs.x; y = self.packages.z; }", True),
        ("{ y = inputs.nixpkgs; }", True),
        ("{ y = self; }", False),
        ("{ y = self.outPath; }", False),
        ('{ y = "${self}/x"; }', False),
        ("{ y = self.rev; }", False),
        ("{ inherit self; }", False),
        ("{ y = inputs; }", False),
        ("{ y = inputs.self; }", False),
        ("{ y = { inherit inputs; }; }", False),
        ("{ y = with inputs; self; }", False),
    ],
)
def test_a_flake_that_uses_itself_is_not_followed(tmp_path: Path, text: str, good: bool) -> None:
    tokens = parsed(FLAKE % text, tmp_path)
    if good:
        _check_flake(tokens)
        return
    with pytest.raises(NotUnderstoodError):
        _check_flake(tokens)
