"""The kinds of image, and what a guest means for NixOS: evaluated with our own module system."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import fields

from nxc_core.model import Guest

ROOT = Path(__file__).resolve().parents[2]
NIX = ROOT / "nix"
LIB = os.environ.get("NXC_TEST_NIXPKGS_LIB") or NIX / "lib"
KINDS = tuple(sorted(path.stem for path in (NIX / "kinds").glob("*.nix")))
SYSTEMD = "{ boot.initrd.systemd.enable = true; }"
VIRTUAL = (
    """{ console = "ttyS0"; kernelModules = [ "virtio_net" ]; seed = "fw_cfg"; share = "9p"; lean = true; }"""
)
CONTAINER = """{ kernel = false; root = "container"; }"""
REAL = """{ firmware = true; kernelModules = [ "igb" ]; seed = "cpio"; share = "virtiofs"; }"""


@functools.cache
def packages(later: bool) -> str:
    """The packages that README.md says are used, as a Nix list; some have other names in earlier releases."""
    text = (NIX / "kinds/README.md").read_text().split("## What is used of pkgs")[1]
    listed = re.sub(r"the\s+standard\s+environment's.*?\n\n", "\n\n", text, flags=re.DOTALL)
    names = set(re.findall(r"`([\w-]+)`", listed))
    earlier, named_anew = (
        {"iproute", "utillinux", "firmwareLinuxNonfree"},
        {"iproute2", "util-linux", "linux-firmware"},
    )
    names -= earlier if later else named_anew
    return "[ " + " ".join(json.dumps(name) for name in sorted(names)) + " ]"


def nix(expression: str) -> subprocess.CompletedProcess[str]:
    """Evaluate as any user can: without a daemon, and without a store to write to."""
    argv = ["nix-instantiate", "--eval", "--json", "--strict", "--store", "dummy://", "-E", expression]
    environment = {
        k: v for k, v in os.environ.items() if k not in ("NIX_REMOTE", "NIX_PATH", "NIX_STORE_DIR")
    }
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environment)


def evaluate(kind: str, wanted: str, *, guest: str = VIRTUAL, role: str = "{ }", later: bool = True) -> Any:
    """Return what is ``wanted`` of a role's evaluation: ``config``, ``checked``, ``failed``, ``image``."""
    flag = "true" if later else "false"
    done = nix(
        f"""with import {ROOT}/tests/nix/kinds/evaluate.nix {{
          lib = import {LIB}; packages = {packages(later)}; later = {flag}; kind = "{kind}";
          guest = {guest}; role = {role}; }};
        {wanted}"""
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


# Every kind, on every release


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guest", [VIRTUAL, CONTAINER, REAL], ids=["virtual", "container", "real"])
@pytest.mark.parametrize(
    ("later", "role"), [(False, "{ }"), (True, "{ }"), (True, SYSTEMD)], ids=["early", "later", "systemd"]
)
def test_a_kind_defines_only_options_that_there_are(kind: str, guest: str, later: bool, role: str) -> None:
    """On an early release, on a later one, and with systemd as stage 1; with no package but those listed."""
    wanted = "[ checked failed warnings ]"
    checked, failed, warnings = evaluate(kind, wanted, guest=guest, role=role, later=later)
    assert (failed, warnings) == ([], [])
    systemd = json.loads(checked)["boot"]["initrd"]
    # systemd as stage 1 asserts that nothing is left to a script.
    assert role == "{ }" or systemd["postMountCommands"] == ""


def test_there_are_the_kinds_that_flavours_ask_for() -> None:
    stated: dict[str, Any] = {}
    for file in ("platforms.json", "guests.json"):
        stated |= json.loads((NIX / file).read_text())
    assert {flavour["kind"] for flavour in stated.values()} <= set(KINDS)


def test_a_guest_has_the_fields_of_the_model() -> None:
    """Names, and what they are unless a flavour says otherwise."""
    ours = evaluate("ramdisk", "config.nxc.guest", guest="{ }")
    assert ours.pop("kernelModules") == []
    theirs = {
        re.sub(r"_(\w)", lambda found: found[1].upper(), field.name): field.default for field in fields(Guest)
    }
    assert theirs.pop("kernelModules") == ()
    assert ours == theirs


def test_no_release_is_asked_for_its_version() -> None:
    asks = re.compile(
        r"version(AtLeast|Older)|kernel(AtLeast|Older)|compareVersions|trivial\.release|lib\.version"
    )
    files = [*(NIX / "kinds").rglob("*.nix"), *(NIX / "nixos").rglob("*.nix")]
    assert len(files) > 8
    lines = [line for path in files for line in path.read_text().splitlines()]
    # Of Nix itself there is nothing else to ask.
    assert [line for line in lines if asks.search(line) and "nixVersion" not in line] == []


# A role wins


OWN = """{ lib, ... }: {
  networking.firewall.enable = true;
  networking.firewall.allowedTCPPorts = lib.mkForce [ 80 ];
  networking.hostName = "mine";
  networking.useDHCP = false;
  users.users.root.password = "x";
  users.mutableUsers = false;
  security.polkit.enable = true;
  services.udisks2.enable = true;
  services.openssh.enable = false;
  documentation.enable = true;
  fonts.fontconfig.enable = true;
  system.stateVersion = "0.5";
  boot.kernelParams = [ "quiet" ];
  boot.loader.grub.enable = true;
  hardware.enableRedistributableFirmware = false;
  fileSystems."/".fsType = "xfs";
  systemd.services."getty@tty1".enable = true;
}"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guest", [VIRTUAL, CONTAINER, REAL], ids=["virtual", "container", "real"])
def test_a_role_wins_over_everything_a_guest_is_by_default(kind: str, guest: str) -> None:
    config = evaluate(kind, "config", guest=guest, role=OWN)
    assert config["networking"]["firewall"]["enable"] is True
    assert config["networking"]["hostName"] == "mine"
    assert config["networking"]["useDHCP"] is False
    assert config["users"]["users"]["root"]["password"] == "x"
    assert config["security"]["polkit"]["enable"] is True
    assert config["services"]["openssh"]["enable"] is False
    assert config["services"]["udisks2"]["enable"] is True
    assert config["documentation"]["enable"] is True
    assert config["fonts"]["fontconfig"]["enable"] is True
    assert config["system"]["stateVersion"] == "0.5"
    assert config["boot"]["kernelParams"][0] == "quiet"
    assert config["boot"]["loader"]["grub"]["enable"] is True
    assert config["hardware"]["enableRedistributableFirmware"] is False
    assert config["fileSystems"]["/"]["fsType"] == "xfs"
    assert config["systemd"]["services"]["getty@tty1"]["enable"] is True


def test_the_way_in_survives_such_a_role() -> None:
    wanted = """[ config.networking.firewall (map (p: p.name) config.systemd.packages)
      config.systemd.services.nxc-sshd ]"""
    firewall, brought, unit = evaluate("ramdisk", wanted, role=OWN)
    assert firewall["allowedTCPPorts"] == [80]
    assert firewall["allowedTCPPortRanges"] == [{"from": 2200, "to": 2200}]
    assert {"nxc-node", "nxc-sshd"} <= set(brought)
    assert unit["wantedBy"] == ["sysinit.target"]


def test_nxc_node_is_where_it_is_on_any_base() -> None:
    (link,) = evaluate("ramdisk", "config.systemd.tmpfiles.rules")
    assert link.split()[:2] == ["L+", "/usr/lib/nxc"]
    assert link.split()[-1] == "/fake/nxc-node/lib/nxc"


def test_without_ssh_there_is_no_way_in() -> None:
    guest = "{ ssh = false; }"
    wanted = "[ config.networking.firewall.allowedTCPPortRanges config.systemd.services config.users.users ]"
    ranges, services, users = evaluate("ramdisk", wanted, guest=guest)
    assert (ranges, users) == ([], {})
    assert "nxc-node" in services
    assert "nxc-sshd" not in services


def test_nobody_gets_in_without_a_key() -> None:
    """No password, no key and no login of itself in any image, whatever the guest."""
    for guest in (VIRTUAL, CONTAINER, REAL):
        users = evaluate("ramdisk", "config.users.users", guest=guest)
        assert set(users) == {"sshd"} | ({"nscd"} if guest == CONTAINER else set())
        for user in users.values():
            assert (user["password"], user["hashedPassword"]) == (None, None)
    said = "".join(path.read_text() for path in (NIX / "nixos").glob("*.nix"))
    assert not re.search(
        r"autologin|initialPassword|initialHashedPassword|hashedPassword|ssh-(rsa|ed25519)", said
    )


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


# Documents and boot images


ROLES = '{ one = "x"; two = "x"; three = "y"; }'


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"docker-archive"}))
def test_roles_with_one_kernel_and_initrd_share_a_boot_image(kind: str) -> None:
    document = evaluate(kind, f"image {ROLES}")
    roles = document["roles"]
    assert roles["one"]["boot"] == roles["two"]["boot"] != roles["three"]["boot"]
    assert set(document["boot"]) == {role["boot"] for role in roles.values()}
    assert all(set(image) == {"kernel", "initrd"} for image in document["boot"].values())
    assert roles["one"]["toplevel"] == "/fake/system-one"
    assert roles["one"]["init"] == "/fake/system-one/init"
    # Named by content: a role that goes renames nothing.
    fewer = evaluate(kind, 'image { two = "x"; }')
    assert fewer["roles"]["two"]["boot"] == roles["two"]["boot"]


@pytest.mark.parametrize("kind", KINDS)
def test_containers_have_no_boot_image(kind: str) -> None:
    document = evaluate(kind, "image { one = null; two = null; }", guest=CONTAINER)
    assert document["boot"] == {}
    assert {role["boot"] for role in document["roles"].values()} == {None}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("ramdisk", []),
        ("closure", ["registration"]),
        ("rootfs-tar", ["one.tar", "three.tar", "two.tar"]),
        ("docker-archive", ["image.tar"]),
        ("nfs-store", ["registration", "store-paths"]),
    ],
)
def test_a_document_names_the_files_of_its_kind(kind: str, names: list[str]) -> None:
    files = evaluate(kind, f"(image {ROLES}).files")
    assert sorted(files) == names
    assert all(path.startswith("/fake/") for path in files.values())


def test_kinds_with_files_are_all_tested() -> None:
    """The list above has every kind."""
    (mark,) = test_a_document_names_the_files_of_its_kind.pytestmark  # type: ignore[attr-defined]
    assert {kind for kind, _ in mark.args[1]} == set(KINDS)


# The shell in it, really run


def builder(name: str) -> str:
    """Return the build of the package that brings a unit, with the files it reads."""
    wanted = f'(lib.findFirst (p: p.name == "{name}") null config.systemd.packages).text'
    text: str = evaluate("ramdisk", wanted)
    return re.sub(r"/nix/store/[a-z0-9]{32}-([\w.-]+)(?=[\s/]|$)", rf"{NIX}/guest/\1", text)


@pytest.mark.parametrize("name", ["nxc-node", "nxc-sshd"])
def test_what_debian_has_is_fitted_to_nixos(name: str, tmp_path: Path) -> None:
    """No path of Debian's stays in what a unit starts."""
    subprocess.run(("bash", "-euc", builder(name)), env={**os.environ, "out": str(tmp_path)}, check=True)
    unit = (tmp_path / f"lib/systemd/system/{name}.service").read_text()
    started = re.findall(r"^Exec\w+=(.*)$", unit, flags=re.MULTILINE)
    assert started
    for command in started:
        absolute = [word for word in command.split() if word.startswith("/")]
        assert absolute
        assert all(word.startswith((str(tmp_path), "/fake/")) for word in absolute)
        assert all(Path(word).exists() for word in absolute if word.startswith(str(tmp_path)))
    if name == "nxc-node":
        script = (tmp_path / "lib/nxc/nxc-node").read_text()
        assert re.search(r"^export PATH=/fake/coreutils/bin:.*/fake/jq/bin:", script, flags=re.MULTILINE)
        assert (tmp_path / "lib/nxc/node.jq").is_file()
    else:
        assert "SetEnv PATH=" in (tmp_path / "lib/nxc/sshd_config").read_text()


def test_a_node_s_own_name_is_left_to_its_addresses(tmp_path: Path) -> None:
    """What a role adds to /etc/hosts stays; what NixOS says of the machine's own name goes."""
    text: str = evaluate("ramdisk", 'config.environment.etc."nxc/hosts.extra".source.text')
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n::1 localhost\n127.0.0.2 mine\n::1 mine\n\n10.0.0.9 other\n")
    text = re.sub(r"/nix/store/\S+", str(hosts), text)
    subprocess.run(("bash", "-euc", text), env={**os.environ, "out": str(tmp_path / "extra")}, check=True)
    assert (tmp_path / "extra").read_text() == "10.0.0.9 other\n"


def mount_store(tmp_path: Path, words: str, fails: int = 0) -> tuple[list[str], str]:
    """Run what mounts a shared store; return the calls of mount and what it says."""
    script: str = evaluate("nfs-store", "config.boot.initrd.postMountCommands", later=False)
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    calls.touch()
    for name, text in {
        "cat": f"echo '{words}'",
        "sleep": "exit 0",
        "mount": f'echo "$@" >>{calls}; [ "$(wc -l <{calls})" -gt {fails} ]',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "targetRoot": str(tmp_path / "root")}
    whole = f"fail() {{ exit 9; }}\n{script}"
    done = subprocess.run(
        ("sh", "-c", whole), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return calls.read_text().splitlines(), done.stdout


def test_a_shared_store_is_mounted(tmp_path: Path) -> None:
    calls, said = mount_store(
        tmp_path, "quiet nxc.store=10.0.0.1:/srv/store nxc.store-options=vers=4.2,soft", 2
    )
    root = tmp_path / "root"
    assert said == ""
    assert (
        calls[:3]
        == [f"-i -t nfs -o ro,nolock,addr=10.0.0.1,vers=4.2,soft 10.0.0.1:/srv/store {root}/nix/.ro-store"]
        * 3
    )
    assert calls[3].startswith(f"-t overlay -o lowerdir={root}/nix/.ro-store,upperdir=")
    assert calls[3].endswith(f"{root}/nix/store")
    assert (root / "nix/.rw-store/work").is_dir()


def test_a_shared_store_may_have_an_address_of_ipv6(tmp_path: Path) -> None:
    calls, _ = mount_store(tmp_path, "nxc.store=[fd00::1]:/store")
    assert calls[0].split()[4:6] == ["ro,nolock,addr=fd00::1", "[fd00::1]:/store"]


@pytest.mark.parametrize(
    ("words", "said"),
    [("quiet", "no nxc.store=ADDRESS:/FOLDER"), ("nxc.store=10.0.0.1:/store", "cannot be mounted")],
)
def test_a_shared_store_that_is_not_there_is_said(tmp_path: Path, words: str, said: str) -> None:
    calls, heard = mount_store(tmp_path, words, fails=99)
    assert heard.startswith("nxc: failed: ")
    assert said in heard
    assert not any("overlay" in call for call in calls)


def test_systemd_runs_the_same_lines_below_its_own_root() -> None:
    scripted: str = evaluate("nfs-store", "config.boot.initrd.postMountCommands")
    unit = evaluate("nfs-store", "config.boot.initrd.systemd.services.nxc-store", role=SYSTEMD)
    ours = scripted.replace("$targetRoot", "/sysroot").replace("\n  fail\n", "\n  exit 1\n")
    assert [
        line.strip()
        for line in ours.replace("    fail\n", "    exit 1\n").replace("; fail;", "; exit 1;").splitlines()
    ] == [line.strip() for line in unit["script"].splitlines()[1:]]
    assert "network-online.target" in unit["after"]
    assert "initrd-fs.target" in unit["before"]
