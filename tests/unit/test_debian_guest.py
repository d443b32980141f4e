"""What the Debian base puts into every system for a flavour's guest, and what of a role is in no layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import evolve

from nxc_core.model import Container, Guest
from nxc_debian import specs
from nxc_debian.evaluation import to_container
from nxc_debian.inside import layer
from nxc_debian.lock import Package

MANIFEST = Path(__file__).parents[2] / "nix/guest/manifest.json"
LISTED = json.loads(MANIFEST.read_text())
BASE = specs.base_spec([], suite="bookworm", architecture="amd64", epoch=1)
MACHINE = Guest(console="ttyS0", seed="fw_cfg")
HARDWARE = Guest(console="ttyS0", firmware=True, seed="cpio")
CONTAINER = Guest(ssh=False, kernel=False, root="container", lean=True)


def guest(wanted: Guest, *used: str, tmp_path: Path = Path("/nowhere")) -> specs.Spec:
    return specs.guest_spec(BASE, wanted, MANIFEST, frozenset(used), tmp_path)


def masked(wanted: Guest, *used: str) -> set[str]:
    return set(guest(wanted, *used).task["mask"])


def test_a_whole_machine_masks_nothing() -> None:
    assert masked(MACHINE) == set()
    assert masked(evolve(MACHINE, lean=True)) == set(LISTED["mask_when_lean"])


def test_a_container_masks_what_cannot_work_there() -> None:
    never = masked(evolve(CONTAINER, lean=False))
    assert never == set(LISTED["mask_in_container"])
    # Privileged containers write to /sys: theirs would act on the machine around them.
    assert {"systemd-udevd.service", "systemd-udev-trigger.service", "systemd-binfmt.service"} <= never
    # Two of the few inotify instances that all containers of a machine share.
    assert {"systemd-ask-password-wall.path", "systemd-ask-password-console.path"} <= never
    assert "systemd-logind.service" not in never
    assert masked(CONTAINER) == never | set(LISTED["mask_when_lean"])
    assert "systemd-logind.service" in masked(CONTAINER)


def test_real_hardware_keeps_what_finds_it() -> None:
    """Only a virtual machine's cards are known beforehand."""
    lean = masked(evolve(HARDWARE, lean=True))
    assert masked(evolve(MACHINE, lean=True)) - lean == set(LISTED["hardware"]["units"])
    assert "systemd-udevd.service" not in lean and "getty@tty1.service" in lean


def package(name: str) -> Package:
    return Package(
        name=name, version="1", architecture="amd64", sha256="0" * 64, size=1, filename=f"{name}.deb"
    )


def test_a_client_for_addresses_comes_with_its_program(tmp_path: Path) -> None:
    busybox = package("busybox-static")
    asking = specs.guest_spec(BASE, HARDWARE, MANIFEST, frozenset(), tmp_path, busybox=busybox)
    more = set(asking.task["files"]) - set(guest(HARDWARE).task["files"])
    assert more == {"usr/lib/nxc/nxc-dhcp", "usr/lib/systemd/system/nxc-dhcp@.service"}
    assert asking.packages == (busybox,) and asking.task["busybox"].endswith(".deb")
    assert guest(HARDWARE).task["busybox"] is None
    assert asking.key != guest(HARDWARE).key


def test_of_firmware_that_of_network_cards_is_kept(tmp_path: Path) -> None:
    kept = {"bnx2x/fw-7.fw", "bnx2x-e1-5.fw", "intel/ice/ddp/ice-1.3.pkg", "tigon/tg3.bin"}
    for name in (*kept, "nvidia/gpu.bin", "intel/wifi.ucode", "iwlwifi.ucode", "qedless/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    layer._keep_only(tmp_path, LISTED["hardware"]["firmware"])
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == kept


def test_a_smaller_kernel_is_another(tmp_path: Path) -> None:
    image = package("linux-image-6.1-amd64")
    whole, smaller = (specs.kernel_spec(BASE, [image], tmp_path, without) for without in ((), ("sound",)))
    assert whole.key != smaller.key and smaller.task["without"] == ["sound"]


def test_generators_that_have_nothing_to_do_are_left_out() -> None:
    def left_out(wanted: Guest) -> set[str]:
        return set(guest(wanted).task["without_generators"])

    assert left_out(MACHINE) == set()
    assert left_out(evolve(HARDWARE, lean=True)) == set(), "its disks are somebody's"
    assert left_out(evolve(MACHINE, lean=True)) == set(LISTED["generators_not_when_lean"])
    assert left_out(CONTAINER) == left_out(evolve(CONTAINER, lean=False))
    for kept in ("systemd-fstab-generator", "systemd-sysv-generator", "systemd-rc-local-generator"):
        assert kept not in left_out(CONTAINER), "a role may need it"


def test_what_a_role_uses_is_not_masked() -> None:
    used = ("systemd-logind.service", "console-getty.service")
    assert masked(CONTAINER) - masked(CONTAINER, *used) == set(used)


def test_no_unit_is_named_twice_and_none_of_nxc_s_own() -> None:
    for name in ("mask_when_lean", "mask_in_container"):
        assert len(LISTED[name]) == len(set(LISTED[name]))
        assert not {"nxc-node.service", "nxc-sshd.service"} & set(LISTED[name])


def test_only_a_guest_with_ssh_starts_its_sshd() -> None:
    assert guest(MACHINE).task["wants"]["sysinit.target"] == ["nxc-node.service", "nxc-sshd.service"]
    assert guest(CONTAINER).task["wants"]["sysinit.target"] == ["nxc-node.service"]


def test_a_role_asks_for_what_its_document_says() -> None:
    said = {"ports": ["80"], "volumes": [], "memory": None, "cpus": 2, "pids": None, "sysctls": {"a.b": "1"}}
    assert to_container(said) == Container(ports=("80",), cpus=2.0, sysctls={"a.b": "1"})


def role_key(**said: Any) -> str:
    system = {"files": {}, "needs": [], **said}
    return specs.role_spec(BASE, "server", system, [], [], Path("/nowhere")).key


def test_what_a_role_asks_of_its_platform_is_in_no_layer() -> None:
    """Another port or limit builds nothing."""
    plain = role_key()
    asked = {"ports": ["8080:80"], "volumes": [], "memory": "1g", "cpus": 1, "pids": 9, "sysctls": {"a": "1"}}
    assert role_key(container=asked) == plain
    assert role_key(needs=[{"need": "mount", "option": "x"}]) == plain
    assert role_key(files={"etc/x": {"text": "x", "mode": "0444"}}) != plain
