"""What ssh's own exit code 255 means."""

from __future__ import annotations

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
