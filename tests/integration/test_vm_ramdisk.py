"""Virtual machines really booted: routes of node.json, nxc's own way in, and machines that cannot boot."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.errors import DeployError
from nxc_core.machine import NodeHandle
from nxc_core.running import Running
from nxc_core.session import Session

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

BASIC = Path(__file__).parents[2] / "examples" / "basic"
ONE = {"foo": 1, "bar": 0}


@pytest.fixture(scope="module")
def session(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    project = tmp_path_factory.mktemp("vm") / "basic"
    shutil.copytree(BASIC, project, ignore=shutil.ignore_patterns(".nxc"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        yield Session.open(project)


@pytest.fixture(scope="module")
def running(session: Session) -> Iterator[Running]:
    """One lean node."""
    source = session.workspace.project / "composition.nix"
    with session.up(source, flavour="vm-ramdisk", roles=ONE, options={"vm-ramdisk": {"lean": True}}) as found:
        yield found


@pytest.fixture
def node(running: Running) -> NodeHandle:
    return running["foo"]


def again(running: Running) -> NodeHandle:
    """Connect anew: what is open already proves nothing."""
    running.close()
    return running["foo"]


def refuse(session: Session, qemu_args: str) -> str:
    """Start a node that cannot boot, and return what is said of it."""
    source = session.workspace.project / "composition.nix"
    options = {"vm-ramdisk": {"qemu_args": qemu_args}}
    began = time.monotonic()
    with (
        pytest.raises(DeployError) as caught,
        session.up(source, flavour="vm-ramdisk", roles=ONE, options=options),
    ):
        pass
    assert time.monotonic() - began < 265, "it is seen before the deadline of 270 s"
    assert "foo (foo)" in caught.value.message
    return caught.value.message


def test_a_lean_system_is_whole(node: NodeHandle) -> None:
    node.wait_until_succeeds("systemctl is-system-running | grep -qx running", timeout=120)
    assert node.succeed("systemctl --failed --no-legend").strip() == ""
    assert node.succeed("stat -c '%a %u %g' /").split() == ["755", "0", "0"]


def test_the_identity_is_for_root_alone(node: NodeHandle) -> None:
    assert node.succeed("stat -c %a /run/nxc /run/nxc/host_key /run/nxc/ready").split() == [
        "700",
        "600",
        "600",
    ]
    assert node.succeed("hostname").strip() == "foo"
    assert json.loads(node.succeed("cat /run/nxc/parameters.json")) == {}


def test_the_way_in_survives_what_a_role_may_do(running: Running, node: NodeHandle) -> None:
    node.succeed("usermod -p '!' root && systemctl restart nxc-node.service")
    assert again(running).succeed("getent shadow root").startswith("root:*:")
    node.succeed("ssh-keygen -A >/dev/null; systemctl start ssh.service; systemctl stop ssh.service")
    again(running).succeed("true")
    node.succeed("kill $(systemctl show -p MainPID --value nxc-sshd.service)")
    node.wait_until_succeeds("systemctl is-active nxc-sshd.service", timeout=120)
    node.wait_for_open_port(2200, timeout=120)  # it is active before it listens
    again(running).succeed("true")


def test_a_document_pushed_again_is_applied(running: Running, node: NodeHandle, tmp_path: Path) -> None:
    document = json.loads(node.succeed("cat /run/nxc/node.json"))
    document["parameters"] = {"size": 3, "it's": 'a "test"\nof $quotes'}
    document["hosts"]["later"] = ["10.0.2.99"]
    pushed = tmp_path / "node.json"
    pushed.write_text(json.dumps(document))
    node.copy_from_host(str(pushed), "/root/node.json")
    node.succeed("/usr/lib/nxc/nxc-node - < /root/node.json")
    assert json.loads(node.succeed("cat /run/nxc/parameters.json")) == document["parameters"]
    assert "10.0.2.99" in again(running).succeed("getent hosts later")
    assert node.succeed("stat -c %a /var/lib/nxc /var/lib/nxc/node.json").split() == ["700", "600"]
    document["schema"] = "nxc.node/2"
    pushed.write_text(json.dumps(document))
    node.copy_from_host(str(pushed), "/root/newer.json")
    assert "nxc.node/2" in node.fail("/usr/lib/nxc/nxc-node /root/newer.json 2>&1")


def test_it_is_still_there_in_emergency(running: Running, node: NodeHandle) -> None:
    node.execute("systemctl isolate emergency.target --no-block")
    node.wait_until_succeeds("systemctl is-active emergency.target", timeout=180)
    again(running).succeed("systemctl is-active nxc-sshd.service")


def test_an_identity_from_an_appended_cpio_comes_first(session: Session, tmp_path: Path) -> None:
    """As kexec brings it. The document differs in its name from that of fw_cfg, the instance is the same."""
    source = session.workspace.project / "composition.nix"
    build = session.build(source, flavour="vm-ramdisk")
    initrd = tmp_path / "initrd"
    options = {"vm-ramdisk": {"qemu_args": f"-initrd {initrd}"}}
    identity: dict[str, object] = {}

    def append(event: object) -> None:
        if identity:
            return
        for document in session.workspace.root.glob("deployments/*/nodes/foo/node.json"):
            found = json.loads(document.read_text())
            if found["deployment"] in str(event):
                identity.update(found | {"node": "by-cpio"})
                archive = newc({"nxc": b"", "nxc/node.json": json.dumps(identity).encode()})
                initrd.write_bytes(build.artifact.files["initrd"].read_bytes() + archive)

    session.sinks.append(append)
    try:
        with session.up(source, flavour="vm-ramdisk", roles=ONE, options=options) as running:
            assert running["foo"].succeed("hostname").strip() == "by-cpio"
            assert running["foo"].succeed("stat -c %a /run/nxc/node.json").strip() == "600"
    finally:
        session.sinks.remove(append)


def newc(members: dict[str, bytes]) -> bytes:
    """Pack a cpio archive; an empty member is a folder."""
    archive = b""
    for number, (name, content) in enumerate([*members.items(), ("TRAILER!!!", b"")], 1):
        mode = 0o100600 if content else 0o40700
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += header + b"\0" * (-len(header) % 4) + content + b"\0" * (-len(content) % 4)
    return archive


def test_a_role_that_the_image_does_not_have(session: Session) -> None:
    said = refuse(session, "-append 'console=ttyS0 nxc.role=nobody'")
    assert "this image has no role 'nobody'; it has: bar foo" in said


def test_too_little_memory(session: Session) -> None:
    assert "nxc: failed: layer" in (said := refuse(session, "-m 224M")) or "Kernel panic" in said


def test_a_kernel_that_panics(session: Session) -> None:
    said = refuse(session, "-append 'console=ttyS0 nxc.role=foo init=/bin/false'")
    assert "Kernel panic - not syncing: Attempted to kill init" in said


def test_a_machine_that_ends(session: Session) -> None:
    said = refuse(session, "-append 'console=ttyS0 nxc.role=foo init=/bin/false panic=-1' -no-reboot")
    assert "Kernel panic" in said or "QEMU ended" in said


def test_arguments_that_qemu_does_not_know(session: Session) -> None:
    assert "'nonsense' is not a valid device" in refuse(session, "-device nonsense")
