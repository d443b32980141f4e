"""Stand-in NixOS systems really booted: built by Nix through the NixOS base, started by the vm flavours.

Stage 1 and the package set are stand-ins; the kernel, systemd, sshd and Nix are Debian's. What is nxc's own
is as it is under NixOS: the library, the kinds, the guest's units, the driver, the flavour.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nxc_core.machine import NodeHandle
from nxc_core.running import Running
from nxc_core.session import Session
from nxc_vm import boot
from tests import hardware
from tests.standin import StandIn, set_variables, stand_in
from tests.standin_machine import debian_machine

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

COMPOSITION = """{ pkgs, ... }: {
  roles.server = { pkgs, ... }: {
    environment.systemPackages = [ pkgs.hello ];
    environment.etc.role.text = "the server\\n";
    networking.extraHosts = "192.0.2.1 elsewhere";
    boot.postBootCommands = "echo yes > /root/post-boot";
    nxc.postBootCommands = "cat /proc/sys/kernel/hostname > /root/nxc-post-boot";
    systemd.services.greeter = {
      wantedBy = [ "multi-user.target" ];
      script = "hello > /root/greeting";
      path = [ pkgs.hello ];
      serviceConfig.Type = "oneshot";
    };
    # A way in that is nxc's own needs no role's sshd, and no firewall closes it.
    networking.firewall.enable = true;
  };
  roles.client.environment.etc.role.text = "the client\\n";
  testScript = "start_all()";
}
"""


@pytest.fixture(scope="module")
def machine(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return debian_machine(shared_cache, tmp_path_factory)


@pytest.fixture(scope="module")
def found(machine: Path, tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return stand_in(tmp_path_factory.mktemp("boot"), machine)


@pytest.fixture(scope="module")
def session(found: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A project without a flake, whose nixpkgs is the stand-in."""
    project = tmp_path_factory.mktemp("project")
    (project / "composition.nix").write_text(COMPOSITION)
    with pytest.MonkeyPatch.context() as patch:
        set_variables(patch, found.variables())
        yield Session.open(project)


@contextmanager
def up(session: Session, found: StandIn, flavour: str, **more: Any) -> Iterator[Running]:
    """Build with the NixOS base and start; afterwards nothing of it may be left running."""
    source = session.workspace.project / "composition.nix"
    options = {"nixos": {"nixpkgs": str(found.nixpkgs)}} | more.pop("options", {})
    with session.up(source, flavour=flavour, base="nixos", options=options, **more) as nodes:
        machines = nodes.op.claimed(boot.QEMU)
        assert machines and all(nodes.op.alive(machine) for machine in machines)
        nodes["server"].wait_for_unit("multi-user.target")
        yield nodes
    assert not any(nodes.op.alive(machine) for machine in machines)


@pytest.fixture(scope="module")
def running(session: Session, found: StandIn) -> Iterator[Running]:
    with up(session, found, "vm-ramdisk") as nodes:
        yield nodes


@pytest.fixture
def server(running: Running) -> NodeHandle:
    return running["server"]


def test_each_node_runs_its_role(running: Running) -> None:
    """One image; the kernel command line says which of its systems starts."""
    inits = set()
    for name in ("server", "client"):
        node = running[name]
        assert node.succeed("cat /etc/role") == f"the {name}\n"
        assert node.succeed("hostname").strip() == name
        words = node.succeed("cat /proc/cmdline").split()
        (init,) = (word.removeprefix("init=") for word in words if word.startswith("init="))
        assert node.succeed("readlink /run/current-system").strip() == init.removesuffix("/init")
        inits.add(init)
    assert len(inits) == 2


def test_it_knows_the_others(running: Running, server: NodeHandle) -> None:
    assert server.succeed("getent hosts client").split()[1] == "client"
    assert running["client"].succeed("getent hosts server").split()[1] == "server"
    assert server.succeed("getent hosts elsewhere").split() == ["192.0.2.1", "elsewhere"]
    address = server.succeed("getent ahostsv4 client").split()[0]
    assert address in running["client"].succeed("ip -4 -o address")


def test_its_units_and_commands_ran(server: NodeHandle) -> None:
    assert server.succeed("cat /root/greeting") == "Hello, world!\n"
    assert server.succeed("cat /root/post-boot") == "yes\n"
    assert server.succeed("cat /root/nxc-post-boot") == "server\n", "nxc's own run when it knows its name"
    assert server.succeed("systemctl --failed --no-legend") == ""
    assert server.succeed("hello") == "Hello, world!\n", "what the role installs is in the way in's path"


def test_the_store_can_be_written_and_is_in_memory(server: NodeHandle) -> None:
    assert server.succeed("findmnt -no FSTYPE /nix/store").strip() == "overlay"
    assert server.succeed("findmnt -no FSTYPE /nix/.ro-store").strip() == "squashfs"
    assert server.succeed("findmnt -no FSTYPE /").strip() == "tmpfs"
    added = server.succeed("echo text > /root/added; nix-store --add /root/added").strip()
    assert server.succeed(f"cat {added}") == "text\n"


def test_the_nix_database_is_valid(server: NodeHandle) -> None:
    """It knows the whole store, of the other role too, and what it says of a path is true."""
    system = server.succeed("readlink /run/current-system").strip()
    closure = server.succeed(f"nix-store --query --requisites {system}").split()
    assert system in closure and len(closure) > 10
    known = server.succeed("nix-store --query --requisites /nix/var/nix/profiles/system").split()
    assert sorted(known) == sorted(closure)
    packed = set(server.succeed("ls /nix/.ro-store").split()) - {"nix-path-registration"}
    assert packed > {path.removeprefix("/nix/store/") for path in closure}
    server.succeed("nix-store --check-validity " + " ".join(f"/nix/store/{name}" for name in packed))
    server.succeed(f"nix-store --verify-path {system}")
    server.fail(f"touch {system}/more && nix-store --verify-path {system}")


