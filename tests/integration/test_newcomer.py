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
        [str(IN_ROOT), str(root), user, "sh", "-c", f"cd /work/nxc && {script}"],
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
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():  # a site's own authority, where the mirrors are behind one
        (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
        shutil.copy(certificates, root / "etc/ssl/certs/site.crt")
    subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(root / "work/nxc")], check=True, timeout=120)
    yield root
    subprocess.run(["umount", "-R", str(root)], check=False, capture_output=True)
    shutil.rmtree(root, ignore_errors=True)


def certificate_words(root: Path) -> str:
    return "export PIP_CERT=/etc/ssl/certs/site.crt SSL_CERT_FILE=/etc/ssl/certs/site.crt; "


def test_root_runs_both_commands_and_again_without_network(bare: Path) -> None:
    run, test = readme_commands()
    first = enter(bare, "root", certificate_words(bare) + run)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    again = enter(bare, "root", "unshare --net ./setup")
    assert again.returncode == 0, again.stderr
    second = enter(bare, "root", certificate_words(bare) + test)
    assert second.returncode == 0, second.stdout[-5000:] + second.stderr[-3000:]
    assert " passed" in second.stdout
    shutil.rmtree(bare / "root/.cache", ignore_errors=True)


def test_an_ordinary_user_is_told_what_to_ask_for_and_then_runs_both(bare: Path) -> None:
    run, test = readme_commands()
    made = enter(
        bare,
        "root",
        "useradd --create-home tester && sed -i /tester/d /etc/subuid /etc/subgid && rm -rf /home/tester/nxc"
        " && cp -r /work/nxc /home/tester/nxc && rm -rf /home/tester/nxc/.venv /home/tester/nxc/.nxc"
        " && chown -R tester: /home/tester && apt-get remove -y squashfs-tools >/dev/null",
    )
    assert made.returncode == 0, made.stderr
    asked = enter(bare, "tester", "cd ~/nxc && ./setup")
    assert asked.returncode == 5, asked.stdout + asked.stderr
    lines = [line.strip() for line in asked.stderr.splitlines() if line.startswith("  ")]
    assert any("apt-get install" in line and "squashfs-tools" in line for line in lines), asked.stderr
    assert any("usermod --add-subuids" in line for line in lines), asked.stderr
    granted = enter(bare, "root", " && ".join(lines))
    assert granted.returncode == 0, granted.stderr
    for command in (run, test):
        done = enter(bare, "tester", "cd ~/nxc && " + certificate_words(bare) + command)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert not (bare / "tmp").glob("nxc-*") or not list((bare / "tmp").glob("nxc-*"))
