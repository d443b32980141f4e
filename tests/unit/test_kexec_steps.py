"""What is done on a machine: the scripts themselves, run here; the words of its tools; the identity."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core import ConfigError
from nxc_core.model import RoleBoot
from nxc_kexec import feeding, identity, images, steps, tool
from nxc_kexec.options import KexecOptions


def sh(
    script: str, *words: str, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ("sh", "-c", script, "name", *words),
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment} if environment else None,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "nxc-kexec"


# Holding


def test_a_machine_is_held_by_one_deployment(folder: Path) -> None:
    assert sh(steps._HOLD, str(folder), "web-1").returncode == 0
    assert (folder / "holder").read_text() == "web-1\n"
    (folder / "initrd").write_text("kept")
    again = sh(steps._HOLD, str(folder), "web-1")
    assert again.returncode == 0, "by itself it may be held again"
    assert (folder / "initrd").read_text() == "kept"
    other = sh(steps._HOLD, str(folder), "db-2")
    assert other.returncode != 0 and other.stdout == b"web-1\n"
    assert [path.name for path in folder.parent.iterdir()] == ["nxc-kexec"], "nothing of the other is left"


def test_of_many_at_once_one_gets_the_machine(folder: Path) -> None:
    codes: dict[str, int] = {}
    start = threading.Barrier(8)

    def hold(name: str) -> None:
        start.wait()
        codes[name] = sh(steps._HOLD, str(folder), name).returncode

    threads = [threading.Thread(target=hold, args=(f"d{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [name for name, code in codes.items() if code == 0]
    assert (folder / "holder").read_text() == f"{winner}\n"
    assert [path.name for path in folder.parent.iterdir()] == ["nxc-kexec"]


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    done = sh(steps._HOLD, str(tmp_path / "none" / "there"), "web-1")
    assert done.returncode == 0, "parents are made"
    (tmp_path / "file").write_text("")
    done = sh(steps._HOLD, str(tmp_path / "file" / "x"), "web-1")
    assert done.returncode != 0
    assert b"cannot create directory" in done.stderr


def test_what_somebody_else_put_in_the_way_is_not_written_to(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    Path(f"{folder}.web-1").symlink_to(trap)
    assert sh(steps._HOLD, str(folder), "web-1").returncode == 0
    assert list(trap.iterdir()) == []
    assert (folder / "holder").read_text() == "web-1\n" and not folder.is_symlink()


def test_a_link_to_a_folder_of_ours_holds_nothing(folder: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "holder").write_text("web-1\n")
    folder.symlink_to(ours)
    assert sh(steps._HOLD, str(folder), "web-1").returncode != 0


# Loading


def test_the_identity_replaces_that_of_an_earlier_try(folder: Path) -> None:
    folder.mkdir()
    initrd = folder / "initrd"
    initrd.write_bytes(b"image")
    for secret in (b"first, and longer", b"second"):
        assert sh(steps._LOAD, str(initrd), "5", "true", stdin=secret).returncode == 0
        assert initrd.read_bytes() == b"image" + secret
        assert initrd.stat().st_mode & 0o777 == 0o600, "it has secrets now"


def test_a_failed_load_is_told_from_a_failed_ssh(folder: Path) -> None:
    folder.mkdir()
    (folder / "initrd").write_bytes(b"image")
    done = sh(steps._LOAD, str(folder / "initrd"), "5", "sh", "-c", "echo no >&2; exit 255")
    assert (done.returncode, done.stderr) == (steps.LOAD_FAILED, b"no\nexit 255\n")
    done = sh(steps._LOAD, str(folder / "absent"), "5", "true")
    assert done.returncode == steps.APPEND_FAILED


# Launching


def test_the_order_is_answered_before_it_is_carried_out(folder: Path) -> None:
    folder.mkdir()
    script = f"until [ -e {folder}/go ]; do sleep 0.05; done; exit 3"
    assert sh(steps._LAUNCH, str(folder), "sh", "-c", script).returncode == 0
    (folder / "go").touch()
    assert await_end(folder) == "kexec -e ended with exit code 3\n"


def await_end(folder: Path) -> str:
    """Return what the order has said in the end."""
    end, log = time.monotonic() + 120, folder / "launch.log"
    while not log.exists() or "ended with" not in log.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    return log.read_text()


def test_a_disk_that_does_not_answer_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    early = tmp_path / "early"
    early.mkdir()
    script = f"#!/bin/sh\ntrap '' TERM\necho $$ >{tmp_path}/pid\nwhile :; do sleep 1; done\n"
    (early / "sync").write_text(script)
    (early / "sync").chmod(0o755)
    impatient = steps._LAUNCH.replace("-lt 100", "-lt 5")
    order = f"until [ -s {tmp_path}/pid ]; do sleep 0.05; done; cat {tmp_path}/pid"
    path = f"{early}:/usr/bin:/bin"
    assert sh(impatient, str(folder), "sh", "-c", order, PATH=path).returncode == 0
    pid, told = await_end(folder).splitlines()
    os.kill(int(pid), signal.SIGKILL)  # which also says that it was alive
    assert told == "kexec -e ended with exit code 0"


def test_the_end_of_a_terminal_does_not_end_the_order(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    early = tmp_path / "early"
    early.mkdir()
    (early / "setsid").write_text('#!/bin/sh\nkill -HUP $$\nexec /usr/bin/setsid "$@"\n')
    (early / "setsid").chmod(0o755)
    path = f"{early}:/usr/bin:/bin"
    assert sh(steps._LAUNCH, str(folder), "true", PATH=path).returncode == 0
    await_end(folder)


# Clearing


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Path]:
    """A kexec that tells what it was asked, first on the path."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "kexec").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    (place / "sudo").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    for program in place.iterdir():
        program.chmod(0o755)
    yield place


