"""What ssh is told, and what its own exit code 255 means."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nxc_core.connect import LOST, SshConnection
from nxc_core.errors import CommandError
from nxc_core.model import SshEndpoint

SSH = """#!/bin/sh
case "$*" in *"-O check"*) exit "$SHARED" ;; esac
echo "$SAID" >&2
exit 255
"""


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshConnection:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "control").touch()
    end = SshEndpoint(
        host="127.0.0.1",
        port=1,
        user="root",
        identity=tmp_path / "key",
        known_hosts=tmp_path / "known_hosts",
        alias="a",
        control=tmp_path / "control",
    )
    return SshConnection(end)


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
    end = SshEndpoint(
        host="127.0.0.1",
        port=1,
        user="root",
        identity=place / "key",
        known_hosts=place / "known_hosts",
        alias="a",
    )
    words = SshConnection(end).shell_argv()
    parsed = subprocess.run([words[0], "-G", *words[1:]], capture_output=True, text=True, check=True).stdout
    assert f"userknownhostsfile {place}/known_hosts\n" in parsed
    spelled = str(place).replace("%", "%%")  # it shows this one as it was given
    assert f"identityfile {spelled}/key\n" in parsed


@pytest.mark.parametrize("jump", [None, "gate"])
def test_a_node_is_offered_no_keys_of_an_agent(tmp_path: Path, jump: str | None) -> None:
    end = SshEndpoint(
        host="192.0.2.1",
        port=2200,
        user="root",
        identity=tmp_path / "key",
        known_hosts=tmp_path / "known_hosts",
        alias="a",
        jump=jump,
    )
    told = subprocess.run(
        ("ssh", "-G", *SshConnection(end)._options(), end.host), capture_output=True, check=True, text=True
    )
    settings = dict(line.partition(" ")[::2] for line in told.stdout.splitlines())
    assert settings["identitiesonly"] == "yes"
    assert settings.get("proxyjump") == jump