def test_the_identity_came_by_fw_cfg(server: NodeHandle) -> None:
    assert server.succeed("stat -c %a /run/nxc /run/nxc/host_key /run/nxc/ready").split() == [
        "700",
        "600",
        "600",
    ]
    assert json.loads(server.succeed("cat /run/nxc/node.json"))["node"] == "server"
    assert "opt/nxc/node.json" in server.succeed("ls -d /sys/firmware/qemu_fw_cfg/by_name/opt/nxc/node.json")


def test_the_way_in_is_nxc_s_own(running: Running, server: NodeHandle) -> None:
    assert server.succeed("systemctl is-active nxc-sshd.service").strip() == "active"
    server.fail("systemctl is-active sshd.service")
    server.succeed("usermod -p '!' root 2>/dev/null || sed -i 's/^root:[^:]*:/root:!:/' /etc/shadow")
    server.succeed("systemctl restart nxc-node.service")
    running.close()
    assert running["server"].succeed("grep ^root: /etc/shadow").startswith("root:*:")


def test_building_again_does_nothing(session: Session, found: StandIn, running: Running) -> None:
    """The store is as before, and so is the artifact."""
    before = sorted(path.name for path in (found.store / "nix/store").iterdir())
    source = session.workspace.project / "composition.nix"
    options = {"nixos": {"nixpkgs": str(found.nixpkgs)}}
    with pytest.MonkeyPatch.context() as patch:
        set_variables(patch, found.variables())
        built = session.build(source, flavour="vm-ramdisk", base="nixos", options=options)
    assert built.artifact.kind == "ramdisk"
    assert sorted(path.name for path in (found.store / "nix/store").iterdir()) == before


def test_a_guest_shares_the_store_of_its_host(session: Session, found: StandIn) -> None:
    """Flavour vm: the same composition, its closure on this machine, only read there."""
    with (
        pytest.MonkeyPatch.context() as patch,
        up_by_virtiofs(session, found, patch) as nodes,
    ):
        node = nodes["server"]
        assert node.succeed("cat /etc/role") == "the server\n"
        assert node.succeed("findmnt -no FSTYPE,SOURCE /nix/.ro-store").split() == ["virtiofs", "nix-store"]
        assert node.succeed("findmnt -no FSTYPE /nix/store").strip() == "overlay"
        system = node.succeed("readlink /run/current-system").strip()
        node.succeed(f"nix-store --check-validity $(nix-store --query --requisites {system})")
        added = node.succeed("echo more > /root/more; nix-store --add /root/more").strip()
        assert not (found.store / added[1:]).exists()
        build_another(session, found)
        assert system not in collectable(found), "a guest's store stays while it runs"
    assert system in collectable(found), "and is nobody's afterwards"


def build_another(session: Session, found: StandIn) -> None:
    """Build an edited composition for the same flavour, in place of the build that is there."""
    source = session.workspace.project / "composition.nix"
    source.write_text(COMPOSITION.replace("the server", "another server"))
    options = {"nixos": {"nixpkgs": str(found.nixpkgs)}, "vm": {"share": "virtiofs"}}
    try:
        session.build(source, flavour="vm", base="nixos", options=options)
    finally:
        source.write_text(COMPOSITION)


def collectable(found: StandIn) -> list[str]:
    return found.run("nix-store", "--gc", "--print-dead").split()


@contextmanager
def up_by_virtiofs(session: Session, found: StandIn, patch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Debian's cloud kernel has no 9p."""
    set_variables(patch, found.variables())
    options = {"vm": {"share": "virtiofs"}}
    with up(session, found, "vm", roles={"server": 1, "client": 0}, options=options) as nodes:
        yield nodes


def test_real_hardware_learns_who_it_is_from_behind_its_ramdisk(
    session: Session, found: StandIn, tmp_path: Path
) -> None:
    """As kexec brings it: stage 1 keeps the identity, cards ask the network for addresses."""
    source = session.workspace.project / "composition.nix"
    options: dict[str, Any] = {"nixos": {"nixpkgs": str(found.nixpkgs)}}
    with pytest.MonkeyPatch.context() as patch:
        set_variables(patch, found.variables())
        built = session.build(source, flavour="kexec", base="nixos", options=options)
    with hardware.booted(tmp_path / "machine", built.artifact.roles["server"], "server") as machine:
        machine.run("until grep -q nameserver /etc/resolv.conf; do sleep 0.2; done")
        addresses = machine.addresses()
        assert addresses[hardware.ASKED] == {"10.0.2.15/24"}
        assert addresses[hardware.GIVEN] == {"10.77.0.5/24"}
        assert addresses[hardware.SILENT] == addresses[hardware.UNLISTED] == set()
        assert machine.run("cat /run/nxc/ready /etc/role") == "first\nthe server\n"
        assert machine.run("stat -c %a /nxc /nxc/node.json").split() == ["700", "600"]
        document = json.loads(machine.run("cat /run/nxc/node.json"))
        document["hosts"]["later"] = ["10.77.0.9"]
        machine.run("/usr/lib/nxc/nxc-node -", given=json.dumps(document))
        assert machine.run("getent hosts later").split() == ["10.77.0.9", "later"]
        assert machine.addresses() == addresses
