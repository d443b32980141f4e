"""A machine with an ordinary Debian really taken over by a (stand-in) NixOS system, and given back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.model import Json
from nxc_core.session import Session
from tests.kexec_machines import BOOT_ID, FAR, LAN, SLOW, Former, build_system, machines, make_lab
from tests.standin import StandIn, set_variables, stand_in
from tests.standin_machine import debian_machine

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

COMPOSITION = """{ pkgs, ... }: {
  roles.server = { pkgs, ... }: {
    environment.systemPackages = [ pkgs.hello ];
    environment.etc.role.text = "the server\\n";
  };
  roles.client.environment.etc.role.text = "the client\\n";
}
"""


@pytest.fixture(scope="module")
def machine(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Former]:
    folder = tmp_path_factory.mktemp("kexec")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        lab = make_lab(folder / "lab", build_system(folder / "system"))
    with machines(lab, 1) as (found,):
        yield found


@pytest.fixture(scope="module")
def found(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    """Make the stand-in out of the layers that the other tests boot, too."""
    parts = debian_machine(shared_cache, tmp_path_factory)
    return stand_in(tmp_path_factory.mktemp("boot"), parts)


def test_a_machine_becomes_a_nixos_node(
    machine: Former, found: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_variables(monkeypatch, found.variables())
    (tmp_path / "composition.nix").write_text(COMPOSITION)
    former = machine.wait()
    reached = machine.run("echo $SSH_CONNECTION").split()[2]
    session = Session.open(tmp_path)
    (tmp_path / "machines").write_text(f"{machine.line}\n")
    options: dict[str, dict[str, Json]] = {
        "nixos": {"nixpkgs": str(found.nixpkgs)},
        "kexec": {
            "machines": [str(tmp_path / "machines")],
            "known_hosts": str(machine.lab.known_hosts),
            "cmdline": SLOW,
        },
    }
    with session.up(
        tmp_path / "composition.nix",
        flavour="kexec",
        base="nixos",
        roles={"server": 1, "client": 0},
        options=options,
    ) as running:
        node = running["server"]
        assert node.succeed("cat /etc/role") == "the server\n"
        assert node.succeed("hello") == "Hello, world!\n"
        assert node.succeed("hostname").strip() == "server"
        assert node.succeed(f"cat {BOOT_ID}").strip() != former
        assert node.succeed("findmnt -no FSTYPE /nix/.ro-store").strip() == "squashfs"
        assert node.succeed("stat -c %a /run/nxc").strip() == "700"
        assert len(node.succeed("cat /proc/cmdline")) < 2048
        cards = {card["address"]: card["addr_info"] for card in json.loads(node.succeed("ip -j address"))}
        (lan,) = (one for one in cards[machine.mac("lan")] if one["family"] == "inet")
        assert (lan["local"], lan["prefixlen"]) == (machine.lan, 24)
        assert f"{FAR} via {LAN}.1" in node.succeed("ip -4 route")
        assert node.succeed("getent ahostsv4 server").split()[0] == reached
    assert machine.wait(unlike=former)
    assert machine.run("ls -A /dev/shm; cat /sys/kernel/kexec_loaded").split() == ["0"]
