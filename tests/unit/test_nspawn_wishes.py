"""What a role asks of its containers, read for systemd-nspawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from nxc_core.errors import ConfigError
from nxc_core.model import Container, Event, Role
from nxc_core.operation import Operation
from nxc_nspawn import wishes
from nxc_nspawn.wishes import Limits, Volume
from tests.operations import operation_in


def operation(folder: Path, told: list[Event] | None = None) -> Operation:
    return operation_in(folder, "dep", hear=lambda event: None if told is None else told.append(event))


def role(**asked: object) -> Role:
    return Role(name="web", container=Container(**asked))  # type: ignore[arg-type]


def test_volumes_are_paths_of_this_machine_or_names() -> None:
    asked = role(volumes=("/here:/there", "/here:/in/side:ro", "data:/var/lib/data:rw"))
    assert wishes.volumes(asked) == (
        Volume(source="/here", target="/there"),
        Volume(source="/here", target="/in/side", read_only=True),
        Volume(source="data", target="/var/lib/data"),
    )
    assert [volume.named for volume in wishes.volumes(asked)] == [False, False, True]


@pytest.mark.parametrize(
    "text", ["/here", "/here:", ":/there", "/a:/b:z", "/a:there", "/a:/", "/a:/b/../c", "./a:/b", "-a:/b"]
)
def test_what_is_no_volume_names_role_and_option(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        wishes.volumes(role(volumes=(text,)))
    assert refused.value.message.startswith("role web: nxc.container.volumes: ") and text in str(
        refused.value
    )
    assert refused.value.hint


def test_a_folder_that_is_not_there_is_found_before_the_build(tmp_path: Path) -> None:
    wishes.vet([role(volumes=(f"{tmp_path}:/there", "named:/else"))], operation(tmp_path))
    with pytest.raises(ConfigError, match="is not there"):
        wishes.vet([role(volumes=(f"{tmp_path}/missing:/there",))], operation(tmp_path))


def test_limits_are_bytes_processors_and_processes() -> None:
    assert wishes.limits(role()) == Limits()
    assert wishes.limits(role(memory="512m", cpus=1.5, pids=100)) == Limits(
        memory=512 << 20, cpus=1.5, pids=100
    )
    sizes = ("6m", "7000k", "2G", "1t", "64MiB", "64mb", "100000000")
    wanted = [6 << 20, 7000 << 10, 2 << 30, 1 << 40, 64 << 20, 64 << 20, 100000000]
    assert [wishes.limits(role(memory=size)).memory for size in sizes] == wanted


@pytest.mark.parametrize(
    "asked",
    [{"memory": size} for size in ("5m", "much", "-1g", "1p", "")]
    + [{"cpus": 0}, {"cpus": -1.0}, {"pids": 0}, {"pids": -3}],
)
def test_what_is_no_limit_is_refused(asked: dict[str, object], tmp_path: Path) -> None:
    (option,) = asked
    with pytest.raises(ConfigError, match=rf"role web: nxc\.container\.{option}: "):
        wishes.vet([role(**asked)], operation(tmp_path))


def test_ports_are_reached_without_publishing(tmp_path: Path) -> None:
    told: list[Event] = []
    wishes.vet([role(ports=("8080:80",)), role()], operation(tmp_path, told))
    (said,) = [event.message for event in told]
    assert said.startswith("role web: nxc.container.ports: 8080:80 needs no publishing")
    assert "nxc status" in said


def test_settings_of_the_network_are_left_to_the_node() -> None:
    asked = role(sysctls={"net.ipv4.ip_forward": "1", "kernel.shmmax": "5", "fs.mqueue.msg_max": "6"})
    assert wishes.ipc_settings(asked) == {"kernel.shmmax": "5", "fs.mqueue.msg_max": "6"}
