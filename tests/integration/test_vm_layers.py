"""Machines whose system is on disks that all of them share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.errors import ConfigError, DeployError
from nxc_core.session import Session

pytestmark = [pytest.mark.live, pytest.mark.full, pytest.mark.timeout(1200)]

BASIC = Path(__file__).parents[2] / "examples" / "basic"


@pytest.fixture
def session(cached: Path, tmp_path: Path) -> Iterator[Session]:
    shutil.copytree(BASIC, tmp_path / "basic", ignore=shutil.ignore_patterns(".nxc"))
    yield Session.open(tmp_path / "basic")


def test_a_role_has_its_layers_alone_and_cannot_write_them(session: Session) -> None:
    source = session.workspace.project / "composition.nix"
    with session.up(source, flavour="vm", roles={"foo": 2, "bar": 0}) as running:
        artifact = session.build(source, flavour="vm").artifact
        wanted = {artifact.layers[name].digest[:20] for name in artifact.roles["foo"].layers}
        squashed = [artifact.layers[name].squashfs for name in artifact.roles["foo"].layers]
        for node in running.values():
            assert (
                set(node.succeed("for file in /sys/block/vd*/serial; do cat $file; echo; done").split())
                == wanted
            )
            assert set(node.succeed("cat /sys/block/vd*/ro").split()) == {"1"}
            node.fail("dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=notrunc,fsync")
            assert node.succeed("findmnt -no FSTYPE /").strip() == "overlay"
            node.succeed("echo more > /usr/more && rm /usr/bin/env")
            assert node.succeed("systemctl list-units --state=failed --plain --no-legend").strip() == ""
    assert all(path is not None and path.exists() for path in squashed)


def test_a_disk_that_is_not_there(session: Session) -> None:
    source = session.workspace.project / "composition.nix"
    words = "-append 'console=ttyS0 nxc.role=foo nxc.layers=0123456789'"
    with (
        pytest.raises(DeployError) as caught,
        session.up(source, flavour="vm", roles={"foo": 1, "bar": 0}, options={"vm": {"qemu_args": words}}),
    ):
        pass
    assert "there is no disk 0123456789, which holds a layer of the role" in caught.value.message


def test_memory_that_is_too_little_is_refused(session: Session) -> None:
    source = session.workspace.project / "composition.nix"
    with (
        pytest.raises(ConfigError, match="memory=100m is too little: the image needs 1"),
        session.up(source, flavour="vm", options={"vm": {"memory": "100m"}}),
    ):
        pass
