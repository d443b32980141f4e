"""What virtual machines boot from: disks, shared folders, and the daemon of one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from nxc_core import state
from nxc_core.errors import ConfigError, PreflightError
from nxc_core.model import (
    CLOSURE,
    LAYERS,
    Artifact,
    Layer,
    NodeDocument,
    NodeSpec,
    NodeState,
    Plan,
    RoleBoot,
)
from nxc_core.operation import Operation
from nxc_vm import boot, qemu, share
from nxc_vm.flavour import Vm, VmRamdisk
from nxc_vm.machines import share_socket
from nxc_vm.media import Disk, Media, Share
from nxc_vm.options import RamdiskOptions, VmOptions
from tests.operations import operation_in

DAEMON = r"""
import os, socket, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:] if word.startswith("--"))
if "trouble" in os.environ:
    raise SystemExit("virtiofsd: " + os.environ["trouble"])
here = socket.socket(socket.AF_UNIX)
here.bind(words["--socket-path"])
here.listen()
time.sleep(60)
"""
SPEC = NodeSpec(name="a", role="one", index=0, machine="a")


def after(words: tuple[str, ...], name: str) -> list[str]:
    """List what follows each ``name``."""
    return [words[place + 1] for place, word in enumerate(words) if word == name]


@pytest.fixture
def op(tmp_path: Path) -> Iterator[Operation]:
    (tmp_path / "run").mkdir()
    operation = operation_in(
        tmp_path,
        f"test-{os.getpid()}-{time.monotonic_ns()}",
        runtime=tmp_path / "run",
        cache=tmp_path / "cache",
    )
    yield operation
    for resource in operation.claimed():
        operation.stop(resource, grace=1)


def plan(tmp_path: Path, artifact: Artifact) -> Plan:
    document = tmp_path / "a.json"
    state.save(document, NodeDocument(deployment="d", instance="i", node="a", role="one"), mode=0o600)
    return Plan(
        deployment="d",
        artifact=artifact,
        nodes=(SPEC,),
        networks=(),
        documents={"a": document},
        instances={"a": "i"},
        key=tmp_path / "key",
        known_hosts=tmp_path / "known_hosts",
    )


@pytest.fixture
def layered(tmp_path: Path) -> Plan:
    """One role of two layers."""
    layers = {
        name: Layer(name=name, digest=letter * 64, tar=Path(f"/l/{name}.tar"), squashfs=Path(f"/l/{name}.sq"))
        for name, letter in (("base", "b"), ("role", "c"))
    }
    start = RoleBoot(layers=("base", "role"), kernel=tmp_path / "k", initrd=tmp_path / "i", cmdline="x=y")
    return plan(tmp_path, Artifact(kind=LAYERS, roles={"one": start}, layers=layers))


@pytest.fixture
def closed(tmp_path: Path) -> Plan:
    """One role in a store."""
    store = tmp_path / "home/nix/store"
    start = RoleBoot(kernel=tmp_path / "k", initrd=tmp_path / "i", cmdline="init=/nix/store/s/init")
    (tmp_path / "k").write_bytes(b"")
    (tmp_path / "i").write_bytes(b"")
    files = {"store": store, "registration": store / "r/registration"}
    return plan(tmp_path, Artifact(kind=CLOSURE, roles={"one": start}, files=files))


def launch(media: Media, *, memory: int = 512) -> qemu.Launch:
    return qemu.Launch(
        deployment="d",
        node="a",
        media=media,
        document=Path("/d/node.json"),
        console=Path("/d/a.log"),
        control=Path("/r/a.qmp"),
        port=4242,
        lans={},
        accelerator="tcg",
        memory=memory,
    )


# Layers


def test_layers_are_disks_that_any_number_of_machines_may_share(layered: Plan, op: Operation) -> None:
    media = Vm(VmOptions()).media(layered, SPEC, op)
    assert media.disks == (
        Disk(file=Path("/l/base.sq"), serial="b" * 20),
        Disk(file=Path("/l/role.sq"), serial="c" * 20),
    )
    assert (media.share, media.cmdline) == (None, "x=y")
    words = qemu.command(launch(media))
    blocks = after(words, "-blockdev")
    assert all("read-only=on" in block and "file.locking=off" in block for block in blocks)
    assert "virtio-blk-pci,drive=disk1,serial=" + "c" * 20 in after(words, "-device")


def test_a_file_name_with_a_comma_is_one_word(tmp_path: Path) -> None:
    media = Media(
        kernel=Path("/k"), initrd=Path("/i"), cmdline="", disks=(Disk(file=Path("/a,b/l"), serial="s"),)
    )
    assert "file.filename=/a,,b/l," in after(qemu.command(launch(media)), "-blockdev")[0]


def test_an_artifact_that_lacks_something_is_refused(layered: Plan, closed: Plan, op: Operation) -> None:
    bare = {name: evolve(layer, squashfs=None) for name, layer in layered.artifact.layers.items()}
    with pytest.raises(ConfigError, match="no squashfs of layer base"):
        Vm(VmOptions()).media(evolve(layered, artifact=evolve(layered.artifact, layers=bare)), SPEC, op)
    with pytest.raises(ConfigError, match="no store"):
        Vm(VmOptions()).media(evolve(closed, artifact=evolve(closed.artifact, files={})), SPEC, op)
    with pytest.raises(ConfigError, match="no role one"):
        Vm(VmOptions()).media(evolve(closed, artifact=evolve(closed.artifact, roles={})), SPEC, op)


# The store


def test_9p_is_read_only_and_the_registration_is_named(closed: Plan, op: Operation) -> None:
    media = Vm(VmOptions(share="9p")).media(closed, SPEC, op)
    words = qemu.command(launch(media))
    (given,) = after(words, "-virtfs")
    assert given.startswith(f"local,path={closed.artifact.files['store']},mount_tag=nix-store,")
    assert "security_model=none,readonly=on" in given
    assert media.cmdline == "init=/nix/store/s/init nxc.registration=/nix/store/r/registration"
    assert not any("memory-backend" in word for word in words)


def test_virtiofs_shares_all_of_the_memory(closed: Plan, op: Operation) -> None:
    media = Vm(VmOptions(share="virtiofs")).media(closed, SPEC, op)
    words = qemu.command(launch(media, memory=640))
    assert after(words, "-machine") == ["q35,memory-backend=ram"]
    assert after(words, "-object") == ["memory-backend-memfd,id=ram,size=640M,share=on"]
    assert media.share is not None and media.share.socket is not None
    assert f"socket,id=nix-store,path={media.share.socket}" in after(words, "-chardev")
    assert not after(words, "-virtfs")


def test_a_registration_outside_the_store_is_not_named(closed: Plan, op: Operation, tmp_path: Path) -> None:
    files = {**closed.artifact.files, "registration": tmp_path / "elsewhere"}
    moved = evolve(closed, artifact=evolve(closed.artifact, files=files))
    assert "registration" not in Vm(VmOptions(share="9p")).media(moved, SPEC, op).cmdline


def test_the_share_is_part_of_the_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "has_9p", lambda: True)
    assert Vm(VmOptions()).guest.share == "9p"
    assert Vm(VmOptions(share="virtiofs")).guest.share == "virtiofs"
    assert VmRamdisk(RamdiskOptions()).guest.share is None
    monkeypatch.setattr(share, "has_9p", lambda: False)
    monkeypatch.setattr(share, "find_daemon", lambda: "/virtiofsd")
    assert Vm(VmOptions()).guest.share == "virtiofs"
    monkeypatch.setattr(share, "find_daemon", lambda: None)
    assert Vm(VmOptions()).guest.share == "9p"
    (told,) = share.check_share("auto")
    assert (told.ok, told.advice, told.detail) == (False, True, "this QEMU has no 9p")


def test_virtiofs_by_name_needs_a_daemon_before_anything_is_built(
    op: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "PROGRAM", "virtiofsd-none")
    monkeypatch.setattr(share, "PLACES", ())
    with pytest.raises(PreflightError, match="virtiofsd-none is not installed"):
        Vm(VmOptions(share="virtiofs")).require(op)
    Vm(VmOptions()).require(op)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("virtiofsd version 7.2.22 (Debian 1:7.2)", ("-o", "source=/mnt,cache=always")),
        ("virtiofsd 1.13.2", ("--shared-dir=/mnt", "--cache=always")),
    ],
)
def test_both_daemons_are_spoken_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, words: tuple[str, ...]
) -> None:
    daemon = tmp_path / "virtiofsd"
    daemon.write_text(f"#!/bin/sh\necho '{version}'\n")
    daemon.chmod(0o755)
    monkeypatch.setattr(share, "find_daemon", lambda: str(daemon))
    monkeypatch.setattr("nxc_core.process.find_program", lambda name, package="": "env")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(share, "NAMESPACE", ())
    assert share.serve_argv(Path("/s"))[-2:] == words


# The daemon


@pytest.fixture
def served(tmp_path: Path, op: Operation, monkeypatch: pytest.MonkeyPatch) -> Share:
    (tmp_path / "daemon.py").write_text(DAEMON)
    argv = (sys.executable, "-IS", str(tmp_path / "daemon.py"))
    monkeypatch.setattr(share, "serve_argv", lambda folder: argv)
    return Share(how="virtiofs", folder=tmp_path, socket=share_socket("a", op))


def test_a_daemon_is_claimed_started_anew_and_released(served: Share, op: Operation, tmp_path: Path) -> None:
    share.serve(served, "d-a", "a", tmp_path / "log/a", op)
    (daemon,) = op.claimed(share.DAEMON)
    first = daemon.data["pid"]
    share.serve(served, "d-a", "a", tmp_path / "log/a", op)
    (daemon,) = op.claimed(share.DAEMON)
    assert daemon.data["pid"] != first, "each serves one QEMU, once"
    assert op.alive(daemon)
    flavour = Vm(VmOptions(share="virtiofs"))
    assert list(flavour.release([daemon], op)) == [daemon]
    assert not op.alive(daemon)
    assert list(op.runtime.iterdir()) == []


def test_a_daemon_that_does_not_start_is_told_in_its_own_words(
    served: Share, closed: Plan, op: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("trouble", "no such luck")
    Vm(VmOptions(share="virtiofs", accelerator="tcg")).deploy(closed, op)
    outcome = op.journal.outcomes()["a"]
    assert outcome.state is NodeState.FAILED
    assert "virtiofsd does not start: virtiofsd: no such luck" in outcome.cause
    assert not op.claimed(boot.QEMU)
