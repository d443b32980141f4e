"""A stand-in for QEMU that boots nothing, and an operation to start it in."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.model import Event
from nxc_core.operation import Operation
from nxc_vm import qemu
from nxc_vm.boot import QEMU
from nxc_vm.flavour import VmRamdisk
from nxc_vm.options import RamdiskOptions
from tests.operations import operation_in

STAND_IN = r"""
import json, os, re, signal, socket, sys, time
words = sys.argv[1:]
here = os.path.dirname(os.path.abspath(__file__))
def after(name):
    return [words[i + 1] for i, word in enumerate(words) if word == name]
if "--version" in words:
    print("QEMU emulator version " + open(here + "/version").read())
    raise SystemExit
if "-bogus" in words:
    raise SystemExit("qemu-system-x86_64: -bogus: invalid option")
if after("-serial") == ["stdio"]:
    what = open(here + "/kvm").read()
    if what == "dies":
        raise SystemExit("qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69")
    if what == "runs":
        print("[    0.000000] Linux version 6.1.0", flush=True)
    time.sleep(60)
port = int(re.search(r"hostfwd=tcp:127.0.0.1:(\d+)-", " ".join(after("-netdev")))[1])
forward = socket.socket()
try:
    forward.bind(("127.0.0.1", port))
    forward.listen()
except OSError:
    rule = f"Could not set up host forwarding rule 'tcp:127.0.0.1:{port}-:2200'"
    raise SystemExit("qemu-system-x86_64: -netdev user: " + rule)
console = re.search(r"path=([^,]+)", " ".join(after("-chardev")))[1]
with open(console, "a") as file:
    file.write(open(here + "/says").read())
control = socket.socket(socket.AF_UNIX)
control.bind(after("-qmp")[0][len("unix:"):].partition(",")[0])
control.listen()
while True:
    link, _ = control.accept()
    with link, link.makefile("rw") as stream:
        print('{"QMP": {}}', file=stream, flush=True)
        for line in stream:
            order = json.loads(line)
            with open(here + "/orders", "a") as file:
                file.write(line)
            print('{"event": "RESUME"}', file=stream)
            if order["execute"] == "set_link" and order["arguments"]["name"] == "lan-none":
                print('{"error": {"desc": "no such card"}}', file=stream, flush=True)
            else:
                print('{"return": {}}', file=stream, flush=True)
            if order["execute"] == "quit":
                os._exit(0)
"""
APPLIED = "Linux version 6.1\nnxc: this is it\n"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a QEMU on the path that behaves as the files beside it say."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / qemu.PROGRAM).write_text(f"#!{sys.executable} -IS\n{STAND_IN}")
    (folder / qemu.PROGRAM).chmod(0o755)
    for name, text in (("version", "7.2.22"), ("kvm", "hangs"), ("says", APPLIED)):
        (folder / name).write_text(text)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def op(tmp_path: Path, events: list[Event]) -> Iterator[Operation]:
    (tmp_path / "run").mkdir()
    operation = operation_in(
        tmp_path,
        f"test-{os.getpid()}-{time.monotonic_ns()}",
        runtime=tmp_path / "run",
        cache=tmp_path / "cache",
        hear=events.append,
    )
    yield operation
    for resource in operation.claimed(QEMU):
        operation.stop(resource, grace=1)


@pytest.fixture
def vm() -> VmRamdisk:
    return VmRamdisk(RamdiskOptions(accelerator="tcg"))
