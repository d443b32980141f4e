"""What goes into a role's layer, and what its key depends on."""

from __future__ import annotations

from pathlib import Path

from nxc_debian import specs
from nxc_debian.aterm import Derivation
from nxc_debian.specs import Spec

BASE = Spec(make="base", title="the base system", key="0" * 64)
SYSTEM = {"files": {}, "sources": ["/nix/store/b-own"], "derivations": ["/nix/store/d-script.drv"]}


def role(*sources: str) -> Spec:
    script = Derivation(path="/nix/store/d-script.drv", out="/nix/store/o-script", sources=sources)
    return specs.role_spec(BASE, "server", SYSTEM, [], [script], Path("/nowhere"))


def test_a_file_that_only_a_script_mentions_goes_with_the_role() -> None:
    assert role().task["system"]["sources"] == ["/nix/store/b-own"]
    found = role("/nix/store/a-data", "/nix/store/b-own")
    assert found.task["system"]["sources"] == ["/nix/store/a-data", "/nix/store/b-own"]
    assert found.key != role().key
