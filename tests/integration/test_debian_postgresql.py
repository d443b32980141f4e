"""PostgreSQL in systems really built: no data in them, twice the same, and settings that are checked."""

from __future__ import annotations

import re
import secrets
import tarfile
from pathlib import Path

import pytest

from nxc_core.errors import BuildError
from nxc_core.model import LAYERS, BuildRequest, Guest, Layer
from nxc_core.operation import Operation
from nxc_debian.base import DebianBase
from nxc_debian.options import DebianOptions
from tests.operations import operation_in

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

GUEST = Guest(ssh=False, kernel=False, root="container", seed="mount")


@pytest.fixture
def op(tmp_path: Path, shared_cache: Path) -> Operation:
    folder = tmp_path / ".nxc"
    folder.mkdir()
    return operation_in(folder, cache=shared_cache / "nxc")


def build(folder: Path, role: str, op: Operation) -> Layer:
    """Build a composition of one role and return the role's own layer."""
    (folder / "composition.nix").write_text(f"{{ pkgs, ... }}: {{ roles.a = {{ {role} }}; }}")
    base = DebianBase(DebianOptions())
    request = BuildRequest(composition=base.read(folder / "composition.nix", op), kind=LAYERS, guest=GUEST)
    artifact = base.build(request, op)
    return artifact.layers[artifact.roles["a"].layers[-1]]


@pytest.mark.parametrize(
    "role",
    ["services.postgresql.enable = true;", "environment.systemPackages = [ pkgs.postgresql ];"],
    ids=["service", "package"],
)
def test_a_system_with_postgresql_has_no_data_and_is_the_same_twice(
    role: str, tmp_path: Path, op: Operation
) -> None:
    """A token makes the layer nobody else's, so that it can be removed and made again."""
    role += f'environment.etc.token.text = "{secrets.token_hex(8)}";'
    first = build(tmp_path, role, op)
    with tarfile.open(first.tar) as tar:
        names = {name.removeprefix("./") for name in tar.getnames()}
    assert any(re.fullmatch(r"usr/lib/postgresql/\d+/bin/postgres", name) for name in names)
    assert "usr/local/bin/psql" in names
    assert not [name for name in names if name.startswith(("var/lib/postgresql/", "etc/postgresql/"))]
    assert not [name for name in names if "createcluster.d" in name or "snakeoil" in name]
    first.tar.unlink()
    assert build(tmp_path, role, op).digest == first.digest


def test_a_setting_that_postgresql_does_not_know_stops_the_build(tmp_path: Path, op: Operation) -> None:
    with pytest.raises(BuildError) as told:
        build(tmp_path, "services.postgresql = { enable = true; settings.max_conections = 9; };", op)
    assert "role a: runCommand `services.postgresql.settings'" in told.value.message
    assert 'unrecognized configuration parameter "max_conections"' in told.value.message
