"""What ssh is told, and what its own exit code 255 means."""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from nxc_core.connect import LOST, SshConnection
from nxc_core.errors import CommandError
from nxc_core.gateways import is_open, through, users_own
from nxc_core.model import Gateway, SshEndpoint
from tests.processes import command_lines
from tests.sshds import run_agent, run_sshds

SSH = """#!/bin/sh
case "$*" in *"-O check"*) exit "$SHARED" ;; esac
echo "$SAID" >&2
exit 255
"""


def endpoint(place: Path, **more: Any) -> SshEndpoint:
    """Return how a node is reached, with what ssh needs in one place."""
    return SshEndpoint(
        host="192.0.2.1",
        port=2200,
        user="root",
        identity=place / "key",
        known_hosts=place / "known_hosts",
        alias="a",
        **more,
    )


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshConnection:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "control").touch()
    return SshConnection(endpoint(tmp_path, control=tmp_path / "control"))


@pytest.mark.parametrize("said", ["", "ssh: connect to host other port 22: Connection refused"])
def test_a_command_may_end_with_255_itself(
    connection: SshConnection, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("SAID", said)
    monkeypatch.setenv("SHARED", "0")
    assert connection.run(("ssh", "other"), check=False, timeout=10).code == 255
    monkeypatch.setenv("SHARED", "255")
    with pytest.raises(CommandError, match=LOST):
        connection.run(("ssh", "other"), check=False, timeout=10)


def test_a_folder_may_have_blanks_and_percent_signs(tmp_path: Path) -> None:
    place = tmp_path / "my 100%h experiments"
    words = SshConnection(endpoint(place)).shell_argv()
    parsed = subprocess.run([words[0], "-G", *words[1:]], capture_output=True, text=True, check=True).stdout
    assert f"userknownhostsfile {place}/known_hosts\n" in parsed
    spelled = str(place).replace("%", "%%")  # it shows this one as it was given
    assert f"identityfile {spelled}/key\n" in parsed


@pytest.mark.parametrize("gateway", [None, Gateway(host="gate")])
def test_a_node_is_offered_no_keys_of_an_agent(tmp_path: Path, gateway: Gateway | None) -> None:
    end = endpoint(tmp_path, gateway=gateway)
    told = subprocess.run(
        ("ssh", "-G", *SshConnection(end)._options(), end.host), capture_output=True, check=True, text=True
    )
    settings = dict(line.partition(" ")[::2] for line in told.stdout.splitlines())
    assert settings["identitiesonly"] == "yes"
    assert ("proxycommand" in settings) is bool(gateway)


def test_the_way_to_a_gateway_is_the_users_own_and_asks_nobody(tmp_path: Path) -> None:
    place = tmp_path / "100%h of it"
    gateway = Gateway(
        host="::1", user="bob", port=23, before="far", known_hosts=place / "known", control=tmp_path / "g"
    )
    (inner,) = (
        line.partition(" ")[2].removeprefix("exec ")
        for line in _settings("-o", f"ProxyCommand={through(gateway)}", "node")
        if line.startswith("proxycommand ")
    )
    # As ssh itself reads it: tokens by the outer one, words by the shell, options by the inner one.
    words = shlex.split(inner.replace("[%h]:%p", "node:1").replace("%%", "%"))
    settings = dict(line.partition(" ")[::2] for line in _settings(*words[1:]))
    assert (settings["user"], settings["hostname"], settings["port"]) == ("bob", "::1", "23")
    assert settings["stricthostkeychecking"] == "true" and settings["batchmode"] == "yes"
    assert settings["proxyjump"] == "far" and settings["controlmaster"] == "auto"
    assert settings["globalknownhostsfile"].endswith(str(place / "known"))


def test_the_way_to_a_gateway_is_gone_from_any_login_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = tmp_path / "zsh"  # where a pattern that no file matches is an error, as in csh
    shell.write_text('#!/bin/sh\nexec bash -O failglob "$@"\n')
    shell.chmod(0o755)
    monkeypatch.setenv("SHELL", str(shell))
    way = through(Gateway(host="127.0.0.1", port=1))
    words = ("ssh", "-F", "/dev/null", "-o", f"ProxyCommand={way}", "node", "true")
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert "connect to host 127.0.0.1 port 1: Connection refused" in ended.stderr


@pytest.mark.parametrize("where", ["theirs", "added"])
def test_a_host_keeps_the_files_of_host_keys_of_its_own_configuration(tmp_path: Path, where: str) -> None:
    added, theirs = tmp_path / "more 100%h" / "known", tmp_path / "theirs"
    added.parent.mkdir()
    added.touch()
    with run_sshds(tmp_path / "sshd", 1) as (gate,):
        key = gate.known_hosts.read_text().replace(gate.alias, f"[127.0.0.1]:{gate.port}")
        {"theirs": theirs, "added": added}[where].write_text(key)
        (tmp_path / "config").write_text(
            f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n IdentityFile {gate.identity}\n"
            f" IdentitiesOnly yes\n UserKnownHostsFile {theirs}\nHost *\n CheckHostIP yes\n ForwardX11 yes\n"
        )
        words = ("-F", str(tmp_path / "config"), *users_own(known_hosts=added), "gate")
        subprocess.run(("ssh", *words, "true"), check=True, timeout=60)
    settings = dict(line.partition(" ")[::2] for line in _settings(*words))
    assert settings["userknownhostsfile"] == str(theirs)
    assert settings["checkhostip"] == settings["forwardx11"] == "no"


def test_commands_at_once_leave_one_connection_that_closing_ends(tmp_path: Path) -> None:
    with run_sshds(tmp_path, 1) as (end,):
        ways = [SshConnection(end) for _ in range(5)]
        with ThreadPoolExecutor() as pool:
            said = list(pool.map(lambda way: way.run(("echo", "there"), timeout=60), ways))
        assert {(one.text, one.error_text) for one in said} == {("there\n", "")}
        SshConnection(end).run(("true",), timeout=60)
        assert _clients(end) == 1
        ways[0].close()
        until = time.monotonic() + 60
        while _clients(end):
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_first_command_has_no_login_but_that_of_the_shared_connection(tmp_path: Path) -> None:
    with run_sshds(tmp_path, 1) as (end,):
        way = SshConnection(end)
        assert way.run(("echo", "there"), timeout=60).text == "there\n"
        way.close()
        assert (tmp_path / "node0.log").read_text().count("Accepted publickey") == 1


def test_a_command_is_run_where_the_folder_of_the_shared_connection_is_gone(tmp_path: Path) -> None:
    with run_sshds(tmp_path, 1) as (end,):
        way = SshConnection(evolve(end, control=tmp_path / "gone" / "s"))
        assert way.run(("echo", "there"), timeout=60).text == "there\n"


def test_a_command_that_is_late_is_told_by_the_time_that_it_had(tmp_path: Path) -> None:
    with run_sshds(tmp_path, 1) as (end,):
        way = SshConnection(end)
        with pytest.raises(CommandError, match=r"^`sleep 600` was not done after 3 s$"):
            way.run(("sleep", "600"), timeout=3)
        way.close()


def test_nodes_open_the_connection_to_the_host_on_the_way_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a day later, when it is long closed; a socket of a connection that was killed is no connection."""
    with run_sshds(tmp_path, 6) as (gate, *nodes), run_agent(gate.identity) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", agent)
        known = tmp_path / "gate hosts"
        known.write_text(gate.known_hosts.read_text().replace(gate.alias, f"[127.0.0.1]:{gate.port}"))
        gateway = Gateway(
            host="127.0.0.1", port=gate.port, user=gate.user, known_hosts=known, control=tmp_path / "g"
        )
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(gateway.control))
        assert not is_open(gateway)
        ways = [SshConnection(evolve(node, gateway=gateway)) for node in nodes]
        try:
            with ThreadPoolExecutor() as pool:
                said = list(pool.map(lambda way: way.run(("echo", "there"), timeout=60).text, ways))
        finally:
            for way in ways:
                way.close()
            subprocess.run(("ssh", "-S", str(gateway.control), "-O", "exit", "gate"), check=True, timeout=60)
        assert said == ["there\n"] * 5
        assert (tmp_path / "node0.log").read_text().count("Accepted publickey") == 1


def test_a_connection_that_many_ask_for_is_open(tmp_path: Path) -> None:
    gateway = Gateway(host="gate", control=tmp_path / "g")
    assert not is_open(gateway)
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as stack:
        busy.bind(str(gateway.control))
        assert not is_open(gateway)
        busy.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(str(gateway.control))
        assert is_open(gateway)


def test_nodes_behind_a_host_that_is_off_do_not_wait_for_each_other(tmp_path: Path) -> None:
    gateway = Gateway(host="127.0.0.1", port=1, control=tmp_path / "g")
    ways = [SshConnection(endpoint(tmp_path, gateway=gateway, control=tmp_path / f"{n}")) for n in range(5)]

    def fails(way: SshConnection) -> str:
        with pytest.raises(CommandError, match=LOST) as caught:
            way.run(("true",), timeout=60)
        return caught.value.stderr

    with ThreadPoolExecutor() as pool:
        said = list(pool.map(fails, ways))
    assert all("Connection refused" in one for one in said), said


def _clients(end: SshEndpoint) -> int:
    """Count the ssh that keep a connection to a node, here."""
    return sum(line.startswith("ssh") and str(end.control) in line for line in command_lines().values())


def _settings(*words: str) -> list[str]:
    told = subprocess.run(("ssh", "-G", *words), capture_output=True, check=True, text=True)
    return told.stdout.splitlines()
