"""The kinds of image: on every release, under roles that say otherwise, and the documents of them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from attrs import fields

from nxc_core.model import Guest
from tests.kinds import CONTAINER, KINDS, NIX, REAL, SYSTEMD, VIRTUAL, evaluate

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
