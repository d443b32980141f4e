"""Options of virtual machines, QEMU's command line, and what consoles tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

from nxc_core.errors import ConfigError
from nxc_core.options import structure_options
from nxc_vm import memory, qemu
from nxc_vm.flavour import VmRamdisk
from nxc_vm.media import Media
from nxc_vm.network import HOST_MAC, Lan
from nxc_vm.options import RamdiskOptions, mebibytes

LAUNCH = qemu.Launch(
    deployment="web-vm-ramdisk-123456",
    node="server",
    media=Media(kernel=Path("/k/vmlinuz"), initrd=Path("/i/initrd"), cmdline="nxc.role=server quiet"),
    document=Path("/d/a,b/node.json"),
    console=Path("/d/log/server.log"),
    control=Path("/r/s.qmp"),
    port=4242,
    lans={"52:4e:00:00:00:01": Lan(network="lan", group="239.1.2.3", port=21000)},
    accelerator="tcg",
    memory=1024,
)


def after(words: tuple[str, ...], name: str) -> list[str]:
    """List what follows each ``name``."""
    return [words[place + 1] for place, word in enumerate(words) if word == name]


@pytest.mark.parametrize(
    ("text", "expected"), [("512", 512), ("512m", 512), ("1g", 1024), ("2GiB", 2048), (" 768 MiB", 768)]
)
def test_memory_is_read(text: str, expected: int) -> None:
    assert mebibytes(text) == expected


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"memory": "much"}, "much"),
        ({"memory": "0"}, "memory"),
        ({"cores": "0"}, "cores"),
        ({"cores": "two"}, "cores"),
        ({"accelerator": "warp"}, "warp"),
        ({"qemu_args": "-device 'half"}, "qemu_args"),
        ({"lean": "perhaps"}, "lean"),
        ({"memroy": "1g"}, "memory"),
    ],
)
def test_wrong_options_are_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        structure_options(RamdiskOptions, given, "vm-ramdisk")
    assert named in f"{caught.value.message} {caught.value.hint}"


def test_the_guest_follows_the_options() -> None:
    assert not VmRamdisk(RamdiskOptions()).guest.lean
    guest = VmRamdisk(RamdiskOptions(lean=True)).guest
    assert (guest.lean, guest.console, guest.seed, guest.root) == (True, "ttyS0", "fw_cfg", "tmpfs")


def test_the_command_line_names_files_and_holds_no_secret() -> None:
    words = qemu.command(LAUNCH)
    assert after(words, "-fw_cfg") == ["name=opt/nxc/node.json,file=/d/a,,b/node.json"]
    assert after(words, "-kernel") == ["/k/vmlinuz"]
    assert after(words, "-name") == ["guest=web-vm-ramdisk-123456-server"]
    assert after(words, "-m") == ["1024M"]
    host, lan = after(words, "-netdev")
    assert "hostfwd=tcp:127.0.0.1:4242-:2200" in host
    assert "restrict" not in host
    assert lan == "socket,id=lan-lan,mcast=239.1.2.3:21000,localaddr=127.0.0.1"
    assert [part.split("mac=")[1].split(",")[0] for part in after(words, "-device")] == [
        HOST_MAC,
        "52:4e:00:00:00:01",
    ]


def test_variants_of_the_command_line() -> None:
    words = qemu.command(evolve(LAUNCH, accelerator="kvm", restrict=True, cores=3, extra="-device 'a b',c=d"))
    assert after(words, "-cpu") == ["host"]
    assert after(words, "-smp") == ["3"]
    assert "restrict=on" in after(words, "-netdev")[0]
    assert words[-2:] == ("-device", "a b,c=d")


def test_the_roles_kernel_arguments_win() -> None:
    tcg = qemu.kernel_arguments(LAUNCH).split()
    assert tcg[-2:] == ["nxc.role=server", "quiet"]
    assert "no_timer_check" in tcg
    assert "no_timer_check" not in qemu.kernel_arguments(evolve(LAUNCH, accelerator="kvm"))


def test_machines_are_told_apart_by_their_uuid() -> None:
    uuids = {
        after(qemu.command(evolve(LAUNCH, node=node, deployment=deployment)), "-uuid")[0]
        for node in ("a", "b")
        for deployment in ("x", "y")
    }
    assert len(uuids) == 4


def test_a_death_is_found_on_the_console_of_this_boot_only(tmp_path: Path) -> None:
    console = tmp_path / "log" / "node.log"
    assert qemu.cause_of_death(console) == ""
    qemu.mark_boot(console)
    with console.open("a") as file:
        file.write("[    0.0] Linux version 6.1\nnxc: failed: this image has no role 'x'\r\n")
        file.write("[    1.9] Kernel panic - not syncing: Attempted to kill init!\n")
    assert qemu.cause_of_death(console) == "nxc: failed: this image has no role 'x'"
    qemu.mark_boot(console)
    for text, cause in (
        ("[    1.9] Kernel panic - not syncing: Attem", ""),
        ("pted to kill init!", ""),
        ("\r", "Kernel panic - not syncing: Attempted to kill init!"),
    ):
        with console.open("a", newline="") as file:
            file.write(text)
        assert qemu.cause_of_death(console) == cause
    qemu.mark_boot(console)
    assert qemu.cause_of_death(console) == ""
    with console.open("a") as file:
        file.write("[    0.0] Linux version 6.1\n[   16.8] nxc-node[143]: nxc: this is server\n")
    assert qemu.is_applied(console)
    assert qemu.cause_of_death(console) == ""
    with console.open("a") as file:
        file.write("[    0.0] Linux version 6.1\n")  # rebooted by the guest
    assert not qemu.is_applied(console)


def test_what_a_guest_writes_cannot_steer_a_terminal(tmp_path: Path) -> None:
    console = tmp_path / "log"
    console.write_bytes(b"Kernel panic - not syncing: \x1b[2Jboo\n")
    assert "\x1b" not in qemu.cause_of_death(console)


def test_what_qemu_says(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert qemu.complaint(log) == ""
    log.write_text(
        "qemu-system-x86_64: warning: host lacks feature\nqemu-system-x86_64: -bogus: invalid option\n"
    )
    assert qemu.complaint(log) == "-bogus: invalid option"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("QEMU emulator version 7.2.22 (Debian 1:7.2)", (7, 2)), ("version 10.0", (10, 0)), ("none", None)],
)
def test_versions_are_read(text: str, expected: tuple[int, int] | None) -> None:
    assert qemu.read_version(text) == expected


def test_memory_by_the_size_of_the_image(tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    with initrd.open("wb") as file:
        file.truncate(100 << 20)
    assert memory.choose_memory(RamdiskOptions(), initrd, VmRamdisk.appetite) == 1024
    assert memory.choose_memory(RamdiskOptions(memory="512"), initrd, VmRamdisk.appetite) == 512
    with pytest.raises(ConfigError) as caught:
        memory.choose_memory(RamdiskOptions(memory="256"), initrd, VmRamdisk.appetite)
    assert "344" in caught.value.message
    with initrd.open("wb") as file:
        file.truncate(600 << 20)
    assert memory.choose_memory(RamdiskOptions(), initrd, VmRamdisk.appetite) > 1344


def test_host_memory_is_read(tmp_path: Path) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 2048000 kB\nMemFree: 1 kB\nMemAvailable: 1024000 kB\nSwapTotal: 1024 kB\n")
    assert memory.host_memory(told) == (2001, 1000)


def test_the_guests_manifest_names_files_that_are_there() -> None:
    folder = Path(__file__).parents[2] / "nix" / "guest"
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        assert (folder / entry["source"]).is_file()
        assert not entry["target"].startswith("/")
        int(entry["mode"], 8)
    assert all((folder / name).is_file() for name in manifest["initrd"].values())
    shipped = {entry["target"].rpartition("/")[2] for entry in manifest["files"]}
    assert {entry["unit"] for entry in manifest["enable"]} <= shipped
