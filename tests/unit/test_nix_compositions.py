"""Compositions for the Debian base: examples, nodes, scripts, setups, and what is refused of them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.debian_evaluator import CASES, REAL_LIB, ROOT, Document, Evaluator, nix

__all__ = ["nix"]  # fixtures

ONLY_NIXOS = {"k3s"}
EXAMPLES = sorted(
    path.parent
    for path in (ROOT / "examples").glob("*/composition.nix")
    if path.parent.name not in ONLY_NIXOS
)
BAD = tomllib.loads((CASES / "bad.toml").read_text())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_evaluate(nix: Evaluator, example: Path) -> None:
    document = nix.document(example / "composition.nix")
    assert document["schema"] == "nxc.debian.composition/1"
    assert document["testScript"].startswith("start_all()\n")
    compile(document["testScript"], str(example), "exec")
    assert set(document["rolesDistribution"]) == set(document["roles"])
    for role in document["roles"].values():
        assert role["failedAssertions"] == role["warnings"] == []
    assert (example / "README.md").exists()


@pytest.mark.parametrize("name", sorted(ONLY_NIXOS))
def test_what_only_nixos_has_is_refused_with_the_way_out(nix: Evaluator, name: str) -> None:
    done = nix.attempt(ROOT / "examples" / name / "composition.nix")
    assert done.returncode != 0
    assert "--base nixos" in done.stderr


if REAL_LIB:  # compares with nixpkgs' lib where one is given

    @pytest.mark.parametrize(
        "folder", [*EXAMPLES, CASES / "live", CASES / "shared", CASES], ids=lambda path: path.name
    )
    def test_documents_are_the_same_with_the_real_lib(nix: Evaluator, folder: Path) -> None:
        options = ("-I", f"real={REAL_LIB}", "--arg", "lib", f"import {REAL_LIB}")
        composition = folder / ("roles.nix" if folder == CASES else "composition.nix")
        assert nix.document(composition) == nix.document(composition, *options)


@pytest.mark.parametrize("name", ["live", "shared"])
def test_compositions_for_booted_machines_evaluate(nix: Evaluator, name: str) -> None:
    document = nix.document(CASES / name / "composition.nix")
    compile(document["testScript"], name, "exec")
    assert document["roles"]["server"]["failedAssertions"] == []


def test_the_four_examples_are_there() -> None:
    assert {path.name for path in EXAMPLES} >= {"basic", "webserver", "scripts", "nfs"}


# The composition


def test_nodes_stand_for_roles_and_a_role_may_be_set_function_or_path(nix: Evaluator) -> None:
    composition = nix.write(
        "{ nodes = { a = { }; b = { ... }: { }; c = ./c.nix; }; rolesDistribution.b = 3; }"
    )
    (composition.parent / "c.nix").write_text("{ pkgs, ... }: { environment.systemPackages = [ pkgs.jq ]; }")
    document = nix.document(composition)
    assert document["roles"]["c"]["packages"] == ["jq"]
    assert document["rolesDistribution"] == {"a": 1, "b": 3, "c": 1}
    assert document["testScript"] is None


def test_script_may_be_a_function_of_the_machines(nix: Evaluator) -> None:
    document = nix.document(
        """{ lib, ... }: {
          roles.a = { name, nodes, ... }: {
            environment.etc.who.text = name + toString (lib.attrNames nodes);
          };
          rolesDistribution.a = [ "x" "y" ];
          testScript = { nodes, ... }: "${toString nodes.y.services.openssh.ports}";
        }"""
    )
    assert document["testScript"] == "22"
    assert document["roles"]["a"]["files"]["etc/who"]["text"] == "ax y"


def test_keys_of_other_tools_are_ignored_with_a_warning(nix: Evaluator) -> None:
    document = nix.document("{ roles.a = { }; nspawnPorts = { }; }")
    assert "`nspawnPorts' has no effect" in document["warnings"][0]


def test_ports_and_volumes_of_a_composition_are_added_to_the_roles_own(nix: Evaluator) -> None:
    document = nix.document(
        """{
          dockerPorts.a = [ "8443:443" "80" ];
          extraVolumes = [ "/shared:/shared:ro" ];
          roles.a.nxc.container = { ports = [ 80 ]; volumes = [ "cache:/c" ]; memory = "512m"; };
          roles.b = { };
        }"""
    )
    assert document["warnings"] == []
    asked = {name: role["container"] for name, role in document["roles"].items()}
    assert asked["a"]["ports"] == ["80", "8443:443"]
    assert asked["a"]["volumes"] == ["cache:/c", "/shared:/shared:ro"]
    assert (asked["a"]["memory"], asked["a"]["cpus"], asked["a"]["pids"]) == ("512m", None, None)
    assert (asked["b"]["ports"], asked["b"]["volumes"]) == ([], ["/shared:/shared:ro"])


def test_what_a_role_asks_of_its_containers_changes_nothing_else_of_it(nix: Evaluator) -> None:
    def role(said: str) -> Document:
        found: Document = nix.document(f"{{ roles.a = {{ {said} }}; }}")["roles"]["a"]
        return found

    plain = role("")
    asking = role('nxc.container = { ports = [ "1:2" ]; cpus = 1; pids = 9; memory = "1g"; };')
    assert plain.pop("container") != asking.pop("container")
    assert plain == asking


SETUP = """
[params]
size = 1
who = "nobody"
[big.params]
size = 10
[other.build.hello]
src = "/x"
"""
ASKING = """{ setup, ... }: {
  roles.a.environment.etc.x.text = with setup; "${toString params.size} ${params.who}${project.selected}";
}"""


@pytest.mark.parametrize(
    ("head", "given", "expected"),
    [
        ("", {}, "1 nobody"),
        ('[project]\nselected = "big"\n', {}, "10 nobodybig"),
        ("", {"variant": "big"}, "10 nobodybig"),
        ('[project]\nselected = "big"\n', {"params": {"who": "ada"}}, "10 adabig"),
    ],
)
def test_a_setup_beside_the_composition_gives_parameters(
    nix: Evaluator, head: str, given: dict[str, object], expected: str
) -> None:
    composition = nix.write(ASKING)
    (composition.parent / "setup.toml").write_text(head + SETUP)
    document = nix.document(composition, "--argstr", "setup", json.dumps(given))
    assert document["roles"]["a"]["files"]["etc/x"]["text"] == expected


@pytest.mark.parametrize("composition", [ASKING, "{ roles.a = { }; }"])
def test_a_setup_that_changes_packages_is_refused(nix: Evaluator, composition: str) -> None:
    path = nix.write(composition)
    (path.parent / "setup.toml").write_text('[project]\nselected = "other"\n' + SETUP)
    done = nix.attempt(path)
    assert done.returncode != 0
    assert "setup.toml: [build] changes packages" in done.stderr
    assert "--base nixos" in done.stderr


def test_a_variant_that_is_not_there_is_refused(nix: Evaluator) -> None:
    path = nix.write(ASKING)
    options = ("--argstr", "setup", '{"variant": "bigg"}')
    assert "there is no setup.toml beside it" in nix.attempt(path, *options).stderr
    (path.parent / "setup.toml").write_text(SETUP)
    assert "there is no variant `bigg' (did you mean `big'?)" in nix.attempt(path, *options).stderr


def test_a_setup_is_not_needed(nix: Evaluator) -> None:
    text = "{ setup, ... }: { roles.a.environment.etc.x.text = toString (builtins.attrNames setup.params); }"
    assert nix.document(text)["roles"]["a"]["files"]["etc/x"]["text"] == ""
    given = ("--argstr", "setup", '{"params": {"n": 3}}')
    assert nix.document(text, *given)["roles"]["a"]["files"]["etc/x"]["text"] == "n"


def test_what_only_nixos_gives_is_refused_where_it_is_used(nix: Evaluator) -> None:
    assert nix.document("{ nur, flavour, modulesPath, helpers, ... }: { roles.a = { }; }")["roles"]["a"]
    done = nix.attempt(nix.write("{ nur, ... }: { roles.a.environment.systemPackages = [ nur.x ]; }"))
    assert "it uses `nur', which the debian base does not have; use --base nixos" in done.stderr


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_what_is_wrong(nix: Evaluator, name: str) -> None:
    done = nix.attempt(nix.write(BAD[name]["composition"]))
    assert done.returncode != 0, done.stdout
    for words in BAD[name]["says"]:
        assert words in done.stderr
