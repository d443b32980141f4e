"""Real sshd on the loopback device that stand for nodes: each with a port and a host key of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from nxc_core.model import SshEndpoint

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey "{folder}/{name}.key"
AuthorizedKeysFile "{folder}/key.pub"
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PidFile none
PrintMotd no
MaxSessions 128
MaxStartups 200
Subsystem sftp internal-sftp
SetEnv SHLVL=1
"""
"""The last keeps bash from what its user has for logins over ssh, which may be slow, and speak."""


@contextlib.contextmanager
def run_sshds(folder: Path, number: int) -> Iterator[list[SshEndpoint]]:
    """Start so many, named node0 and on; all take the key ``folder/key``."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    make_key(folder / "key")
    known = folder / "known_hosts"
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or "/usr/sbin/sshd"
    processes, endpoints = [], []
    try:
        for index in range(number):
            name = f"node{index}"
            make_key(folder / f"{name}.key")
            port, process = _start(sshd, folder, name)
            processes.append(process)
            alias = f"nxc-test-{name}"
            with known.open("a") as file:
                file.write(f"{alias} {' '.join((folder / f'{name}.key.pub').read_text().split()[:2])}\n")
            endpoints.append(
                SshEndpoint(
                    host="127.0.0.1",
                    port=port,
                    user=pwd.getpwuid(os.geteuid()).pw_name,
                    identity=folder / "key",
                    known_hosts=known,
                    alias=alias,
                    control=folder / f"{index}.s",
                )
            )
        yield endpoints
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


def _start(sshd: str, folder: Path, name: str) -> tuple[int, subprocess.Popen[bytes]]:
    """Start one; its port may have become another's before it takes it."""
    log, end = folder / f"{name}.log", time.monotonic() + 120
    while True:
        port = _free_port()
        (folder / f"{name}.conf").write_text(_CONFIG.format(port=port, folder=folder, name=name))
        with log.open("wb") as sink:
            words = (sshd, "-D", "-e", "-f", str(folder / f"{name}.conf"))
            process = subprocess.Popen(words, stderr=sink, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            if "Server listening on" in log.read_text():
                return port, process
            assert time.monotonic() < end, f"no sshd at port {port}: {log.read_text()}"
            time.sleep(0.01)
        assert "Address already in use" in log.read_text() and time.monotonic() < end, log.read_text()


def make_key(path: Path) -> None:
    """Make an ed25519 key pair."""
    words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path))
    subprocess.run(words, check=True, timeout=60)


@contextlib.contextmanager
def run_agent(key: Path) -> Iterator[str]:
    """Start an agent that has a key, as a user's session has; answers its SSH_AUTH_SOCK."""
    said = subprocess.run(("ssh-agent", "-s"), capture_output=True, text=True, check=True, timeout=60).stdout
    told = dict(re.findall(r"(SSH_\w+)=([^;]+);", said))
    try:
        subprocess.run(
            ("ssh-add", "-q", str(key)),
            env={**os.environ, **told},
            check=True,
            timeout=60,
            capture_output=True,
        )
        yield told["SSH_AUTH_SOCK"]
    finally:
        os.kill(int(told["SSH_AGENT_PID"]), signal.SIGTERM)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
