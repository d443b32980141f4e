"""Options of the Debian base: what stands for, and on top of, a setup.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from nxc_core.errors import CommandError, ConfigError
from nxc_core.options import structure_options
from nxc_debian.evaluation import explain
from nxc_debian.options import DebianOptions

TRACE = """error: while parsing a TOML string: [error] toml::parse_array: value having invalid format
        --> fromTOML
        1 | x = [
       at /nxc/nix/setup.nix:37:63:
           37|       builtins.addErrorContext "nxc: while reading ${where}" (builtins.fromTOML
       … nxc: while reading /project/setup.toml
       at /project/composition.nix:1:1:
"""


def test_parameters_reach_the_composition_as_text_or_number() -> None:
    options = structure_options(
        DebianOptions, {"setup": "dev", "setup_params": "n=10,name=a=b,empty="}, "debian"
    )
    assert options.setup_arguments() == {"variant": "dev", "params": {"n": 10, "name": "a=b", "empty": ""}}
    assert DebianOptions().setup_arguments() == {}


@pytest.mark.parametrize("text", ["n", "=1", "a b=1"])
def test_what_is_no_parameter_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not NAME=VALUE"):
        structure_options(DebianOptions, {"setup_params": text}, "debian")


def test_a_setup_that_is_no_toml_is_named() -> None:
    said = CommandError("it failed", argv=("nix-instantiate",), code=1, stderr=TRACE)
    error = explain(said, Path("/project/composition.nix"), Path("/project"))
    assert error.message.startswith("setup.toml: while parsing a TOML string")
