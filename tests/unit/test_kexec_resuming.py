"""What is known of a machine after a step that failed, or a crash: no node is forgotten, and none made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from nxc_core import CommandError, Interrupted
from nxc_core.model import Artifact, Kind, NodeSpec, RoleBoot
from nxc_core.operation import Operation
from nxc_kexec import claims, deploying, images
from nxc_kexec.facts import Facts
from nxc_kexec.machines import Contact
from nxc_kexec.options import KexecOptions
from nxc_kexec.trouble import Trouble
from nxc_kexec.watch import Watch
from tests.operations import operation_in


@pytest.fixture
def op(tmp_path: Path) -> Operation:
    return operation_in(tmp_path, "web-1")


@pytest.mark.parametrize("before", ["", "a"])
def test_a_failed_load_does_not_hide_what_was_started_before(op: Operation, before: str) -> None:
    for name in ("kernel", "initrd", "node.json"):
        (op.dir / name).write_text("{}")
    boot = RoleBoot(kernel=op.dir / "kernel", initrd=op.dir / "initrd")
    claimed = op.note(claims.claim(Contact(name="m1", host="m1"), op), node=before, instance="i")
    station = claims.station(claimed, op, known_hosts="", patience=1)
    spec = NodeSpec(name="a", role="r", index=0, machine="m1")
    job = deploying.Job(spec=spec, station=station, document=op.dir / "node.json", instance="i")
    op.note(claimed, node="a")
    options = KexecOptions(syscall="load")
    flow = deploying._launch(
        job,
        Facts(boot="b", arch="x86_64", kernel="6.1", kexec="kexec"),
        options,
        Artifact(kind=Kind("ramdisk"), roles={"r": boot}),
        Watch(options),
        op,
    )
    next(flow)
    with pytest.raises(Trouble):
        flow.send(CommandError("gone", argv=("ssh",), code=255, stderr="Connection closed by m1"))
    (known,) = op.claimed(claims.MACHINE)
    assert known.data["node"] == before


def test_an_interrupted_copy_leaves_no_image_that_looks_whole(op: Operation) -> None:
    image = images.Image(kernel=op.dir / "kernel", initrd=op.dir / "initrd")
    for path in image.files.values():
        path.write_bytes(b"x" * 3_000_000)
    home = op.dir / "home"
    home.mkdir()
    options = KexecOptions(shared=str(home))
    op.cancel.set()
    with pytest.raises(Interrupted):
        images.publish(image, options, op)
    op.cancel.clear()
    folder = images.publish(image, options, op)
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == image.sizes
