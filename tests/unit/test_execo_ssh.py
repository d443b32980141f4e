"""What execo calls in place of ssh and scp, over real sshd."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from nxc_core.connect import open_connection
from nxc_core.model import ExecEndpoint, Gateway, SshEndpoint
from nxc_execo import table
from nxc_execo.table import TRANSPORT
from tests.processes import find_commands
from tests.sshds import make_key, run_agent, run_sshds

pytestmark = pytest.mark.root  # sshd lets nobody else in than whom it runs as, and root has its places


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[SshEndpoint]]:
    """Run two nodes, in a folder with a blank in its name."""
    with run_sshds(tmp_path / "a b", 2) as endpoints:
        yield endpoints
        for endpoint in endpoints:
            open_connection(endpoint).close()


@pytest.fixture
def known(nodes: list[SshEndpoint], tmp_path: Path) -> table.Table:
    """Know the first as `one`, reached straight, and the second as `two`, through the first."""
    folder = tmp_path / "nodes"
    folder.mkdir()
    found = table.Table(folder=folder)
    found.add("one", "d", nodes[0])
    return found


def start(known: table.Table, program: str, *words: str, **more: str) -> subprocess.Popen[bytes]:
    """Start one of the programs as execo does."""
    options = ("-tt", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    return subprocess.Popen(
        (str(TRANSPORT / program), *(options if program == "ssh" else options[1:]), *words),
        env={**os.environ, table.NODES: str(known.folder), **more},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(
    known: table.Table, program: str, *words: str, code: int = 0, stdin: bytes = b""
) -> tuple[bytes, bytes]:
    """Run one to its end."""
    child = start(known, program, *words)
    out, err = child.communicate(stdin, timeout=120)
    assert child.returncode == code, out + err
    return out, err


def accepted(nodes: list[SshEndpoint], index: int) -> int:
    """Count the connections that a node has let in."""
    log = nodes[index].identity.with_name(f"node{index}.log")
    return log.read_text().count("Accepted publickey")


def test_commands_share_one_connection_and_keep_streams_and_codes(
    known: table.Table, nodes: list[SshEndpoint]
) -> None:
    odd = 'it\'s "odd" $HOME \\ *'
    for _ in range(3):
        assert run(known, "ssh", "one", "echo out; echo err >&2; exit 41", code=41) == (b"out\n", b"err\n")
    data = bytes(range(256)) * 1000
    assert run(known, "ssh", "one", "cat", stdin=data)[0] == data
    assert run(known, "ssh", "root@one", "printf %s", shlex.quote(odd))[0] == odd.encode()
    assert accepted(nodes, 0) == 1


def test_a_signal_ends_the_command_with_all_that_it_has_started(known: table.Table) -> None:
    child = start(known, "ssh", "one", "trap '' TERM; sleep 86396 & echo begun; sleep 86396; sleep 86396")
    assert child.stdout is not None and child.stdout.readline() == b"begun\n"
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=120)
    assert child.returncode == 143
    assert running("sleep\x0086396") == []


def test_a_signal_at_any_time_leaves_no_command_behind(known: table.Table) -> None:
    """It comes in the narrowest place: the command is begun, and nothing is done about it yet."""
    known.add("here", "d", ExecEndpoint(prefix=("env",)))
    text = (TRANSPORT / "ssh").read_text()
    slow = text.replace("<&3 3<&-) &\n", "<&3 3<&-) &\nkill -TERM $$\n")
    assert slow != text
    assert known.folder is not None
    program = known.folder / "slow"
    program.write_text(slow)
    program.chmod(0o755)
    for words in (str(program), "here", "sleep 86394"), (str(program), "here", "trap '' TERM; sleep 86394"):
        environment = {**os.environ, table.NODES: str(known.folder)}
        assert subprocess.run(words, env=environment, timeout=120, check=False).returncode == 143
        assert running("sleep\x0086394") == []


def test_a_copy_that_is_broken_off_leaves_nothing(known: table.Table, tmp_path: Path) -> None:
    script = 'case "$*" in *find_marked*) exec "$@" ;; *) exec sleep 86393 ;; esac'
    known.add("deaf", "d", ExecEndpoint(prefix=("sh", "-c", script, "deaf")))
    (tmp_path / "here").mkdir()
    child = start(known, "scp", "deaf:/etc/hostname", f"{tmp_path}/here/goal", TMPDIR=str(tmp_path / "here"))
    end = time.monotonic() + 60
    while len(find_commands("sleep\x0086393")) < 1:
        assert time.monotonic() < end
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=120)
    assert child.returncode == 143
    assert list((tmp_path / "here").iterdir()) == []
    assert running("sleep\x0086393") == []


def test_a_host_key_that_is_not_the_nodes_is_refused(
    known: table.Table, nodes: list[SshEndpoint], tmp_path: Path
) -> None:
    make_key(tmp_path / "other")
    wrong = tmp_path / "wrong hosts"
    wrong.write_text(f"{nodes[0].alias} {(tmp_path / 'other.pub').read_text()}")
    known.add("wrong", "d", evolve(nodes[0], known_hosts=wrong, control=tmp_path / "w.s"))
    _, err = run(known, "ssh", "wrong", "echo never", code=255)
    assert b"Host key verification failed" in err
    assert b"never" not in run(known, "scp", "wrong:/etc/hostname", str(tmp_path), code=255)[0]


def test_a_node_is_reached_through_a_jump_host(
    known: table.Table, nodes: list[SshEndpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = nodes[0]  # there the user's own ssh goes, with a key of their agent
    hosts = tmp_path / "gate hosts"
    key = gate.known_hosts.read_text().splitlines()[0].partition(" ")[2]
    hosts.write_text(f"[127.0.0.1]:{gate.port} {key}\n")
    gateway = Gateway(host="127.0.0.1", port=gate.port, user=gate.user, known_hosts=hosts)
    known.add("two", "d", evolve(nodes[1], gateway=gateway))
    with run_agent(gate.identity) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", agent)
        assert run(known, "ssh", "two", "echo there")[0] == b"there\n"
    assert accepted(nodes, 0) == 1 and accepted(nodes, 1) == 1


def test_files_are_copied_both_ways(known: table.Table, tmp_path: Path) -> None:
    source, goal, back = (tmp_path / name for name in ("so rce", "goal", "back"))
    for folder in (source, goal, back):
        folder.mkdir()
    (source / "it's").write_bytes(b"\0\1")
    (source / "it's").chmod(0o640)
    run(known, "scp", "-rp", str(source), f"one:{goal}")
    run(known, "scp", "-rp", f"one:{goal}/so rce/*", f"one:{goal}/so rce", str(back))
    for copy in (goal / "so rce/it's", back / "it's", back / "so rce/it's"):
        assert copy.read_bytes() == b"\0\1" and copy.stat().st_mode & 0o777 == 0o640
    run(known, "scp", "-rp", str(source / "it's"), f"one:{goal}/renamed")
    assert (goal / "renamed").read_bytes() == b"\0\1"
    for words in (
        (f"{source}/none", f"one:{goal}"),
        (str(source), f"one:{goal}/no/such"),
        (f"one:{goal}/none", str(back)),
        (f"one:{goal}", f"{back}/no/such"),
        (f"one:{goal}", "one:/tmp"),
    ):
        assert b"scp: " in run(known, "scp", "-rp", *words, code=1)[1]
    assert sorted(path.name for path in goal.iterdir()) == ["renamed", "so rce"]


SLOW = """
import subprocess, sys, threading, time

