"""The flavour docker on cgroup v2: docker and podman of Debian 13, as root and as a user's own.

The engines are in virtual machines, which nxc boots: this machine may have other control groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nxc_core.machine import NodeHandle
from nxc_core.model import Json
from nxc_core.running import Running
from nxc_core.script import run_script
from nxc_core.session import Session
from nxc_docker import engine as engines
from nxc_docker.options import DockerOptions
from tests.cgroup2 import ANSWERS, SOCKETS, Guest, booted

pytestmark = [pytest.mark.live, pytest.mark.full, pytest.mark.timeout(3600)]

MEMORY, PIDS = 256 << 20, 300
NODES = """
{ pkgs, ... }:
{
  roles.server = {
    services.nginx.enable = true;
    nxc.container = {
      memory = "256m";
      pids = 300;
    };
  };
  roles.client.environment.systemPackages = [ pkgs.curl ];

  testScript = ''
    start_all()
    server.wait_for_unit("nginx.service")
    client.wait_until_succeeds("curl --max-time 60 -sSf http://server/")
  '';
}
"""
CURL = "curl --max-time 60 -sSf http://server/"
USUAL = 0xA80425FB
"""The capabilities that docker gives a container of which nothing is said."""
RUNNING = "systemctl is-system-running | grep -x running"


@pytest.fixture(scope="module", params=SOCKETS)
def guest(
    request: pytest.FixtureRequest, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        with booted(request.param, tmp_path_factory.mktemp("guest")) as guest:
            yield guest


only_docker = pytest.mark.parametrize("guest", ["docker"], indirect=True, scope="module")


def options_for(guest: Guest) -> dict[str, dict[str, Json]]:
    """Say which engine, and that it is slow."""
    return {"docker": {"url": guest.url, "timeout": ANSWERS}}


@pytest.fixture(scope="module")
def pair(guest: Guest, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two nodes, one of them with limits."""
    project = tmp_path_factory.mktemp("nodes")
    (project / "composition.nix").write_text(NODES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        session = Session.open(project)
        with session.up(project, flavour="docker", base="debian", options=options_for(guest)) as running:
            yield running


@pytest.fixture
def inspected(guest: Guest, pair: Running) -> dict[str, dict[str, Any]]:
    """What the engine tells of each node."""
    with guest.client() as client:
        return {name: client.api.inspect_container(f"{pair.id}-{name}") for name in pair}


def test_the_engine_is_seen_as_it_is(guest: Guest) -> None:
    profile = engines.connect(DockerOptions(url=guest.url, timeout=ANSWERS)).profile
    assert profile.engine == guest.engine.rpartition("-")[2]
    assert profile.version >= ((26,) if profile.engine == "docker" else (5,))
    assert profile.cgroup == 2
    assert profile.rootless is guest.engine.startswith("rootless")
    assert not profile.local
    if not profile.rootless:  # AppArmor is there, and the engine uses it
        assert profile.apparmor


def test_the_script_holds_and_no_unit_failed(pair: Running) -> None:
    script = pair.deployment.composition.test_script
    assert script
    run_script(pair, script)
    for node in pair.values():
        node.wait_until_succeeds(RUNNING, timeout=ANSWERS)


def test_a_node_sees_and_has_its_own_groups_alone(guest: Guest, pair: Running) -> None:
    ids = {}
    with guest.client() as client:
        for name in pair:
            ids[name] = str(client.containers.get(f"{pair.id}-{name}").id)
    groups = guest.groups()
    for name, node in pair.items():
        assert node.succeed("cat /proc/1/cgroup").strip() == "0::/init.scope"
        (mine,) = (one for one in groups if ids[name] in one and one.endswith("/init.scope"))
        top = mine.removesuffix("/init.scope")
        below = {one.removeprefix(top) for one in groups if one.startswith(f"{top}/")}
        assert "/system.slice" in below
        seen = node.succeed("cd /sys/fs/cgroup && find . -mindepth 1 -maxdepth 1 -type d").split()
        assert {one.removeprefix(".") for one in seen} == {one for one in below if one.count("/") == 1}
    # The machine's own systemd is alone where it was.
    assert guest.node.succeed("cat /sys/fs/cgroup/init.scope/cgroup.procs").split() == ["1"]
    ours = [one for one in groups if one.endswith("/init.scope") and one.count("/") == 1]
    assert ours == ["/init.scope"]


def test_limits_hold_and_a_node_cannot_lift_them(guest: Guest, pair: Running) -> None:
    server = pair["server"]
    with guest.client() as client:
        id = client.containers.get(f"{pair.id}-server").id
    (top,) = (one for one in guest.groups() if re.fullmatch(rf".*/(docker|libpod)-{id}\.scope", one))
    for file, limit in (("memory.max", MEMORY), ("pids.max", PIDS)):
        assert read(guest.node, f"/sys/fs/cgroup{top}/{file}") == str(limit)
        server.execute(f"echo max > /sys/fs/cgroup/{file}")
        assert read(guest.node, f"/sys/fs/cgroup{top}/{file}") == str(limit)
    server.fail("systemd-run --collect --wait dd if=/dev/zero of=/dev/null bs=400M count=1", timeout=ANSWERS)
    assert "oom_kill 0" not in read(guest.node, f"/sys/fs/cgroup{top}/memory.events")
    many = "for i in $(seq 400); do sleep 600 & done; wait"
    server.fail(f"systemd-run --collect --wait sh -c '{many}'", timeout=ANSWERS)
    assert "max 0" not in read(guest.node, f"/sys/fs/cgroup{top}/pids.events")
    server.wait_until_succeeds(RUNNING, timeout=ANSWERS)


def read(node: NodeHandle, file: str) -> str:
    return node.succeed(f"cat {file}").strip()


def test_systemd_has_the_usual_rights_and_nobody_all(
    guest: Guest, pair: Running, inspected: dict[str, dict[str, Any]]
) -> None:
    for name, node in pair.items():
        host = inspected[name]["HostConfig"]
        assert not host["Privileged"]
        assert not any("cgroup" in mount["Destination"] for mount in inspected[name]["Mounts"])
        assert namespace(node) != namespace(guest.node)
        had = int(node.succeed("grep CapEff /proc/1/status | cut -f2"), 16)
        assert had & ~USUAL == 0
        confined = node.succeed("cat /proc/1/attr/current").strip("\0\n")
        if guest.engine == "docker":
            assert confined == "docker-default (enforce)"
        if guest.engine == "podman":
            assert confined.startswith("containers-default-")
            assert confined.endswith(" (enforce)")


def namespace(node: NodeHandle) -> str:
    return node.succeed("readlink /proc/self/ns/cgroup").strip()


def test_commands_and_files(pair: Running, tmp_path: Path) -> None:
    told = pair.connection("client").run(
        ("sh", "-c", "cat; echo wrong >&2; exit 7"), stdin=b"in", check=False
    )
    assert (told.code, told.text, told.error_text) == (7, "in", "wrong\n")
    (tmp_path / "file").write_bytes(bytes(range(256)))
    for place in ("/run/there", "/var/lib/there"):
        pair.connection("client").put(tmp_path / "file", place)
        pair.connection("client").get(place, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == bytes(range(256))


def test_links_are_cut_and_joined(pair: Running) -> None:
    client = pair["client"]
    client.succeed(CURL, timeout=ANSWERS)
    client.block()
    client.fail("curl --max-time 5 -sf http://server/", timeout=ANSWERS)
    client.unblock()
    client.wait_until_succeeds(CURL, timeout=ANSWERS)


def test_reboot_and_crash(pair: Running) -> None:
    server = pair["server"]
    server.succeed("touch /run/before /var/lib/before")
    server.reboot()
    server.fail("test -e /run/before")
    server.succeed("test -e /var/lib/before")
    server.wait_until_succeeds(RUNNING, timeout=ANSWERS)
    server.crash()
    assert not server.is_up()
    server.start()
    server.wait_until_succeeds(RUNNING, timeout=ANSWERS)
    pair["client"].wait_until_succeeds(CURL, timeout=ANSWERS)


def test_down_leaves_nothing(guest: Guest, pair: Running) -> None:
    assert guest.found(f"nxc.deployment={pair.id}")
    with guest.client() as client:
        ids = [str(client.containers.get(f"{pair.id}-{name}").id) for name in pair]
    pair.down()
    assert pair.session.workspace.journal(pair.id).outstanding() == []
    assert guest.found("nxc.deployment") == []
    # What watched a command of podman's ends five minutes after it, in a group that is none of the node's.
    own = "|".join(f"(docker|libpod)-{id}" for id in ids)
    guest.node.wait_until_fails(f"find /sys/fs/cgroup -type d | grep -E '{own}'", timeout=ANSWERS)


@only_docker
def test_an_exported_folder_comes_up_by_compose(guest: Guest, cached: Path, tmp_path: Path) -> None:
    """With compose v2, on a machine that has no nxc."""
    project = tmp_path / "exported"
    project.mkdir()
    (project / "composition.nix").write_text(NODES)
    Session.open(project).export(
        project, tmp_path / "out", flavour="docker", base="debian", options={"docker": {"cgroup": "v2"}}
    )
    node = guest.node
    assert node.succeed("docker compose version --short").startswith("2.")
    guest.node.running.connection(node.name).put(tmp_path / "out", "/var/lib/docker/out")
    at = "cd /var/lib/docker/out && "
    node.succeed(f'{at}for image in images/*; do docker load -i "$image"; done', timeout=ANSWERS)
    try:
        node.succeed(f"{at}docker-compose up -d", timeout=ANSWERS)
        for name in ("server", "client"):
            node.wait_until_succeeds(f"{at}docker-compose exec -T {name} {RUNNING}", timeout=ANSWERS)
        node.wait_until_succeeds(f"{at}docker-compose exec -T client {CURL}", timeout=ANSWERS)
        told = node.succeed(f"{at}docker-compose exec -T server cat /proc/1/cgroup /sys/fs/cgroup/memory.max")
        assert told.split() == ["0::/init.scope", str(MEMORY)]
    finally:
        node.execute(f"{at}docker-compose down --timeout 60", timeout=ANSWERS)
    assert guest.found("nxc.deployment") == []
    node.succeed("rm -r /var/lib/docker/out")
