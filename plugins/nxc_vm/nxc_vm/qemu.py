"""QEMU's command line, its control socket, and what its consoles tell."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from nxc_core import DeployError
from nxc_vm.media import Media, Share
from nxc_vm.network import GUEST_SSH_PORT, HOST_MAC, Lan

PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
OLDEST = (7, 0)
FW_CFG = "opt/nxc/node.json"

BOOT_MARK = "--- nxc: power on ---"
"""Written to a console before QEMU starts, so that what an earlier boot said is not taken for this one's."""
_TAIL = 256 * 1024
_DEATHS = re.compile(r"((?:nxc: failed|Kernel panic - not syncing): [^\r\n]*)[\r\n]")
"""Only what is a whole line: it comes byte by byte, and nothing more once its processor is stopped."""
_BOOTS = re.compile(rf"{re.escape(BOOT_MARK)}|\bLinux version \d")
_APPLIED = re.compile(r"nxc: this is \S")


@frozen(kw_only=True)
class Launch:
    """Everything that one virtual machine is started with."""

    deployment: str
    node: str
    media: Media
    document: Path
    console: Path
    control: Path
    port: int
    lans: Mapping[str, Lan]
    """Networks by the card's hardware address."""
    accelerator: str
    memory: int
    cores: int = 1
    restrict: bool = False
    lean: bool = False
    extra: str = ""


def command(launch: Launch) -> tuple[str, ...]:
    """Return the words that start a virtual machine. Secrets are in files, named by path."""
    return (
        PROGRAM,
        "-name",
        f"guest={_escape(f'{launch.deployment}-{launch.node}')}",
        "-uuid",
        str(uuid.uuid5(uuid.NAMESPACE_OID, f"nxc/{launch.deployment}/{launch.node}")),
        *_machine_words(launch),
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-chardev",
        f"file,id=console,path={_escape(str(launch.console))},append=on",
        "-serial",
        "chardev:console",
        "-qmp",
        f"unix:{_escape(str(launch.control))},server=on,wait=off",
        "-kernel",
        str(launch.media.kernel),
        "-initrd",
        str(launch.media.initrd),
        "-append",
        kernel_arguments(launch),
        "-fw_cfg",
        f"name={FW_CFG},file={_escape(str(launch.document))}",
        *_card_words(launch),
        *_disk_words(launch),
        *_share_words(launch.media.share),
        *shlex.split(launch.extra),
    )


def kernel_arguments(launch: Launch) -> str:
    """Return the kernel's arguments; the role's come last and so win."""
    words = ["console=ttyS0", "net.ifnames=0"]
    if launch.accelerator == "tcg":
        # The timer check fails at random when the emulator is not given enough time. An emulated processor
        # has none of the flaws that the mitigations are for, and pays a tenth of the boot for them.
        words += ["no_timer_check", "mitigations=off"]
    if launch.lean:
        words += ["quiet"]
    return " ".join([*words, launch.media.cmdline]).strip()


def _machine_words(launch: Launch) -> tuple[str, ...]:
    # virtiofsd reads and writes the guest's memory itself.
    shared = launch.media.share is not None and launch.media.share.how == "virtiofs"
    backend = ("-object", f"memory-backend-memfd,id=ram,size={launch.memory}M,share=on")
    return (
        "-machine",
        "q35,memory-backend=ram" if shared else "q35",
        "-accel",
        # A boot fills 64 MiB with translated code; QEMU's own default grows by 250 MiB and is no faster.
        "kvm" if launch.accelerator == "kvm" else "tcg,tb-size=128",
        "-cpu",
        "host" if launch.accelerator == "kvm" else "qemu64",
        "-smp",
        str(launch.cores),
        "-m",
        f"{launch.memory}M",
        *(backend if shared else ()),
    )


def _card_words(launch: Launch) -> tuple[str, ...]:
    restrict = ",restrict=on" if launch.restrict else ""
    words = [
        "-netdev",
        f"user,id=host,ipv6=off,hostfwd=tcp:127.0.0.1:{launch.port}-:{GUEST_SSH_PORT}{restrict}",
        "-device",
        f"virtio-net-pci,netdev=host,mac={HOST_MAC},romfile=",
    ]
    for mac, lan in launch.lans.items():
        words += [
            "-netdev",
            f"socket,id={card_id(lan.network)},mcast={lan.group}:{lan.port},localaddr=127.0.0.1",
            "-device",
            f"virtio-net-pci,netdev={card_id(lan.network)},mac={mac},romfile=",
        ]
    return tuple(words)


