"""Which accelerator a virtual machine has, and what doctor says of it, with a stand-in for QEMU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nxc_core.errors import PreflightError
from nxc_core.model import Event
from nxc_core.operation import Operation
from nxc_vm import accelerator, qemu
from nxc_vm.boot import QEMU
from nxc_vm.flavour import VmRamdisk
from nxc_vm.options import RamdiskOptions
from tests.standin_qemu import events, op, stand_in, vm

__all__ = ["events", "op", "stand_in", "vm"]  # fixtures


# Which accelerator


def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.write_bytes(b"")
    return path


def test_a_device_that_is_absent_or_forbidden(tmp_path: Path, op: Operation) -> None:
    absent = accelerator.choose("auto", tmp_path, op, device=tmp_path / "none")
    assert (absent.name, "there is no" in absent.reason) == ("tcg", True)
    if os.geteuid() != 0:
        closed = device(tmp_path)
        closed.chmod(0)
        assert accelerator.choose("auto", tmp_path, op, device=closed).name == "tcg"
    folder = accelerator.choose("auto", tmp_path, op, device=tmp_path)
    assert (folder.name, "cannot be opened" in folder.reason) == ("tcg", True)
    with pytest.raises(PreflightError) as caught:
        accelerator.choose("kvm", tmp_path, op, device=tmp_path / "none")
    assert "there is no" in caught.value.message


@pytest.mark.parametrize(
    ("behaviour", "name", "reason"),
    [("runs", "kvm", "runs"), ("dies", "tcg", "failed to set MSR"), ("hangs", "tcg", "ran no kernel")],
)
def test_kvm_is_tried_with_a_real_kernel_and_the_answer_kept(
    behaviour: str,
    name: str,
    reason: str,
    op: Operation,
    stand_in: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    events: list[Event],
) -> None:
    monkeypatch.setattr(accelerator, "PATIENCE", 1.0 if behaviour == "hangs" else 60.0)
    (stand_in / "kvm").write_text(behaviour)
    found = device(tmp_path)
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"one")
    verdict = accelerator.choose("auto", kernel, op, device=found)
    assert verdict.name == name
    assert reason in verdict.reason
    tried = len(events)
    assert accelerator.choose("auto", kernel, op, device=found) == verdict
    assert len(events) == tried, "not tried again"
    assert accelerator.last_verdict(op) == verdict
    monkeypatch.setattr(accelerator, "AGAIN", -1.0)
    forgotten = accelerator.remembered(kernel, op, found) is None
    assert forgotten == (behaviour == "hangs"), "the machine may have been busy"
    kernel.write_bytes(b"another")
    accelerator.choose("auto", kernel, op, device=found)
    assert len(events) > tried, "another kernel is tried"


# What doctor says


def test_findings(op: Operation, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = {found.subject: found for found in VmRamdisk(RamdiskOptions(accelerator="tcg")).check(op)}
    assert findings[qemu.PROGRAM].ok
    assert findings["accelerator"].detail == "tcg: asked for"
    (stand_in / "version").write_text("6.2.0")
    findings = {found.subject: found for found in VmRamdisk(RamdiskOptions(accelerator="tcg")).check(op)}
    assert not findings[qemu.PROGRAM].ok
    assert "7.0" in findings[qemu.PROGRAM].hint
    monkeypatch.setattr(accelerator, "DEVICE", stand_in / "none")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    findings = {found.subject: found for found in VmRamdisk(RamdiskOptions(accelerator="kvm")).check(op)}
    assert not findings["processor"].ok


def test_kvm_that_cannot_be_had_is_told_before_anything_is_built(
    op: Operation, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator, "DEVICE", stand_in / "none")
    with pytest.raises(PreflightError, match="KVM cannot be used: there is no"):
        VmRamdisk(RamdiskOptions(accelerator="kvm")).require(op)
    VmRamdisk(RamdiskOptions()).require(op)
    (stand_in / "version").write_text("6.2.0")
    with pytest.raises(PreflightError, match=r"is 6\.2"):
        VmRamdisk(RamdiskOptions()).require(op)


def test_qemu_is_missing(op: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "PROGRAM", "qemu-system-none")
    findings = {found.subject: found for found in VmRamdisk(RamdiskOptions(accelerator="tcg")).check(op)}
    assert not findings["qemu-system-none"].ok
    assert qemu.PACKAGE in findings["qemu-system-none"].hint


def test_deadlines_follow_the_accelerator(vm: VmRamdisk, op: Operation) -> None:
    emulated = vm.deadline(op)
    op.claim(QEMU, "x", accelerator="kvm")
    assert vm.deadline(op) < emulated
