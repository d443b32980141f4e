"""Machines that have this machine's store as a folder, with a hand-made system in a hand-made store."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from nxc_core.cpio import Member, folder, write_archive
from nxc_core.machine import NodeHandle
from nxc_core.model import CLOSURE, Artifact, Build, Layer, RoleBoot
from nxc_core.running import Running
from nxc_core.session import Session
from nxc_debian import images
from nxc_vm import share

# That a NixOS guest boots by virtiofs is test_nixos_boot's to show in every run.
pytestmark = [pytest.mark.live, pytest.mark.full, pytest.mark.timeout(1800)]

SYSTEM = "nix/store/1111-system"
REGISTRATION = "nix/store/2222-closure-info/registration"
COMPOSITION = """{
  roles.node = { pkgs, ... }: {
    boot.kernelModules = [ @modules@ ];
  };
}
"""
INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /proc /dev /store /rw /new
/bin/busybox mount -t proc proc /proc
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
mount @mount@ nix-store /store || exit 1
mount -t tmpfs nxc /rw
mkdir /rw/upper /rw/work
read -r arguments </proc/cmdline
for word in $arguments; do
  case $word in init=*) system=${word#init=/nix/store/} ;; esac
done
mount -t overlay -o "lowerdir=/store/${system%%/*},upperdir=/rw/upper,workdir=/rw/work" nxc /new || exit 1
mkdir -p /new/nix/store
mount -o move /store /new/nix/store
mount -o move /dev /new/dev
mount -o move /proc /new/proc
exec /bin/busybox switch_root /new /sbin/init
"""
HOW = {
    "9p": ("-t 9p -o trans=virtio,version=9p2000.L,msize=131072,cache=loose", ("9p", "9pnet_virtio")),
    "virtiofs": ("-t virtiofs -o ro", ("virtiofs",)),
}


class HandMade(Session):
    """A session that builds nothing: it has a build already."""

    ready: Build

    def build(self, *_: Any, **__: Any) -> Build:
        """Return it."""
        return self.ready


@contextmanager
def standing(place: Path, how: str) -> Iterator[Running]:
    """Start a node whose system is a folder of Debian's layers in a store."""
    session = prepared(place, how)
    with session.up("", flavour="vm", options={"vm": {"share": how, "lean": True}}) as running:
        yield running


def prepared(place: Path, how: str) -> HandMade:
    """Build Debian's layers, and make a store and an initrd of them."""
    project = place / "project"
    project.mkdir()
    mount, modules = HOW[how]
    quoted = " ".join(f'"{name}"' for name in modules)
    (project / "composition.nix").write_text(COMPOSITION.replace("@modules@", quoted))
    options = {"vm": {"lean": True}}
    built = Session.open(project).build(project / "composition.nix", flavour="vm", options=options)
    found = built.artifact
    layers = [found.layers[name] for name in found.roles["node"].layers]
    system = place / SYSTEM
    system.mkdir(parents=True)
    for layer in layers:
        subprocess.run(("tar", "-xpf", layer.tar, "-C", system), check=True, timeout=300)
    registration = place / REGISTRATION
    registration.parent.mkdir()
    registration.write_text("a list of what is in the store\n")
    (kernel,) = (layer for layer in layers if layer.name.startswith("kernel-"))
    boot = RoleBoot(
        kernel=found.roles["node"].kernel,
        initrd=initrd(place, kernel, found.roles["node"].initrd, mount, modules),
        cmdline=f"init=/{SYSTEM}/init",
    )
    artifact = Artifact(
        kind=CLOSURE,
        roles={"node": boot},
        files={"store": place / "nix/store", "registration": registration},
    )
    session = HandMade.open(project)
    assert isinstance(session, HandMade)
    session.ready = evolve(built, artifact=artifact)
    return session


def initrd(place: Path, kernel: Layer, debian: Path | None, mount: str, modules: Sequence[str]) -> Path:
    """Append to Debian's an init that mounts the store and boots from it."""
    (release,) = (path.name for path in (place / SYSTEM / "usr/lib/modules").iterdir())
    wanted = ("overlay", "virtio_pci", "virtio_net", "qemu_fw_cfg", *modules)
    drivers = images.read_modules(kernel.tar, release, wanted)
    order = "".join(f"{name}\n" for name, _ in drivers)
    members = [
        folder("modules"),
        Member(name="init", mode=0o100755, content=INIT.replace("@mount@", mount).encode()),
        Member(name="modules/order", mode=0o100644, content=order.encode()),
        *(Member(name=f"modules/{name}", mode=0o100644, content=content) for name, content in drivers),
    ]
    assert debian is not None
    path = place / "initrd"
    shutil.copy(debian, path)
    with path.open("ab") as out:
        write_archive(out, members)
    return path


def look(node: NodeHandle, how: str) -> None:
    """The store is there, as it should be, and cannot be written."""
    assert node.succeed("findmnt -no FSTYPE,SOURCE /nix/store").split() == [how, "nix-store"]
    named = node.succeed("tr ' ' '\\n' </proc/cmdline | grep nxc.registration").strip().partition("=")[2]
    assert named == f"/{REGISTRATION}"
    assert node.succeed(f"cat {named}") == "a list of what is in the store\n"
    node.fail("touch /nix/store/mark")
    node.fail(f"mount -o remount,rw /nix/store && touch /{SYSTEM}/mark")
    # The daemon is root of its user's namespace; QEMU tells owners as they are.
    owner = 0 if how == "virtiofs" else os.geteuid()
    assert node.succeed(f"stat -c '%u %a' /{SYSTEM}/usr/bin/passwd").split() == [str(owner), "4755"]


def test_a_store_by_virtiofs(tmp_path: Path, cached: Path) -> None:
    """Each machine has a daemon, which goes with it."""
    with standing(tmp_path, "virtiofs") as running:
        look(running["node"], "virtiofs")
        op = running.op
        (daemon,) = op.claimed(share.DAEMON)
        assert op.alive(daemon)
    assert not op.alive(daemon)
    assert not (tmp_path / SYSTEM / "mark").exists()


def test_a_store_by_virtiofs_after_a_reboot_and_a_power_cut(tmp_path: Path, cached: Path) -> None:
    with standing(tmp_path, "virtiofs") as running:
        running["node"].reboot()
        look(running["node"], "virtiofs")
        running["node"].crash()
        running["node"].start()
        look(running["node"], "virtiofs")


def test_a_store_by_9p(tmp_path: Path, cached: Path) -> None:
    """Debian's generic kernel has 9p, the cloud kernel has not."""
    with standing(tmp_path, "9p") as running:
        look(running["node"], "9p")
        assert not running.op.claimed(share.DAEMON)
    assert not (tmp_path / SYSTEM / "mark").exists()