def _disk_words(launch: Launch) -> Iterator[str]:
    for number, disk in enumerate(launch.media.disks):
        # Nobody writes to a layer: no lock is needed, and where the cache is on NFS none may be had.
        file = f"file.driver=file,file.filename={_escape(str(disk.file))},file.locking=off"
        yield from ("-blockdev", f"node-name=disk{number},driver=raw,read-only=on,{file}")
        yield from ("-device", f"virtio-blk-pci,drive=disk{number},serial={disk.serial}")


def _share_words(share: Share | None) -> tuple[str, ...]:
    if share is None:
        return ()
    if share.how == "9p":
        folder = _escape(str(share.folder))
        facts = f"id={share.tag},security_model=none,readonly=on,multidevs=remap"
        return ("-virtfs", f"local,path={folder},mount_tag={share.tag},{facts}")
    return (
        "-chardev",
        f"socket,id={share.tag},path={_escape(str(share.socket))}",
        "-device",
        f"vhost-user-fs-pci,chardev={share.tag},tag={share.tag}",
    )


def card_id(network: str) -> str:
    """Return QEMU's name for the card on a network."""
    return f"lan-{network}"


def _escape(value: str) -> str:
    return value.replace(",", ",,")


def control(socket_path: Path, order: str, *, timeout: float = 30.0, **arguments: Any) -> Any:
    """Give QEMU one order (QMP) and return the answer.

    Raises OSError when QEMU is not there or not in time, DeployError when it refuses.
    """
    end = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(timeout)
        link.connect(str(socket_path))
        with link.makefile("rwb") as stream:
            _answer(stream, link, end, greeting=True)
            answer = None
            for name, given in (("qmp_capabilities", {}), (order, arguments)):
                stream.write(json.dumps({"execute": name, "arguments": given}).encode() + b"\n")
                stream.flush()
                answer = _answer(stream, link, end)
            return answer


def _answer(stream: Any, link: socket.socket, end: float, *, greeting: bool = False) -> Any:
    """Read up to the next answer, past events."""
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("QEMU does not answer on its control socket")
        link.settimeout(left)
        line = stream.readline()
        if not line:
            raise ConnectionResetError("QEMU closed its control socket")
        told = json.loads(line)
        if "error" in told:
            raise DeployError(f"QEMU refuses: {told['error'].get('desc', told['error'])}")
        if "return" in told or (greeting and "QMP" in told):
            return told.get("return")


def mark_boot(console: Path) -> None:
    """Write the mark of a new boot to a console."""
    console.parent.mkdir(parents=True, exist_ok=True)
    with console.open("ab") as file:
        file.write(f"{BOOT_MARK}\n".encode())


def cause_of_death(console: Path) -> str:
    """Return the line by which the present boot failed, as a kernel panic; empty while it lives."""
    found = _DEATHS.findall(_this_boot(console))
    return "".join(c for c in found[0] if c.isprintable()).strip() if found else ""


def is_applied(console: Path) -> bool:
    """Whether the guest has said that it applied its node.json."""
    return _APPLIED.search(_this_boot(console)) is not None


def _this_boot(console: Path) -> str:
    try:
        with console.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    boots = list(_BOOTS.finditer(text))
    return text[boots[-1].start() :] if boots else text


def complaint(log: Path) -> str:
    """Return what QEMU itself said before it ended, without its own name."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    told = [bare(line) for line in lines if line.strip()]
    return "; ".join(line for line in told[-3:] if "warning:" not in line) or "; ".join(told[-1:])


def bare(line: str) -> str:
    """Return a line that QEMU said without its own name."""
    return line.strip().removeprefix(f"{PROGRAM}: ").removeprefix("error: ")


def read_version(text: str) -> tuple[int, int] | None:
    """Read the version out of what ``--version`` prints."""
    found = re.search(r"version (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
