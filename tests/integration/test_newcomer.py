"""The README's two commands on a bare Debian 12, as root and as an ordinary user, with no caches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.full, pytest.mark.timeout(7200)]

REPOSITORY = Path(__file__).parents[2]
IN_ROOT = Path(__file__).with_name("in-root")
CERTIFICATES = (
    "[ ! -f /etc/ssl/certs/site.crt ] ||"
    " export PIP_CERT=/etc/ssl/certs/site.crt SSL_CERT_FILE=/etc/ssl/certs/site.crt;"
)
KEPT = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "PIP_INDEX_URL",
    "PIP_CERT",
    "SSL_CERT_FILE",
    "PIP_DEFAULT_TIMEOUT",
)


def readme_commands() -> list[str]:
    """Return the first two fenced commands of the README: run, then test."""
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    return [block.strip().splitlines()[-1] for block in blocks[:2]]


def enter(root: Path, user: str, script: str, *, timeout: float = 5400) -> subprocess.CompletedProcess[str]:
    environment = {"TERM": "dumb", "LANG": "C.UTF-8"} | {k: v for k, v in os.environ.items() if k in KEPT}
    return subprocess.run(
        [str(IN_ROOT), str(root), user, "sh", "-c", f"cd /opt/nxc && {script}"],
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a minimal bookworm root from the machine's own mirror, with a clone of this repository in it."""
    if os.geteuid() != 0:
        pytest.fail("the newcomer tests make a root file system: run them as root")
    root = tmp_path_factory.mktemp("bare") / "root"
    sources = [Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")]
    source = next(path for path in sources if path.exists() and path.read_text().strip())
    subprocess.run(
        ["mmdebstrap", "--variant=minbase", "bookworm", str(root), str(source)],
        check=True,
        timeout=900,
        capture_output=True,
    )
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    # As Debian's installer does.
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():  # a site's own authority, where the mirrors are behind one
        (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
        shutil.copy(certificates, root / "etc/ssl/certs/site.crt")
    # What ./setup --dev installs brings services, which would be this machine's and change its network.
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(root / "opt/nxc")], check=True, timeout=120)
    yield root
    subprocess.run(["umount", "-R", str(root)], check=False, capture_output=True)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def tester(bare: Path) -> Path:
    """Make an ordinary user with a clone of their own, without what an administrator would have given."""
    script = (
        "useradd --create-home tester && sed -i /tester/d /etc/subuid /etc/subgid"
        " && cp -r /opt/nxc /home/tester/nxc && rm -rf /home/tester/nxc/.venv /home/tester/nxc/.nxc"
        " && chown -R tester: /home/tester"
        " && { ! dpkg -s squashfs-tools >/dev/null 2>&1 || apt-get remove -y squashfs-tools >/dev/null; }"
    )
    made = enter(bare, "root", script)
    assert made.returncode == 0, made.stderr
    return bare


def succeed(root: Path, user: str, folder: str, command: str) -> str:
    done = enter(root, user, f"cd {folder} && {CERTIFICATES} {command}")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    return done.stdout


def test_root_runs_the_first_command(bare: Path) -> None:
    succeed(bare, "root", "/opt/nxc", readme_commands()[0])


def test_setting_up_again_touches_no_network(bare: Path) -> None:
    again = enter(bare, "root", "unshare --net ./setup")
    assert again.returncode == 0, again.stderr


def ask(root: Path, command: str) -> list[str]:
    """Run setup as the ordinary user, and return what it wants an administrator to run."""
    asked = enter(root, "tester", f"cd ~/nxc && {command}")
    assert asked.returncode == 5, asked.stdout + asked.stderr
    return [line.strip() for line in asked.stderr.splitlines() if line.startswith("  ")]


def grant(root: Path, lines: list[str]) -> None:
    granted = enter(root, "root", " && ".join(lines))
    assert granted.returncode == 0, granted.stderr


def test_an_ordinary_user_is_told_what_to_ask_for_and_runs_the_first_command(tester: Path) -> None:
    lines = ask(tester, "./setup")
    assert any("apt-get install" in line and "squashfs-tools" in line for line in lines), lines
    assert any("usermod --add-subuids" in line for line in lines), lines
    grant(tester, lines)
    succeed(tester, "tester", "~/nxc", readme_commands()[0])


def test_an_ordinary_user_runs_the_second_command(tester: Path) -> None:
    grant(tester, ask(tester, "./setup --dev"))
    assert " passed" in succeed(tester, "tester", "~/nxc", readme_commands()[1])


def test_root_runs_the_second_command(bare: Path) -> None:
    assert " passed" in succeed(bare, "root", "/opt/nxc", readme_commands()[1])
