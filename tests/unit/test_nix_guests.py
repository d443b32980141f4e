"""What a guest means for NixOS: what it leaves out, drives and mounts, in both stages 1."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.kinds import CONTAINER, NIX, REAL, SYSTEMD, VIRTUAL, evaluate

# What the guest says


def test_a_container_boots_nothing() -> None:
    config = evaluate("closure", "config", guest=CONTAINER)
    assert config["boot"]["isContainer"] is True
    assert config["fileSystems"] == {}
    assert config["boot"]["initrd"]["kernelModules"] == []
    assert "nxc.registration" not in config["systemd"]["services"]["nxc-database"]["script"]


@pytest.mark.parametrize("later", [False, True])
def test_a_container_leaves_alone_what_its_engine_does(later: bool) -> None:
    listed = json.loads((NIX / "guest/manifest.json").read_text())
    config = evaluate("closure", "config", guest=CONTAINER, later=later)
    assert config["systemd"]["suppressedSystemUnits"] == listed["mask_in_container"]
    assert config["systemd"]["services"]["nscd"]["serviceConfig"]["DynamicUser"] is False
    assert config["users"]["users"]["nscd"]["isSystemUser"] is True
    assert config["services"]["openssh"]["startWhenNeeded"] is False
    assert config["boot" if later else "nix"]["readOnlyNixStore" if later else "readOnlyStore"] is False
    assert "remount" not in config["system"]["activationScripts"]["specialfs"]
    lean = evaluate("closure", "config.systemd", guest=f"{CONTAINER} // {{ lean = true; }}", later=later)
    assert set(lean["suppressedSystemUnits"]) == {
        *listed["mask_in_container"],
        *listed["mask_when_lean"],
    } - {"systemd-logind.service"}
    assert lean["services"]["systemd-logind"]["enable"] is False
    whole = evaluate("ramdisk", "config", guest=VIRTUAL, later=later)
    assert whole["systemd"]["suppressedSystemUnits"] == []
    assert whole["system"]["activationScripts"]["specialfs"] == "remount"
    assert whole["systemd"]["services"]["nscd"]["serviceConfig"]["DynamicUser"] is True


def test_special_file_systems_of_a_container_are_mounted_where_it_may(tmp_path: Path) -> None:
    """What is there stays; what may not be mounted is a folder, and no complaint."""
    text = evaluate("closure", "config.system.activationScripts.specialfs", guest=CONTAINER)
    (tmp_path / "here").mkdir()
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"specialMount tmpfs {tmp_path}/here nosuid tmpfs\n"
        f"specialMount tmpfs {tmp_path}/new mode=750 tmpfs\n"
        f"specialMount none {tmp_path}/never x no-such-file-system\n"
    )
    (tmp_path / "activate").write_text("set -e\n" + text.replace("/fake/early-mount", str(mounts)))
    script = f"""
    mount -t tmpfs -o noexec old {tmp_path}/here
    bash {tmp_path}/activate 2>&1
    findmnt -no SOURCE {tmp_path}/here
    findmnt -no FSTYPE {tmp_path}/new
    ls -d {tmp_path}/never
    """
    argv = ("unshare", "--map-root-user", "--mount", "sh", "-euc", script)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["old", "tmpfs", f"{tmp_path}/never"]


def test_drivers_are_loaded_at_once_in_a_virtual_machine_and_by_udev_elsewhere() -> None:
    virtual = evaluate("ramdisk", "config.boot", guest=VIRTUAL)
    assert virtual["kernelParams"] == ["console=ttyS0"]
    assert "virtio_net" in virtual["initrd"]["availableKernelModules"]
    assert "virtio_net" in virtual["initrd"]["kernelModules"]
    real = evaluate("ramdisk", "config.boot", guest=REAL)
    assert real["kernelParams"] == []
    assert "igb" in real["initrd"]["availableKernelModules"]
    assert "igb" not in real["initrd"]["kernelModules"]


def test_real_hardware_has_firmware_and_addresses_of_its_site() -> None:
    wanted = """[ (builtins.length config.hardware.firmware) config.networking.useDHCP
      (config.environment.etc ? "resolv.conf") ]"""
    assert evaluate("ramdisk", wanted, guest=REAL) == [1, False, True], "its node.json says which cards ask"
    pushed = '{ seed = "push"; root = "ext4"; firmware = true; }'
    assert evaluate("rootfs-tar", wanted, guest=pushed) == [1, True, False]
    assert evaluate("ramdisk", wanted, guest=VIRTUAL) == [0, False, True]
    own = '{ networking.nameservers = [ "10.0.0.1" ]; }'
    assert evaluate("ramdisk", wanted, guest=VIRTUAL, role=own) == [0, False, False]


@pytest.mark.parametrize("later", [False, True])
def test_only_a_guest_that_may_ask_for_addresses_has_a_client(later: bool) -> None:
    wanted = 'map (package: package.text or "") config.systemd.packages'
    (asking,) = (text for text in evaluate("ramdisk", wanted, guest=REAL, later=later) if "nxc-dhcp" in text)
    assert "/fake/busybox/bin/busybox" in asking
    texts = evaluate("ramdisk", wanted, guest=VIRTUAL, later=later)
    assert texts and not any("nxc-dhcp" in text or "busybox" in text for text in texts)


def test_firmware_is_that_of_network_cards() -> None:
    (text,) = evaluate("ramdisk", "map (package: package.text) config.hardware.firmware", guest=REAL)
    assert "/fake/linux-firmware/lib/firmware" in text and " bnx2x " in text and " intel/ice " in text
    (text,) = evaluate(
        "ramdisk", "map (package: package.text) config.hardware.firmware", guest=REAL, later=False
    )
    assert "/fake/firmwareLinuxNonfree/lib/firmware" in text


@pytest.mark.parametrize("later", [False, True])
def test_lean_leaves_out_what_there_is(later: bool) -> None:
    wanted = """{ fonts = config.fonts.fontconfig.enable;
      getty = config.systemd.services ? "serial-getty@ttyS0"
        && !config.systemd.services."serial-getty@ttyS0".enable;
      later = [ (config.boot.swraid.enable or null) (config.environment.defaultPackages or null) ]; }"""
    lean = evaluate("ramdisk", wanted, later=later)
    assert lean == {"fonts": False, "getty": True, "later": [False, []] if later else [None, None]}
    whole = evaluate("ramdisk", wanted, guest='{ console = "ttyS0"; }', later=later)
    assert whole == {"fonts": True, "getty": False, "later": [True, ["rsync"]] if later else [None, None]}


def test_the_database_is_filled_only_where_there_is_nix() -> None:
    wanted = 'config.systemd.services.nxc-database.script or ""'
    assert "nix-store --load-db" in evaluate("ramdisk", wanted, later=False)
    assert "nxc.registration=" in evaluate("ramdisk", wanted)
    assert evaluate("ramdisk", wanted, role="{ nix.enable = false; }") == ""


# File systems, for both stages 1


def test_scripted_stage_1_stacks_the_store_by_its_file_systems() -> None:
    systems = evaluate("ramdisk", "config.fileSystems", later=False)
    assert systems["/nix/.ro-store"]["device"] == "../nix-store.squashfs"
    assert systems["/nix/store"]["fsType"] == "overlay"
    assert "lowerdir=/nix/.ro-store" in systems["/nix/store"]["options"]
    assert systems["/nix/.ro-store"]["neededForBoot"] is True
    assert systems["/nix/.rw-store"]["neededForBoot"] is True


def test_systemd_stage_1_stacks_the_store_by_a_unit() -> None:
    systems, systemd = evaluate("ramdisk", "[ config.fileSystems config.boot.initrd.systemd ]", role=SYSTEMD)
    assert systems["/nix/.ro-store"]["device"] == "/nix-store.squashfs"
    assert "/nix/store" not in systems
    (mount,) = systemd["mounts"]
    assert mount["where"] == "/sysroot/nix/store"
    assert mount["options"].startswith("lowerdir=/sysroot/nix/.ro-store,")
    assert set(mount["requires"]) <= {f"{name}.service" for name in systemd["services"]}


@pytest.mark.parametrize("kind", ["ramdisk", "nfs-store"])
def test_a_seed_by_cpio_is_kept(kind: str, tmp_path: Path) -> None:
    """By stage 1, whichever it is, for root alone; nothing is there when none was appended."""
    scripted = "config.boot.initrd.postMountCommands"
    systemd = "config.boot.initrd.systemd.services.nxc-seed.script"
    seen = {
        "$targetRoot": evaluate(kind, scripted, guest=REAL),
        "/sysroot": evaluate(kind, systemd, guest=REAL, role=SYSTEMD),
    }
    for root, text in seen.items():
        (found,) = re.findall(r"if \[ -e /nxc/node.json \]; then\n(?:.*\n)+?\s*fi", text)
        new = tmp_path / root.strip("/$")
        new.mkdir()
        script = found.replace("/nxc/node.json ]", f"{tmp_path}/node.json ]").replace(
            "cat /nxc", f"cat {tmp_path}"
        )
        script = script.replace(root, str(new))
        (tmp_path / "node.json").unlink(missing_ok=True)
        subprocess.run(("sh", "-euc", script), check=True)
        assert not list(new.iterdir())
        (tmp_path / "node.json").write_text("{}")
        subprocess.run(("sh", "-euc", script), check=True)
        assert (new / "nxc/node.json").read_text() == "{}"
        modes = [path.stat().st_mode & 0o777 for path in (new / "nxc", new / "nxc/node.json")]
        assert modes == [0o700, 0o600]


@pytest.mark.parametrize("role", ["{ }", SYSTEMD])
def test_only_a_seed_by_cpio_is_looked_for(role: str) -> None:
    for guest in (VIRTUAL, '{ seed = "push"; }'):
        initrd = evaluate("ramdisk", "config.boot.initrd", guest=guest, role=role)
        assert "node.json" not in initrd["postMountCommands"]
        assert "nxc-seed" not in initrd["systemd"]["services"]


@pytest.mark.parametrize(("share", "module"), [("9p", "9pnet_virtio"), ("virtiofs", "virtiofs")])
def test_the_host_s_store_is_mounted(share: str, module: str) -> None:
    config = evaluate("closure", "config", guest=f'{{ share = "{share}"; }}', later=False)
    mounted = config["fileSystems"]["/nix/.ro-store"]
    assert (mounted["fsType"], mounted["device"]) == (share, "nix-store")
    assert module in config["boot"]["initrd"]["kernelModules"]


def test_a_kernel_without_a_share_is_refused() -> None:
    (said,) = evaluate("closure", "failed", guest="{ }")
    assert "share" in said


def test_kadeploy_finds_root_and_sshd() -> None:
    config = evaluate("rootfs-tar", "config", guest='{ root = "ext4"; firmware = true; }', later=False)
    assert config["fileSystems"]["/"]["device"] == "/dev/root"
    assert config["services"]["openssh"]["enable"] is True
    assert config["networking"]["firewall"]["rejectPackets"] is True
    assert evaluate("rootfs-tar", 'config.fileSystems."/".device', role=SYSTEMD).startswith("/dev/disk/")
    assert evaluate("ramdisk", "config.services.openssh.enable") is False