def test_what_is_ours_is_cleared_and_nothing_else(folder: Path, tmp_path: Path, programs: Path) -> None:
    path = f"{programs}:/usr/bin:/bin"
    sh(steps._HOLD, str(folder), "web-1")
    (tmp_path / "nxc-kexec.db-2").mkdir()
    other = sh(steps._GIVE_BACK, str(folder), "db-2", PATH=path)
    assert other.returncode == 0 and (folder / "holder").exists()
    assert not (tmp_path / "nxc-kexec.db-2").exists(), "what it had begun goes"
    assert not (tmp_path / "asked").exists(), "another's kernel stays loaded"
    ours = sh(steps._GIVE_BACK, str(folder), "web-1", PATH=path)
    assert ours.returncode == 0 and not folder.exists()
    assert (tmp_path / "asked").read_text() == "-u\n"
    assert ours.stdout.decode().strip() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert sh(steps._GIVE_BACK, str(folder), "web-1", PATH=path).returncode == 0, "twice"


def test_a_kernel_is_unloaded_though_the_folder_is_gone(folder: Path, tmp_path: Path, programs: Path) -> None:
    """As where the user's last session has ended: logind removes what is theirs in /dev/shm (RemoveIPC)."""
    path = f"{programs}:/usr/bin:/bin"
    now = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for boot in ("", "another"):
        assert sh(steps._GIVE_BACK, str(folder), "web-1", boot, PATH=path).returncode == 0
    assert not (tmp_path / "asked").exists(), "there is nothing of ours"
    sh(steps._HOLD, str(folder), "db-2")
    sh(steps._GIVE_BACK, str(folder), "web-1", now, PATH=path)
    assert not (tmp_path / "asked").exists() and folder.exists(), "it is another's by now"
    sh(steps._GIVE_BACK, str(folder), "db-2", "", PATH=path)
    (tmp_path / "asked").unlink()
    assert sh(steps._GIVE_BACK, str(folder), "web-1", now, PATH=path).returncode == 0
    assert (tmp_path / "asked").read_text() == "-u\n"


# The shared folder


