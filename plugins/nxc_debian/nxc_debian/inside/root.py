"""A system's root folder under construction: its mounts, commands in it, and Python code in it."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nxc_core.errors import BuildError, CommandError
from nxc_core.process import Completed, run

TIMEOUT = 3600.0
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
RUN = "run/nxc-build"
"""Where a root under construction finds what is installed; /run is in no layer."""


def environment(epoch: int) -> dict[str, str]:
    """Return all that commands in a root see of the outside."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "USER": "root",
        "TERM": "dumb",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN": "true",
        "SOURCE_DATE_EPOCH": str(epoch),
        "PYTHONHASHSEED": "0",
        "SYSTEMD_OFFLINE": "1",
        "INITRD": "No",
    }


def chroot(root: Path, argv: Sequence[str], epoch: int, *, env: Mapping[str, str] | None = None) -> Completed:
    """Run a command in the root."""
    return run(
        ("chroot", str(root), *argv),
        env={**environment(epoch), **(env or {})},
        timeout=TIMEOUT,
        cwd=Path("/"),
    )


def mount(*words: str) -> None:
    """Mount something in this namespace."""
    run(("mount", *words), timeout=60)


def _overlay_options(folder: Path, lower: Path) -> str:
    options = f"lowerdir={lower},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    in_user_namespace = Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
    return options + (",userxattr" if in_user_namespace else ",redirect_dir=off,metacopy=off,index=off")


@contextlib.contextmanager
def overlay(folder: Path, lower: Path) -> Iterator[Path]:
    """Stack an empty upper folder on a base and yield the root, ready for commands."""
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    root = folder / "root"
    try:
        mount("-t", "overlay", "overlay", "-o", _overlay_options(folder, lower), str(root))
    except CommandError as error:
        raise BuildError(
            f"file systems cannot be stacked (overlay) in {folder}: {error.stderr.strip()}",
            hint="try -o debian.scratch=memory; as an ordinary user a kernel of 5.11 or later is needed",
        ) from error
    try:
        prepare(root)
        yield root
    finally:
        run(("umount", "-R", str(root)), timeout=60, check=False)


def prepare(root: Path) -> None:
    """Mount what commands expect of a running system, so that nothing written there gets into a layer."""
    for name, mode in (("run", "755"), ("tmp", "1777"), ("dev", "755")):
        mount("-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", str(root / name))
    for device in DEVICES:
        (root / "dev" / device).touch()
        mount("--bind", f"/dev/{device}", str(root / "dev" / device))
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (root / "dev" / name).symlink_to(f"/proc/self/{target}")
    (root / "run" / "lock").mkdir(mode=0o1777)
    mount("-t", "proc", "proc", str(root / "proc"))


def within(root: Path, act: Callable[[], None]) -> None:
    """Run Python code with the root as its root, so that no link in it leads outside.

    In a child process, which must not import anything any more. Raises BuildError with what it said.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        code = 0
        try:
            os.chroot(root)
            os.chdir("/")
            os.umask(0o022)
            act()
        except BuildError as error:
            code = 1
            os.write(write_end, f"{error.message}\n\n{error.hint}".encode()[:60000])
        except CommandError as error:
            code = 1
            os.write(write_end, error.message.encode()[-60000:])
        except BaseException:  # noqa: BLE001 - told to the parent, which raises
            code = 1
            os.write(write_end, traceback.format_exc().encode()[-60000:])
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if status and not said:
        raise BuildError(
            f"the process that was at work in {root} was ended (status {status})",
            hint="memory may have run out: -o debian.scratch=disk",
        )
    if said:
        message, _, hint = said.partition("\n\n")
        raise BuildError(message if hint else said.strip(), hint=hint)
