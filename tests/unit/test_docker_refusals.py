"""What a container or an engine says when it ends or refuses, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from nxc_core.errors import DeployError, PreflightError
from nxc_docker import containers, failures, looking, power
from nxc_docker.flavour import Docker
from nxc_docker.options import DockerOptions
from tests.docker_stubs import OP, answer, engine_of

# How a container ended


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"ExitCode": 255}, "exit code 255: Failed to mount tmpfs at /run"),
        ({"ExitCode": 0}, "in good order"),
        ({"ExitCode": 137}, "was killed"),
        ({"ExitCode": 137, "OOMKilled": True}, "more memory"),
        ({"Status": "created", "Error": "no such device"}, "never started: no such device"),
        ({"Running": True, "Paused": True}, "paused"),
    ],
)
def test_an_end_is_told(told: dict[str, Any], words: str) -> None:
    assert words in looking.tell_end(told, lambda: "Failed to mount tmpfs at /run")


def test_a_console_has_no_returns() -> None:
    assert looking.clean_console(b"one\r\r\ntwo\r\nthree\nfour\rfive") == b"one\ntwo\nthree\nfour\rfive"


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2026-11-23T02:12:20.5Z", 1795399940.5),
        ("2026-11-23T02:12:20.123456789Z", 1795399940.123456789),
        ("2026-11-23T03:12:20+01:00", 1795399940.0),
        ("0001-01-01T00:00:00Z", 0.0),
        ("", 0.0),
    ],
)
def test_engines_times_are_read(stamp: str, seconds: float) -> None:
    assert power._seconds(stamp) == pytest.approx(seconds)


def test_a_wrong_address_is_told_in_a_sentence() -> None:
    with pytest.raises(PreflightError) as caught:
        Docker(DockerOptions(url="tcp://no-such-host.invalid:2375")).require(OP)
    assert caught.value.message == "the host of tcp://no-such-host.invalid:2375 is not known"


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (
            500,
            "driver failed programming external connectivity on endpoint web-1-a (0af3): "
            "Bind for 0.0.0.0:80 failed: port is already allocated",
            "published port is in use (Bind for 0.0.0.0:80 failed",
        ),
        (
            500,
            "Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already in use",
            "port is in use",
        ),
        (500, "failed to set up container networking: Address already in use", "its address is another"),
        (500, "failed to bind host port 0.0.0.0:80/tcp: address already in use", "port is in use"),
        (403, "Pool overlaps with other one on this address space", "overlaps"),
        (500, 'exec: "slirp4netns": executable file not found in $PATH', "lacks a program"),
        (500, "crun: cgroups in hybrid mode not supported, drop all: OCI runtime error", "versions 1 and 2"),
        (500, 'exec: "/sbin/init": executable file not found in $PATH', "first program cannot"),
        (
            404,
            "could not find an available, non-overlapping IPv4 address pool among the defaults",
            "no subnet left",
        ),
        (500, "no available IPv4 addresses on this network's address pools: lan (abc)", "no free address"),
        (400, 'invalid mount config for type "bind": bind source path does not exist: /no', "does not exist"),
        (500, "write /var/lib/docker/tmp/x: no space left on device", "disk is full"),
        (
            403,
            "error while removing network: network web-1 id abc has active endpoints",
            "still in the network",
        ),
        (
            500,
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to start "
            "container process: unable to apply caps: operation not permitted: unknown",
            "rights that --privileged",
        ),
        (409, "Container abc is not running", "not running"),
        (404, "No such container: web-1-a", "gone"),
        (500, "something new", "refuses (500): something new"),
    ],
)
def test_refusals_are_told_with_a_way_out(status: int, message: str, words: str) -> None:
    with pytest.raises(DeployError) as caught, failures.translated("starting a"):
        raise answer(status, message)
    assert words in caught.value.message
    assert caught.value.message.startswith("starting a: ")
    assert caught.value.hint
    assert not isinstance(caught.value, failures.EngineLost)


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError(ConnectionRefusedError(111, "Connection refused")),
        requests.exceptions.ConnectionError("('Connection aborted.', RemoteDisconnected())"),
        requests.exceptions.ReadTimeout("Read timed out. (read timeout=60)"),
        FileNotFoundError(2, "No such file or directory"),
    ],
)
def test_a_lost_engine_is_told_apart(error: Exception) -> None:
    with (
        pytest.raises(failures.EngineLost) as caught,
        failures.translated("starting a", url="unix:///d.sock"),
    ):
        raise error
    assert "/d.sock" in caught.value.message
    assert "nxc start" in caught.value.hint


def test_a_file_that_is_gone_is_no_lost_engine(tmp_path: Path) -> None:
    with pytest.raises(DeployError) as caught, failures.translated("sending a", url="unix:///d.sock"):
        (tmp_path / "layer.tar").open()
    assert not isinstance(caught.value, failures.EngineLost)
    assert f"{tmp_path}/layer.tar: No such file" in caught.value.message


def test_an_engine_that_goes_away_gives_no_traceback() -> None:
    def lose(**_: object) -> None:
        raise requests.exceptions.ConnectionError(ConnectionRefusedError(111, "Connection refused"))

    with pytest.raises(failures.EngineLost):
        containers.list_containers(engine_of(containers=lose), "web-1", OP)


def test_exhausted_pools_do_not_count_as_gone() -> None:
    assert failures.is_gone(answer(404, "No such container: x"))
    assert not failures.is_gone(answer(404, "could not find an available, non-overlapping IPv4 address pool"))