def test_a_shared_image_is_read_once_on_its_way(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    shared = tmp_path / "home"
    shared.mkdir()
    for name in ("kernel", "initrd"):
        (shared / name).write_text(name)
    (folder / "initrd.part").write_text("begun")
    (folder / "initrd.part").chmod(0o644)
    done = sh(images._TAKE, str(shared), str(folder), "kernel", "initrd")
    assert done.returncode == 0
    assert (folder / "kernel").read_text() == "kernel" and (folder / "initrd").read_text() == "initrd"
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {0o600}, "who has it open now would read the secrets that are appended"
    first, second = done.stdout.decode().splitlines()
    image = images.Image(kernel=shared / "kernel", initrd=shared / "initrd")
    images.check("kernel", first, image.digests()["kernel"], "m1")
    with pytest.raises(Exception, match="initrd arrived damaged"):
        images.check("initrd", first, image.digests()["initrd"], "m1")
    images.check("initrd", second, image.digests()["initrd"], "m1")
    assert sh(images._TAKE, str(shared), str(folder), "kernel", "absent").returncode != 0


def test_troubles_are_told_in_the_language_that_is_read(folder: Path, tmp_path: Path) -> None:
    """The user's ssh may send what language they speak."""
    folder.mkdir()
    early = tmp_path / "early"
    early.mkdir()
    for name in ("dd", "tee"):
        (early / name).write_text('#!/bin/sh\necho "speaks $LC_ALL" >&2\n')
        (early / name).chmod(0o755)
    path, spoken = f"{early}:/usr/bin:/bin", "fr_FR.UTF-8"
    (folder / "initrd").touch()
    for done in (
        sh(images._TAKE, str(folder), str(folder), "initrd", PATH=path, LC_ALL=spoken),
        sh(feeding._TO, str(folder / "initrd"), "0", PATH=path, LC_ALL=spoken),
    ):
        assert done.stderr.startswith(b"speaks C\n")


# Tools


def test_tools_are_words() -> None:
    load = tool.kexec_load("/sbin/kexec", "/f/kernel", "/f/initrd", "a b", by_file=False)
    assert tool.words(load) == (
        *("/sbin/kexec", "--load", "--kexec-syscall", "--no-checks"),
        *("--initrd=/f/initrd", "--append=a b", "/f/kernel"),
    )
    whole = tool.as_root(tool.sh["-c", 'exec "$@"', "x", load], root=False)
    assert tool.words(whole) == ("sudo", "-n", "sh", "-c", 'exec "$@"', "x", *tool.words(load))
    by_file = tool.words(tool.kexec_load("kexec", "k", "i", "", by_file=True))
    assert "--kexec-file-syscall" in by_file and "--no-checks" not in by_file


def test_the_users_and_the_roles_arguments_come_last() -> None:
    boot = RoleBoot(cmdline="nxc.role=server quiet")
    text = tool.kernel_arguments(boot, KexecOptions(console="ttyS1,9600", cmdline="panic=0"))
    assert text == ("net.ifnames=0 panic=10 console=tty0 console=ttyS1,9600 nxc.role=server quiet panic=0")
    assert "ttyS" not in tool.kernel_arguments(boot, KexecOptions(console=""))


def test_a_command_line_that_no_kernel_reads_is_refused() -> None:
    with pytest.raises(ConfigError, match="a kernel reads 2047"):
        tool.kernel_arguments(RoleBoot(cmdline="x" * 2040), KexecOptions())


# Identity


def test_the_identity_is_an_archive_behind_the_image(tmp_path: Path) -> None:
    document = tmp_path / "node.json"
    document.write_text('{"node": "a"}')
    packed = identity.pack(document, after=1021)
    assert (1021 + len(packed)) % 4 == 0
    padding = -1021 % 512
    assert packed[:padding] == b"\0" * padding
    done = subprocess.run(
        ("cpio", "--quiet", "-idm"), input=packed[padding:], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stderr == b""
    found = tmp_path / "nxc" / "node.json"
    assert found.read_text() == '{"node": "a"}'
    assert found.stat().st_mode & 0o777 == 0o600
