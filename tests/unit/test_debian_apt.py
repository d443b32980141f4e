"""apt, used by two builds at once, and the worker's processes. apt-get is a stand-in."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nxc_core.errors import BuildError
from nxc_debian import apt
from nxc_debian.apt import Apt
from nxc_debian.inside.root import within
from tests.operations import operation_in

UPDATE = """
test "$1" != indextargets || exit 0
mkdir "$0.busy" || { echo "E: Could not get lock" >&2; exit 100; }
sleep 0.3
rmdir "$0.busy"
echo ran >> "$0.log"
"""
INSTALL = """
for word; do case "$word" in Dir::State::status=*) status=${word#*=};; esac; done
sleep 0.3
sed -n 's/^Package: \\(.*\\)/Inst \\1 (1 here)/p' "$status"
"""


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    """A folder of apt's, and no apt-get yet."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (tmp_path / "bin").mkdir()
    (tmp_path / "apt" / "key").mkdir(parents=True)
    return Apt(root=tmp_path / "apt" / "key", sources=(), architecture="amd64")


def stand_in(folder: Path, script: str) -> Path:
    program = folder / "bin" / "apt-get"
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)
    return program


def test_two_builds_fetch_the_lists_once(found: Apt, tmp_path: Path) -> None:
    program = stand_in(tmp_path, UPDATE)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: apt.update(found, operation_in(tmp_path, name)), ("one", "two")))
    assert program.with_name("apt-get.log").read_text() == "ran\n"


def test_two_builds_resolve_each_for_itself(found: Apt, tmp_path: Path) -> None:
    stand_in(tmp_path, INSTALL)

    def resolve(name: str) -> list[tuple[str, str]]:
        return apt.resolve(found, ["x"], operation_in(tmp_path, name), installed=[{"Package": name}])

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(resolve, ("one", "two"))) == [[("one", "1")], [("two", "1")]]
    assert not list(found.root.iterdir())


def test_a_process_in_a_root_that_was_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what it had not done yet would be missing from a layer that is kept."""
    monkeypatch.setattr(os, "chroot", lambda root: None)
    with pytest.raises(BuildError, match="was ended"):
        within(tmp_path, lambda: os.kill(os.getpid(), signal.SIGKILL))
