"""The model of a deployment in an engine: what roles ask, what engines need, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import evolve

from nxc_core.errors import ConfigError
from nxc_core.model import (
    CLOSURE,
    LAYERS,
    Artifact,
    Container,
    Kind,
    Need,
    Network,
    NodeSpec,
    Plan,
    Role,
    RoleBoot,
)
from nxc_docker import compose, wishes
from nxc_docker.compose import Model
from nxc_docker.profile import Flags, Profile, flags
from nxc_docker.wishes import Bind, Port

INIT = "/nix/store/abc-nixos-system/init"
V1 = Profile(engine="docker", version=(20, 10), api=(1, 41), cgroup=1)
V2 = Profile(engine="docker", version=(20, 10), api=(1, 41), cgroup=2, apparmor=True)


def draw(
    folder: Path, *roles: Role, kind: Kind = LAYERS, subnet: str = "10.81.7.0/24", init: str | None = None
) -> Plan:
    names = [(role.name, name) for role in roles for name in role.names()]
    specs = [
        NodeSpec(name=name, role=role, index=index, machine=name) for index, (role, name) in enumerate(names)
    ]
    members = {spec.name: (f"10.81.7.{spec.index + 1}", f"fd00::{spec.index + 1}") for spec in specs}
    files = (
        {} if kind == LAYERS else {"store": Path("/home/u/nix/store"), "registration": Path("/home/u/reg")}
    )
    return Plan(
        deployment="web-docker-12ab",
        artifact=Artifact(kind=kind, files=files, roles={role.name: RoleBoot(init=init) for role in roles}),
        nodes=tuple(specs),
        networks=(Network(name="lan", subnet=subnet, subnet6="fd00::/64", members=members),),
        documents={spec.name: folder / "nodes" / spec.name / "node.json" for spec in specs},
        instances={},
        key=folder / "key",
        known_hosts=folder / "known_hosts",
        roles={role.name: role for role in roles},
    )


def make(folder: Path, *roles: Role, given: Flags | None = None, **more: Any) -> Model:
    plan = draw(folder, *(roles or (Role(name="one"),)))
    images = {role: f"nxc-role:{role}" for role in plan.artifact.roles}
    return compose.model(plan, images, given or flags(V1), folder=folder, **more)


def asked(**container: Any) -> Role:
    return Role(name="one", container=Container(**container))


# What roles ask


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("80", [Port(inside=80)]),
        ("8080:80", [Port(inside=80, host=8080)]),
        ("53/udp", [Port(inside=53, protocol="udp")]),
        ("127.0.0.1:8080:80/tcp", [Port(inside=80, host=8080, address="127.0.0.1")]),
        ("127.0.0.1::80", [Port(inside=80, address="127.0.0.1")]),
        ("[::1]:8080:80", [Port(inside=80, host=8080, address="[::1]")]),
        ("8000-8001:80-81", [Port(inside=80, host=8000), Port(inside=81, host=8001)]),
        ("80-81", [Port(inside=80), Port(inside=81)]),
    ],
)
def test_ports_are_spelled_as_docker_does(text: str, wanted: Sequence[Port]) -> None:
    assert list(wishes.ports(asked(ports=(text,)))) == list(wanted)
    for port in wanted:
        assert wishes.ports(asked(ports=(port.text,))) == (port,), "its own spelling is read alike"


@pytest.mark.parametrize(
    "text",
    ["", "http", "0", "70000", "80/icmp", "8000-8002:80-81", "85-80", "1.2.3.999:80:80", "80:", "a:80"],
)
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ConfigError, match="role one: .*ports") as caught:
        wishes.vet([asked(ports=(text,))])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/srv:/data", Bind(source="/srv", target="/data")),
        ("/srv:/data:ro", Bind(source="/srv", target="/data", read_only=True)),
        ("/srv:/data:rw", Bind(source="/srv", target="/data")),
        ("state:/var/lib/x", Bind(source="state", target="/var/lib/x", volume=True)),
    ],
)
def test_volumes_are_spelled_as_docker_does(text: str, wanted: Bind) -> None:
    assert wishes.volumes(asked(volumes=(text,))) == (wanted,)


@pytest.mark.parametrize(
    "text",
    ["", "/srv", "/srv:", "/srv:data", "./x:/data", "/srv:/data:z", "/srv:/", "/srv:/a/../..", "-x:/data"],
)
def test_what_is_no_volume(text: str) -> None:
    with pytest.raises(ConfigError, match="role one: .*volumes") as caught:
        wishes.vet([asked(volumes=(text,))])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "size"), [("512m", 512 << 20), ("2g", 2 << 30), ("2GiB", 2 << 30), ("16384k", 16 << 20)]
)
def test_memory(text: str, size: int) -> None:
    assert wishes.memory(asked(memory=text)) == size


@pytest.mark.parametrize(
    "container", [{"memory": "much"}, {"memory": "1m"}, {"memory": ""}, {"cpus": 0.0}, {"pids": -1}]
)
def test_limits_that_cannot_be(container: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"role one: .*{next(iter(container))}"):
        wishes.vet([asked(**container)])


def test_one_port_of_the_machine_is_one_nodes() -> None:
    one, two = asked(ports=("8080:80",)), Role(name="two", container=Container(ports=("8080:81",)))
    wishes.vet([one, evolve(two, container=Container(ports=("8080:81/udp", "127.0.0.1:80:80")))])
    with pytest.raises(ConfigError, match="role two: .*ports") as caught:
        wishes.vet([one, two])
    assert "role one" in caught.value.hint
    with pytest.raises(ConfigError, match="role one: .*ports") as caught:
        wishes.vet([evolve(one, count=3)])
    assert "3 nodes" in caught.value.hint
    wishes.vet([evolve(one, count=3, container=Container(ports=("80",)))])


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        ("8080:80", "8080:80", True),
        ("8080:80", "127.0.0.1:8080:80", True),
        ("0.0.0.0:8080:80", "127.0.0.1:8080:81", True),
        ("127.0.0.1:8080:80", "127.0.0.2:8080:80", False),
        ("0.0.0.0:8080:80", "[::]:8080:80", False),
        ("[::]:8080:80", "[::1]:8080:80", True),
        ("8080:80", "8080:80/udp", False),
    ],
)
def test_a_port_is_one_at_all_addresses(first: str, second: str, meet: bool) -> None:
    two = Role(name="two", container=Container(ports=(second,)))
    for roles in ([asked(ports=(first,)), two], [asked(ports=(first, second))]):
        if meet:
            with pytest.raises(ConfigError, match="ports"):
                wishes.vet(roles)
        else:
            wishes.vet(roles)


# The model


def test_every_node_is_a_service(tmp_path: Path) -> None:
    found = make(tmp_path, Role(name="server"), Role(name="client", count=2))
    assert [each.name for each in found.services] == [
        f"web-docker-12ab-{node}" for node in ("server", "client1", "client2")
    ]
    client = found.service("client2")
    assert (client.image, client.hostname, client.address) == ("nxc-role:client", "client2", "10.81.7.3")
    assert client.command == ("/sbin/init",)
    assert client.labels == {
        "nxc.deployment": "web-docker-12ab",
        "nxc.folder": str(tmp_path),
        "nxc.node": "client2",
        "nxc.owner": found.labels["nxc.owner"],
        "nxc.role": "client",
        "nxc.version": found.labels["nxc.version"],
    }
    assert found.network.gateway == "10.81.7.254", "the last one, as the core leaves it"
    seed = Bind(source=str(tmp_path / "nodes/client2/node.json"), target="/nxc/node.json", read_only=True)
    assert client.binds[0] == seed


def test_a_large_network_has_its_gateway_at_the_end(tmp_path: Path) -> None:
    plan = draw(tmp_path, Role(name="one"), subnet="10.81.0.0/16")
    assert compose.model(plan, {"one": "x"}, Flags(), folder=None).network.gateway == "10.81.255.254"


def test_an_identity_that_is_copied_is_not_mounted(tmp_path: Path) -> None:
    (service,) = make(tmp_path, bind_seed=False).services
    assert all(bind.target != "/nxc/node.json" for bind in service.binds)


def test_a_copy_is_of_no_folder(tmp_path: Path) -> None:
    found = compose.model(draw(tmp_path, Role(name="one")), {"one": "x"}, Flags(), folder=None)
    for labels in (found.labels, found.network.labels, found.services[0].labels):
        assert "nxc.folder" not in labels
        assert labels["nxc.deployment"] == "web-docker-12ab"


def test_what_an_engine_needs_goes_to_every_node(tmp_path: Path) -> None:
    (one,) = make(tmp_path).services
    assert {"/run:mode=755", "/run/lock:mode=755"} == set(one.tmpfs)
    assert Bind(source="/sys/fs/cgroup/systemd", target="/sys/fs/cgroup/systemd") in one.binds
    assert (one.privileged, one.cap_add, one.cgroupns) == (False, (), "host")
    (two,) = make(tmp_path, given=flags(V2)).services
    assert not any(bind.source.startswith("/sys") for bind in two.binds)
    assert (two.cap_add, two.security_opt) == (("SYS_ADMIN",), ("apparmor=unconfined",))
    assert two.command[:2] == ("/bin/sh", "-c")
    assert two.command[-1] == "/sbin/init"


def test_only_roles_that_need_it_may_change_the_network(tmp_path: Path) -> None:
    wall = Role(name="wall", needs=(Need(need="net-admin", option="networking.firewall.enable"),))
    found = make(tmp_path, wall, Role(name="plain"))
    assert found.service("wall").cap_add == ("NET_ADMIN",)
    assert found.service("plain").cap_add == ()


def test_what_a_role_asks(tmp_path: Path) -> None:
    role = asked(
        ports=("8080:80",), volumes=("/srv:/data:ro", "state:/var/lib/x"), memory="512m", cpus=1.5, pids=99,
        sysctls={"net.core.somaxconn": "1024"},
    )  # fmt: skip
    found = make(tmp_path, role, Role(name="two"), memory=1 << 30)
    one = found.service("one")
    assert one.ports == (Port(inside=80, host=8080),)
    assert one.binds[-2:] == (
        Bind(source="/srv", target="/data", read_only=True),
        Bind(source="web-docker-12ab-state", target="/var/lib/x", volume=True),
    )
    assert (one.memory, one.cpus, one.pids) == (512 << 20, 1.5, 99)
    assert one.sysctls == {"net.core.somaxconn": "1024"}
    assert found.volumes == ("web-docker-12ab-state",)
    assert found.service("two").memory == 1 << 30


def test_a_system_in_a_store(tmp_path: Path) -> None:
    plan = draw(tmp_path, Role(name="one"), kind=CLOSURE, init=INIT)
    (docker,) = compose.model(plan, {"one": "x"}, flags(V1), folder=None).services
    assert docker.command == (INIT,)
    assert "/run/wrappers:exec,suid,mode=755" in docker.tmpfs, "sudo, and what else is set-user-id"
    assert Bind(source="/home/u/nix/store", target="/nix/store", read_only=True) in docker.binds
    assert Bind(source="/home/u/reg", target="/nxc/registration", read_only=True) in docker.binds
    (podman,) = compose.model(plan, {"one": "x"}, Flags(), folder=None, podman=True).services
    assert podman.command == ("/sbin/init",)
    real = "/home/u/nix/store/abc-nixos-system/init"
    assert Bind(source=real, target="/sbin/init", read_only=True) in podman.binds
    (v2,) = compose.model(plan, {"one": "x"}, flags(V2), folder=None).services
    assert v2.command[0] == "/nix/store/abc-nixos-system/sw/bin/sh", "there is no other shell"
    assert v2.command[-1] == INIT


def test_an_artifact_without_what_is_needed(tmp_path: Path) -> None:
    plan = draw(tmp_path, Role(name="one"), kind=CLOSURE, init=INIT)
    with pytest.raises(ConfigError, match="no store"):
        bare = evolve(plan, artifact=evolve(plan.artifact, files={}))
        compose.model(bare, {"one": "x"}, Flags(), folder=None)
    with pytest.raises(ConfigError, match="no role one"):
        bare = evolve(plan, artifact=evolve(plan.artifact, roles={}))
        compose.model(bare, {"one": "x"}, Flags(), folder=None)


# How it is written


def test_a_compose_file_names_its_own_files_relatively(tmp_path: Path) -> None:
    text = compose.to_compose(make(tmp_path, asked(volumes=("/srv:/data",))), tmp_path)
    assert str(tmp_path / "nodes") not in text
    (service,) = yaml.safe_load(text)["services"].values()
    sources = [each["source"] for each in service["volumes"]]
    assert sources[0] == "./nodes/one/node.json"
    assert "/srv" in sources


def test_a_compose_file_takes_no_dollar_for_a_variable(tmp_path: Path) -> None:
    text = compose.to_compose(make(tmp_path, given=flags(V2)), tmp_path)
    assert '"$$@"' in yaml.safe_load(text)["services"]["one"]["command"][2]


def test_a_compose_file_says_nothing_that_old_ones_do_not_know(tmp_path: Path) -> None:
    for given in (flags(V1), flags(V2), flags(evolve(V2, privileged=True))):
        document = yaml.safe_load(compose.to_compose(make(tmp_path, given=given), tmp_path))
        assert set(document) == {"services", "networks"}
        assert not {"cgroup", "version"} & set(document["services"]["one"])


def test_the_same_model_is_written_alike(tmp_path: Path) -> None:
    role = asked(ports=("80",), volumes=("b:/b", "a:/a"), sysctls={"net.b": "1", "net.a": "2"})
    assert compose.to_compose(make(tmp_path, role), tmp_path) == compose.to_compose(
        make(tmp_path, role), tmp_path
    )


def test_calls_of_the_api(tmp_path: Path) -> None:
    role = asked(ports=("127.0.0.1:8080:80", "53/udp"), memory="512m", cpus=0.5, pids=7)
    found = make(tmp_path, role)
    call = compose.to_create(found.services[0], found, "1.41", network="0123")
    host = call["host_config"]
    assert host["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "", "HostPort": ""}],
    }
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (512 << 20, 5 * 10**8, 7)
    assert host["Tmpfs"] == {"/run": "mode=755", "/run/lock": "mode=755"}
    assert (host["NetworkMode"], host.get("Privileged", False)) == ("0123", False)
    endpoint = call["networking_config"]["EndpointsConfig"]["0123"]
    assert endpoint["IPAMConfig"]["IPv4Address"] == "10.81.7.1"
    assert (call["stop_signal"], call["tty"], call["use_config_proxy"]) == ("SIGRTMIN+3", True, False)
    network = compose.to_network(found)
    assert network["ipam"]["Config"] == [
        {"Subnet": "10.81.7.0/24", "Gateway": "10.81.7.254", "IPRange": None, "AuxiliaryAddresses": None}
    ]
    assert network["check_duplicate"]
