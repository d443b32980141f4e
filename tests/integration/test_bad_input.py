"""Ends in the middle, and disks that fill up, with real builds and machines: nothing leaks, work goes on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nxc_core.state import Workspace
from tests.processes import command_lines

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

NXC = Path(sys.executable).with_name("nxc")
COMPOSITION = """{ pkgs, ... }: {
  roles.one = { environment.systemPackages = [ pkgs.hello ]; environment.etc.mark.text = "MARK"; };
  testScript = ''
    one.copy_from_host("${./data.txt}", "/root/data.txt")
    one.copy_from_host("${./folder}", "/root/folder")
    print("copied", one.succeed("cat /root/data.txt /root/folder/more"))
    one.succeed("sleep 300")
  '';
}
"""


@pytest.fixture
def project(cached: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    (folder / "folder").mkdir(parents=True)
    (folder / "composition.nix").write_text(COMPOSITION)
    (folder / "data.txt").write_text("one ")
    (folder / "folder" / "more").write_text("more")
    return folder


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def run(project: Path, *argv: str) -> tuple[int, str]:
    done = subprocess.run(
        [NXC, *argv], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )
    assert "Traceback" not in done.stdout
    return done.returncode, done.stdout


def end_at(project: Path, number: signal.Signals, pattern: str, *argv: str, delay: float = 0.0) -> str:
    """Run nxc until a line fits, send it a signal, and return what it said."""
    said = []
    with subprocess.Popen(
        [NXC, *argv], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            said.append(line)
            if re.search(pattern, line):
                time.sleep(delay)
                child.send_signal(number)
                break
        else:
            pytest.fail("".join(said))
        said += child.stdout.readlines()
        code = child.wait(timeout=60)
    assert code == (130 if number is signal.SIGINT else -number), "".join(said)
    assert "Traceback" not in "".join(said)
    return "".join(said)


def processes(mark: str) -> list[str]:
    """List the command lines of living processes that name ``mark``."""
    return [words for words in command_lines().values() if mark in words]


def until(what: Callable[[], bool], patience: float = 10) -> None:
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_ended_leaves_no_process(
    project: Path, cached: Path, tmp_path: Path, number: signal.Signals
) -> None:
    work = str(cached / "nxc" / "debian" / "work")
    composition = project / "composition.nix"
    run(project, "build", "-q")
    packages = composition.read_text().replace("pkgs.hello", "pkgs.hello pkgs.vim pkgs.git")
    composition.write_text(packages.replace("MARK", f"{number} {tmp_path} {time.time()}"))
    end_at(project, number, "building role one", "build", delay=0.5)
    until(lambda: not processes(work), patience=1 if number is signal.SIGINT else 60)
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if work in line]
    code, said = run(project, "build")
    assert code == 0, said


def test_a_start_that_is_killed_is_gone_on_with_and_taken_down(project: Path) -> None:
    end_at(project, signal.SIGKILL, "one +booting", "start", delay=0.5)
    (id,) = Workspace(project).deployments()
    assert processes(f"guest={id}-one")
    code, said = run(project, "start")
    assert code == 0, said
    assert f"going on with {id}" in said
    assert run(project, "exec", "one", "hostname") == (0, "one\n")
    with subprocess.Popen(
        [NXC, "-q", "down"], cwd=project
    ) as child:  # one that is killed is finished by the next
        time.sleep(0.25)
        child.kill()
    code, said = run(project, "down", id)
    assert code == 0, said
    until(lambda: not processes(id))
    assert Workspace(project).journal(id).outstanding() == []


def test_files_are_copied_and_an_interrupted_test_takes_all_down(project: Path) -> None:
    said = end_at(project, signal.SIGINT, "sleep 300", "up", "--test", delay=0.5)
    assert "copied one more" in said
    assert "error: interrupted" in said
    (id,) = Workspace(project).deployments()
    until(lambda: not processes(id))
    assert Workspace(project).journal(id).outstanding() == []


def test_a_full_project_is_one_error_and_can_be_taken_down(project: Path, tmpfs: Path) -> None:
    """What nxc writes of a deployment is on a tmpfs: full before the start, and full when it boots."""
    (tmpfs / "composition.nix").write_text("{ roles.one = { }; }")
    assert run(tmpfs, "build", "-q")[0] == 0
    fill(tmpfs)
    code, said = run(tmpfs, "start")
    assert code == 10, said
    assert re.search(rf"error: {tmpfs}/\S+: No space left on device\nhint: free some space", said), said
    (tmpfs / "fill").unlink()
    assert run(tmpfs, "down", "--all")[0] == 0
    end_at(tmpfs, signal.SIGKILL, "one +booting", "start")
    fill(tmpfs)
    code, said = run(tmpfs, "down")
    assert code in (0, 9, 10), said
    assert not processes("guest=small-vm-ramdisk"), "whatever cannot be written, nothing runs on"
    (tmpfs / "fill").unlink()
    if code:
        assert "No space left on device" in said
        assert run(tmpfs, "down")[0] == 0
    assert "nothing is deployed" in run(tmpfs, "status")[1]


def fill(folder: Path) -> None:
    with (folder / "fill").open("wb", buffering=0) as sink:
        try:
            while sink.write(bytes(512)):
                pass
        except OSError:
            pass
