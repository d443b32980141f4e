"""Stand-in NixOS systems really booted as containers, by docker, podman and systemd-nspawn.

systemd and the programs are Debian's; what is nxc's own is as it is under NixOS: the library, the kinds, the
guest's units, the base, the flavours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.machine import NodeHandle
from nxc_core.model import Json
from nxc_core.running import Running
from nxc_core.session import Session
from tests.standin import StandIn, set_variables, stand_in
from tests.standin_machine import debian_machine

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(1800)]

COMPOSITION = """{ pkgs, ... }: {
  roles.server = { pkgs, ... }: {
    environment.systemPackages = [ pkgs.hello ];
    environment.etc.role.text = "the server\\n";
    networking.extraHosts = "192.0.2.1 elsewhere";
    boot.postBootCommands = "echo yes > /root/post-boot";
    boot.kernel.sysctl = { "net.ipv4.ip_forward" = true; "kernel.shmmax" = 123456; };
    nxc.postBootCommands = "cat /proc/sys/kernel/hostname > /root/nxc-post-boot";
    nxc.container.memory = "200m";
    systemd.services.greeter = {
      wantedBy = [ "multi-user.target" ];
      script = "hello > /root/greeting";
      path = [ pkgs.hello ];
      serviceConfig.Type = "oneshot";
    };
  };
  roles.client.environment.etc.role.text = "the client\\n";
  extraVolumes = [ "@shared@:/shared" ];
  testScript = "start_all()";
}
"""
WAYS: dict[str, tuple[str, dict[str, dict[str, Json]]]] = {
    "docker": ("docker", {}),
    "archive": ("docker", {"docker": {"self_contained": True}}),
    "podman": ("docker", {}),
    "nspawn": ("nspawn", {}),
}


@pytest.fixture(scope="module")
def found(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    """Make a nixpkgs of the layers that the other tests boot, too."""
    machine = debian_machine(shared_cache, tmp_path_factory)
    return stand_in(tmp_path_factory.mktemp("boot"), machine)


@pytest.fixture(
    scope="module", params=["docker", "archive", pytest.param("podman", marks=pytest.mark.full), "nspawn"]
)
def pair(
    request: pytest.FixtureRequest, found: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Start both roles, each as one node."""
    flavour, options = WAYS[request.param]
    project = tmp_path_factory.mktemp("project")
    (project / "shared").mkdir()
    (project / "composition.nix").write_text(COMPOSITION.replace("@shared@", str(project / "shared")))
    with pytest.MonkeyPatch.context() as patch:
        set_variables(patch, found.variables())
        if flavour == "docker":
            engine = "podman" if request.param == "podman" else "docker"
            patch.setenv("DOCKER_HOST", request.getfixturevalue(f"{engine}_engine").url)
        chosen: dict[str, dict[str, Json]] = {"nixos": {"nixpkgs": str(found.nixpkgs)}, **options}
        with Session.open(project).up(project, flavour=flavour, base="nixos", options=chosen) as nodes:
            yield nodes


@pytest.fixture
def server(pair: Running) -> NodeHandle:
    return pair["server"]


def test_all_units_start(pair: Running) -> None:
    for node in pair.values():
        node.wait_until_succeeds("systemctl is-system-running | grep -x running", timeout=300)
        assert node.succeed("systemctl list-units --failed --no-legend") == ""


def test_each_node_runs_its_role(pair: Running) -> None:
    for name, node in pair.items():
        assert node.succeed("cat /etc/role") == f"the {name}\n"
        assert node.succeed("hostname").strip() == name
    other = pair.deployment.networks[0].members["client"][0]
    assert other in pair["server"].succeed("getent ahostsv4 client")
    assert pair["server"].succeed("getent hosts elsewhere").split() == ["192.0.2.1", "elsewhere"]


def test_its_units_and_commands_ran(server: NodeHandle) -> None:
    server.wait_for_file("/root/greeting")
    assert server.succeed("cat /root/greeting") == "Hello, world!\n"
    assert server.succeed("cat /root/post-boot") == "yes\n"
    assert server.succeed("cat /root/nxc-post-boot") == "server\n"


def test_what_was_asked_of_the_container_holds(pair: Running, server: NodeHandle) -> None:
    assert server.succeed("cat /proc/sys/net/ipv4/ip_forward").strip() == "1"
    assert server.succeed("cat /proc/sys/kernel/shmmax").strip() == "123456"
    server.succeed("echo from-the-server > /shared/note")
    assert pair["client"].succeed("cat /shared/note") == "from-the-server\n"
    assert (Path(pair.deployment.composition.source).parent / "shared/note").exists()


def test_set_user_id_programs_can_run(pair: Running, server: NodeHandle) -> None:
    if pair.flavour.name == "docker":  # in systemd-nspawn a system mounts it itself
        options = set(server.succeed("findmnt -no OPTIONS /run/wrappers").strip().split(","))
        assert not options & {"noexec", "nosuid"}


def test_nix_works_where_the_store_can_be_written(server: NodeHandle) -> None:
    server.wait_for_unit("nxc-database.service")
    if server.execute("test -w /nix/store")[0] == 0:
        paths = server.succeed("nix-store --query --requisites /run/current-system").split()
        assert len(paths) > 20
        server.succeed("nix-store --query --requisites /nix/var/nix/profiles/system")
    else:
        assert "Nix itself cannot be used" in server.succeed("journalctl -u nxc-database --no-pager")


def test_nothing_in_a_node_changes_the_store_around_it(found: StandIn, server: NodeHandle) -> None:
    """Not even by root, who may mount in some containers; Nix would collect garbage there, and remove all."""
    inside = server.succeed("readlink /run/current-system").strip()
    here = found.physical(inside)
    before = sorted(path.name for path in here.iterdir())
    server.execute(f"mount -o remount,bind,rw /nix/store; chmod u+w {inside} && touch {inside}/mark")
    server.execute("nix-store --gc")
    assert sorted(path.name for path in here.iterdir()) == before


def test_it_boots_again(server: NodeHandle) -> None:
    server.succeed("echo kept > /root/kept")
    server.reboot()
    server.wait_for_unit("multi-user.target")
    assert server.succeed("cat /root/kept /etc/role") == "kept\nthe server\n"
    assert "client" in server.succeed("getent hosts client")
