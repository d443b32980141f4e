"""The flavour docker without an engine: its options, its guest, ports, and the room on this machine."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import requests
from attrs import evolve

from nxc_core.errors import ConfigError, PreflightError
from nxc_core.model import (
    CLOSURE,
    Container,
    Guest,
    Interface,
    NodeDocument,
    Role,
)
from nxc_core.options import structure_options
from nxc_docker import check, containers, images, launch, looking, routes
from nxc_docker.flavour import Docker
from nxc_docker.options import DockerOptions
from nxc_docker.wishes import Port
from tests.docker_stubs import OP, PROFILE, engine_of

# Options, guest, identity


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"url": "there"}, "there"),
        ({"memory": "much"}, "memory 'much' cannot be had: give a size"),
        ({"timeout": "0"}, "timeout"),
        ({"seed": "mail"}, "mail"),
        ({"privileged": "perhaps"}, "privileged"),
    ],
)
def test_wrong_options_are_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        structure_options(DockerOptions, given, "docker")
    assert named in f"{caught.value}"


def test_a_container_has_neither_kernel_nor_sshd_of_its_own() -> None:
    assert Docker(DockerOptions()).guest == Guest(ssh=False, kernel=False, root="container", lean=True)
    assert not Docker(DockerOptions(lean=False)).guest.lean


@pytest.mark.parametrize("given", ["self_contained", "privileged"])
def test_a_self_contained_system_is_an_image_and_who_has_all_rights_is_lent_no_store(given: str) -> None:
    assert Docker(DockerOptions()).accepts[0] == CLOSURE
    kinds = Docker(structure_options(DockerOptions, {given: True}, "docker")).accepts
    assert kinds[0] == images.ARCHIVE
    assert CLOSURE not in kinds


def test_the_engine_has_the_card_and_speaks_ipv4() -> None:
    card = Interface(mac="52:4e:00:00:00:01", network="lan", addresses=("10.0.0.1/24",))
    document = NodeDocument(
        deployment="d",
        instance="i",
        node="a",
        role="r",
        hosts={"a": ("10.0.0.1", "fd00::1")},
        interfaces=(card,),
    )
    found = Docker(DockerOptions()).seed(document)
    assert found.interfaces == ()
    assert found.hosts == {"a": ("10.0.0.1",)}


@pytest.mark.parametrize(
    ("profile", "options", "copied"),
    [
        ({}, {}, os.getuid() != 0),
        ({"rootless": True}, {}, False),
        ({"local": False}, {}, True),
        ({"remapped": True}, {}, True),
        ({}, {"seed": "copy"}, True),
        ({"local": False}, {"seed": "mount"}, False),
    ],
)
def test_identity_is_mounted_only_where_root_alone_would_read_it(
    profile: dict[str, Any], options: dict[str, Any], copied: bool
) -> None:
    assert launch.is_copied(DockerOptions(**options), evolve(PROFILE, **profile)) is copied


def test_a_copied_identity_is_for_root_alone(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("{}")
    with tarfile.open(fileobj=io.BytesIO(containers.pack_document(tmp_path / "node.json"))) as tar:
        modes = {member.name: (member.mode, member.uid, member.gid) for member in tar.getmembers()}
    assert modes == {"nxc": (0o700, 0, 0), "nxc/node.json": (0o600, 0, 0)}


def test_a_missing_folder_is_refused_by_role(tmp_path: Path) -> None:
    flavour = Docker(DockerOptions(url="unix:///none"))
    there = Role(name="a", container=Container(volumes=(f"{tmp_path}:/data", "kept:/kept")))
    flavour.vet([there], OP)
    gone = Role(name="b", container=Container(volumes=(f"{tmp_path}/no:/data",)))
    with pytest.raises(ConfigError) as caught:
        flavour.vet([there, gone], OP)
    assert "role b" in f"{caught.value}"
    assert "volumes" in f"{caught.value}"
    Docker(DockerOptions(url="tcp://there:2375")).vet([gone], OP)  # that machine may have it


# Ports


WEB = (Port(inside=80, host=8080), Port(inside=443), Port(inside=53, host=53, protocol="udp"))


def test_who_has_a_port_is_told() -> None:
    there = [
        {"Names": ["/web-1-a"], "Labels": {"nxc.deployment": "web-1"}, "Ports": [published(8080)]},
        {"Names": ["/theirs"], "Labels": {}, "Ports": [published(53), published(53, "udp"), {"Type": "tcp"}]},
        {"Names": ["/quiet"], "Labels": None, "Ports": None},
    ]
    told = looking.find_holders(WEB, engine_of(containers=lambda: there))
    assert told == "web-1-a has 8080 (`nxc down web-1` removes it); theirs has 53"
    assert looking.find_holders(WEB[1:2], engine_of(containers=lambda: there)) == ""


def test_what_the_engine_cannot_tell_of_ports_hides_no_error() -> None:
    def refuse() -> list[Any]:
        raise requests.exceptions.ConnectionError

    assert looking.find_holders(WEB, engine_of(containers=refuse)) == ""


def test_the_ports_that_an_engine_chose() -> None:
    given = {"80/tcp": [{"HostPort": "8080"}], "443/tcp": [{"HostPort": "32768"}, {"HostPort": "32768"}]}
    engine = engine_of(inspect_container=lambda _: {"NetworkSettings": {"Ports": given}})
    assert looking.find_chosen("web-1-a", WEB, engine) == {"443/tcp": ["32768"]}
    assert looking.find_chosen("web-1-a", WEB[:1], engine_of()) == {}, "nothing is asked"


def published(port: int, protocol: str = "tcp") -> dict[str, Any]:
    return {"IP": "0.0.0.0", "PrivatePort": 1, "PublicPort": port, "Type": protocol}


# Room on this machine


def test_inotify_instances_are_counted(tmp_path: Path) -> None:
    for number, what in enumerate(
        ("anon_inode:inotify", "anon_inode:[eventpoll]", "anon_inode:inotify", "/tmp/x")
    ):
        (tmp_path / str(number)).symlink_to(what)
    assert check._count(tmp_path) == 2
    assert check.inotify_used(4_000_000) == 0, "nobody's processes have some"


def test_more_nodes_than_inotify_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "INSTANCES", tmp_path / "limit")
    monkeypatch.setattr(check, "inotify_used", lambda _: 28)
    check.require_room(1000, PROFILE, lean=True)  # a machine that does not tell
    (tmp_path / "limit").write_text("128\n")
    check.require_room(50, PROFILE, lean=True)
    check.require_room(1000, evolve(PROFILE, local=False), lean=True)
    with pytest.raises(PreflightError) as caught:
        check.require_room(51, PROFILE, lean=True)
    assert "fs.inotify.max_user_instances=256" in caught.value.hint
    with pytest.raises(PreflightError) as caught:
        check.require_room(34, PROFILE, lean=False)
    assert "lean" in caught.value.hint
    (tmp_path / "limit").write_text("0\n")
    with pytest.raises(PreflightError) as caught:
        check.require_room(1, PROFILE, lean=True)
    assert "fs.inotify.max_user_instances=128" in caught.value.hint


def test_the_doctor_says_what_is_in_the_way(tmp_path: Path) -> None:
    (found,) = check.check_engine(DockerOptions(url=f"unix://{tmp_path}/none.sock"))
    assert not found.ok
    assert found.hint


def test_routes_are_read(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0000480A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "eth1\t0000A8C0\t00000000\t0001\t0\t0\t5\t00FFFFFF\t0\t0\t0\n"
        "tun0\t00000000\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n"
        "tun0\t00000080\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n"
    )
    assert routes.local_subnets(table) == ["10.72.0.0/24", "192.168.0.0/24"]
    assert routes.local_subnets(tmp_path / "none") == []
