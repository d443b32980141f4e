"""setup.toml: variants, parameters, changed packages; and what is wrong in it."""

from __future__ import annotations

import json

import pytest

from tests.composing import BAD, NUR, Library, library
from tests.standin import nix_path

__all__ = ["library"]  # fixtures

SETUP = """
[project]
selected = "dev"
[params]
a = "plain"
b = 10
[override-params]
b = 11
[dev.params]
a = "of dev"
[other.params]
a = "of other"
[dev.build.hello]
src = "sources"
attrs = { FLAG = "set" }
[dev.build.tool]
deps = { first = "hello" }
args = { second = "given" }
[dev.build.nur.repos.alice.tool]
attrs = { FLAG = "by nur" }
[overrides.curl]
src = "/absolute"
FLAG = "older"
"""
TOOL = """overlays = [ (final: previous: {
  hello = final.makeOverridable { name = "hello"; };
  curl = final.makeOverridable { name = "curl"; };
  makeOverridable = attrs:
    attrs // { overrideAttrs = change: final.makeOverridable (attrs // change attrs); };
  tool = final.toolWith { first = null; second = null; };
  toolWith = arguments: arguments // { override = more: final.toolWith (arguments // more); };
}) ];"""


def test_setup_selects_parameters_and_changes_packages(library: Library) -> None:
    library.write("setup.toml", SETUP)
    script = library.value(
        f"""(one {{
             setup = folder + "/setup.toml"; {TOOL} NUR = {nix_path(NUR)};
             composition = {{ pkgs, setup, ... }}: {{
               roles.a = {{ }};
               testScript = builtins.toJSON [
                 setup.params setup.project.selected (toString pkgs.hello.src) pkgs.hello.FLAG
                 pkgs.tool.first.name pkgs.tool.second pkgs.nur.repos.bob.tool.name
                 (toString pkgs.curl.src) pkgs.curl.FLAG
               ];
             }};
           }}).nxc.read.testScript"""
    )
    assert json.loads(script) == [
        {"a": "of dev", "b": 11}, "dev", str(library.home / "sources"), "set",
        "hello", "given", "bobs-tool", "/absolute", "older",
    ]  # fmt: skip


def test_another_variant_and_parameters_on_top(library: Library) -> None:
    library.write("setup.toml", SETUP)
    found = library.value(
        """let
             composition = { setup, ... }: {
               roles.a = { };
               testScript = builtins.toJSON [ setup.params setup.project.selected ];
             };
             package = one { inherit composition; setup = folder + "/setup.toml"; };
           in map (p: p.nxc.read.testScript) [
             (package.nxc.withArguments { setupVariant = "other"; setupParams.c = true; })
             (one { inherit composition; setup.params.a = 5; })
           ]"""
    )
    assert [json.loads(one) for one in found] == [
        [{"a": "of other", "b": 11, "c": True}, "other"],
        [{"a": 5}, ""],
    ]


def test_the_setup_function_is_as_upstreams(library: Library) -> None:
    library.write("setup.toml", "[params]\na = 1\n")
    found = library.value(
        'let s = nxc.setup (folder + "/setup.toml") { lib = nxc.lib; nur = { }; }; in [ s.params s.overlays ]'
    )
    assert found == [{"a": 1}, []]


@pytest.mark.parametrize("case", BAD["setup"], ids=lambda case: case["text"].strip())
def test_what_is_wrong_in_setup_is_told_with_file_and_key(library: Library, case: dict[str, str]) -> None:
    path = library.write("setup.toml", case["text"])
    complaint = library.complaint(
        f"""(one {{
             setup = folder + "/setup.toml"; {TOOL}
             composition = {{ pkgs, setup, ... }}: {{
               roles.a = {{ }};
               testScript = builtins.toJSON [
                 setup.params (pkgs.helo or "") (pkgs.hello.src or "") (pkgs.tool.x or "")
                 (pkgs.nur.repos or "")
               ];
             }};
           }}).nxc.read.testScript"""
    )
    assert f"error: nxc: {path}: {case['told']}" in complaint
