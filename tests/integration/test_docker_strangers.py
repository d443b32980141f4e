"""What an engine has already: names, ports and subnets of others are told of, and left alone."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import docker.errors
import docker.types
import pytest

from nxc_core import deploying
from nxc_core.errors import DeployError
from nxc_core.identity import POOLS
from nxc_core.session import Session
from nxc_core.state import Workspace
from tests.docker_bench import DEPLOY, OURS, PREFLIGHT, Bench, bench, make_bench, occupy
from tests.engines import dockerd, inside

__all__ = ["bench"]  # fixtures

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(600)]


# Names


@pytest.fixture
def known_id(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the next deployment's id known beforehand."""
    monkeypatch.setattr(deploying, "secrets", SimpleNamespace(token_hex=lambda _: "c0ffee"))
    return "web-docker-c0ffee"


@pytest.mark.parametrize("labels", [{}, {"nxc.deployment": "web-docker-c0ffee", "nxc.folder": "/elsewhere"}])
def test_a_strangers_container_is_named_and_left_alone(
    labels: dict[str, str], bench: Bench, known_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", bench.engine.url)
    stranger = occupy(bench.engine, f"{known_id}-one", labels)
    session = Session.open(bench.project)
    with pytest.raises(DeployError, match=f"{known_id}-one") as told:
        session.start(bench.project, flavour="docker", fresh=True)
    assert told.value.hint
    session.down(known_id)
    assert session.workspace.journal(known_id).outstanding() == []
    with bench.engine.client() as client:
        found = client.containers.get(f"{known_id}-one")
        assert (found.id, found.status) == (stranger, "running")
        assert client.networks.list(names=[known_id]) == []


def test_a_strangers_network_is_named_and_left_alone(
    bench: Bench, known_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", bench.engine.url)
    with bench.engine.client() as client:
        stranger = client.networks.create(known_id, labels={"nxc.test": "stranger"}).id
    session = Session.open(bench.project)
    with pytest.raises(DeployError, match=known_id) as told:
        session.start(bench.project, flavour="docker", fresh=True)
    assert told.value.hint
    session.down(known_id)
    assert bench.engine.found(OURS) == []
    with bench.engine.client() as client:
        assert [network.id for network in client.networks.list(names=[known_id])] == [stranger]


def test_what_a_crash_of_ours_has_left_under_the_name_is_replaced(
    bench: Bench, known_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", bench.engine.url)
    folder = Workspace(bench.project.resolve()).deployment_dir(known_id)
    former = occupy(bench.engine, f"{known_id}-one", {OURS: known_id, "nxc.folder": str(folder)})
    with Session.open(bench.project).up(bench.project, flavour="docker") as running:
        assert running["one"].succeed("hostname") == "one\n"
        with bench.engine.client() as client:
            assert client.containers.get(f"{known_id}-one").id != former
    bench.nothing_left()


# Ports and networks


def test_a_port_that_a_process_has(bench: Bench) -> None:
    bench.write('nxc.container.ports = [ "8097:80" ];')
    listen = [*bench.engine.namespaces.enter("net"), sys.executable, "-m", "http.server", "8097"]
    with subprocess.Popen(listen, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            end = time.monotonic() + 60
            while inside(bench.engine, "curl", "-s", "http://127.0.0.1:8097/").returncode != 0:
                assert other.poll() is None and time.monotonic() < end, "nobody listens"
                time.sleep(0.05)
            bench.refused(DEPLOY, "port.*8097|8097.*port")
        finally:
            other.kill()
    bench.down()


def test_a_port_that_another_deployment_has(bench: Bench) -> None:
    bench.write('nxc.container.ports = [ "8096:80" ];')
    first = bench.start()
    bench.refused(DEPLOY, "port.*8096|8096.*port", "start", "--new", "-f", "docker")
    assert bench.nxc("exec", "-d", first, "one", "hostname") == (0, "one\n"), "the first goes on undisturbed"
    bench.down()


def test_full_address_pools_do_not_matter(cached: Path, tmp_path: Path) -> None:
    """The engine's own choice is not asked for: subnets are ours."""
    with dockerd("--default-address-pool", "base=172.30.0.0/22,size=24") as engine:
        with engine.client() as client, pytest.raises(docker.errors.APIError, match="address pool"):
            for number in range(100):
                client.networks.create(f"full{number}")
        with make_bench(engine, tmp_path) as bench:
            bench.start()
            bench.down()


def test_subnets_that_are_taken_are_passed_by(bench: Bench) -> None:
    """All of what nxc chooses from but one is a stranger's; then all of it."""
    spare = "10.99.77.0/24"
    with bench.engine.client() as client:
        for number, subnet in enumerate(all_but(spare, client)):
            pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)])
            client.networks.create(f"taken{number}", ipam=pool, labels={"nxc.test": "taken"})
    id = bench.start()
    assert Workspace(bench.project).load(id).networks[0].subnet == spare
    said = bench.refused(PREFLIGHT, "no private subnet is free", "start", "--new", "-f", "docker")
    assert "nxc clean" in said
    bench.down()


def all_but(spare: str, client: docker.DockerClient) -> list[str]:
    """Cover all that nxc chooses from, without one subnet and what networks have already."""
    left = [ipaddress.IPv4Network(pool) for pool in POOLS]
    for network in client.networks.list():
        for config in network.attrs["IPAM"].get("Config") or ():
            left = [part for one in left for part in exclude(one, ipaddress.IPv4Network(config["Subnet"]))]
    return [str(part) for one in left for part in exclude(one, ipaddress.IPv4Network(spare))]


def exclude(one: ipaddress.IPv4Network, other: ipaddress.IPv4Network) -> list[ipaddress.IPv4Network]:
    """Return a network without another that may be in it."""
    return list(one.address_exclude(other)) if other.subnet_of(one) else [one]
