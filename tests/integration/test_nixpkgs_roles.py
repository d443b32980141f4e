"""On a real nixpkgs: a role wins over what every kind and guest is by default, and has nothing else to say.

NXC_TEST_NIXPKGS=/tree[:/other/tree]     trees of nixpkgs; without it nothing here runs
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = [Path(place) for place in os.environ.get("NXC_TEST_NIXPKGS", "").split(":") if place]
REAL = '{ firmware = true; seed = "cpio"; console = "ttyS0,115200"; }'
VIRTUAL = '{ console = "ttyS0"; share = "9p"; lean = true; kernelModules = [ "virtio_net" ]; }'
KINDS = {
    "ramdisk": VIRTUAL,
    "closure": VIRTUAL,
    "docker-archive": '{ kernel = false; root = "container"; }',
    "nfs-store": REAL,
    "rootfs-tar": '{ firmware = true; root = "ext4"; seed = "push"; }',
}

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.nixpkgs,
]

ROLE = """{ pkgs, ... }: {
  networking.firewall.enable = true;
  networking.firewall.allowedTCPPorts = [ 80 ];
  networking.hostName = "mine";
  users.users.root.password = "x";
  security.polkit.enable = true;
  services.udisks2.enable = true;
  services.openssh.enable = false;
  documentation.enable = true;
  boot.kernelParams = [ "quiet" ];
  nixpkgs.overlays = [ (final: prev: { greeting = prev.hello; }) ];
  environment.systemPackages = [ pkgs.greeting ];
}"""


def evaluate(tree: Path, kind: str, wanted: str, role: str = ROLE, guest: str = "") -> Any:
    expression = f"""
      let
        lib = import {tree}/lib;
        kind = import {ROOT}/nix/kinds/{kind}.nix {{ inherit lib; }};
        system = import {tree}/nixos/lib/eval-config.nix {{
          system = "x86_64-linux";
          modules = [
            {ROOT}/nix/nixos/guest.nix {ROOT}/nix/nixos/node.nix kind.module
            {{ nxc.guest = {guest or KINDS[kind]}; }}
            ({role})
          ];
        }};
        inherit (system) config;
      in {wanted}"""
    argv = ["nix-instantiate", "--eval", "--json", "--strict", "--store", "dummy://", "-E", expression]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NIX")}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("tree", TREES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_role_wins(tree: Path, kind: str) -> None:
    found = evaluate(
        tree,
        kind,
        """{
          on = [ config.networking.firewall.enable config.security.polkit.enable
            config.services.udisks2.enable config.documentation.enable ];
          off = [ config.services.openssh.enable (config.systemd.services ? sshd) ];
          name = config.networking.hostName;
          password = config.users.users.root.password;
          params = config.boot.kernelParams;
          firewall = with config.networking.firewall; [ allowedTCPPorts allowedTCPPortRanges ];
          toplevel = config.system.build.toplevel.drvPath;
        }""",
    )
    assert set(found["on"]) == {True}
    assert set(found["off"]) == {False}
    assert (found["name"], found["password"]) == ("mine", "x")
    assert "quiet" in found["params"]
    assert found["firewall"] == [[80], [{"from": 2200, "to": 2200}]]
    assert "-nixos-system-mine-" in found["toplevel"]


@pytest.mark.parametrize("tree", TREES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_roles_that_say_the_same_are_one_system(tree: Path, kind: str) -> None:
    """Nothing of us asks for a password, a name or a release; what is not said needs no warning."""
    wanted = """[ config.system.build.toplevel.drvPath config.warnings config.users.users.root.password
      config.networking.hostName config.documentation.enable ]"""
    one, other = (evaluate(tree, kind, wanted, role) for role in ("{ }", "{ imports = [ ]; }"))
    assert one == other
    assert one[1:] == [[], None, "", False]


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_real_hardware_is_found_and_asks_for_addresses(tree: Path) -> None:
    """Stage 1 keeps the identity; of NixOS' own clients for addresses none is started."""
    wanted = """{
      mounted = config.boot.initrd.postMountCommands;
      firmware = map (package: package.name) (lib.concatLists system.options.hardware.firmware.definitions);
      clients = [ config.networking.useDHCP (config.systemd.services ? dhcpcd) ];
      system = config.system.build.toplevel.drvPath;
    }"""
    found = evaluate(tree, "ramdisk", wanted, role="{ }", guest=REAL)
    assert "/nxc/node.json" in found["mounted"]
    assert "nxc-firmware" in found["firmware"]
    assert found["clients"] == [False, False]