def pump(source, sink):  # as an engine does
    data = source.read()
    for part in (data[:1], data[1:-512], data[-512:]):
        sink.write(part)
        sink.flush()
        time.sleep(0.5)
    sink.close()

child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
threading.Thread(target=pump, args=(sys.stdin.buffer, child.stdin)).start()
pump(child.stdout, sys.stdout.buffer)
sys.exit(child.wait())
"""


def test_files_are_copied_whatever_pieces_they_come_in(known: table.Table, tmp_path: Path) -> None:
    known.add("slow", "d", ExecEndpoint(prefix=(sys.executable, "-c", SLOW)))
    goal, back = tmp_path / "goal", tmp_path / "back"
    for folder in (goal, back):
        folder.mkdir()
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4096)
    assert run(known, "scp", str(tmp_path / "file"), f"slow:{goal}") == (b"", b"")
    assert run(known, "scp", f"slow:{goal}/file", str(back)) == (b"", b"")
    assert (back / "file").read_bytes() == bytes(range(256)) * 4096


def test_no_key_is_on_a_command_line_or_open_to_others(known: table.Table) -> None:
    assert known.folder is not None
    config = known.folder / "one/ssh_config"
    assert config.stat().st_mode & 0o077 == 0
    assert "PRIVATE" not in config.read_text()
    assert shutil.which("ssh", path=str(TRANSPORT)) and shutil.which("scp", path=str(TRANSPORT))


def running(begin: str) -> list[str]:
    """Find processes by how their command line begins; one that is ending is given time."""
    end = time.monotonic() + 60
    while (found := find_commands(begin)) and time.monotonic() < end:
        time.sleep(0.1)
    return found
