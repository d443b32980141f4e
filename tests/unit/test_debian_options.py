"""Options of the Debian base: what stands for, and on top of, a setup.toml."""

from __future__ import annotations

import pytest

from nxc_core.errors import ConfigError
from nxc_core.options import structure_options
from nxc_debian.options import DebianOptions


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
