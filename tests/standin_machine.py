"""A machine for stand-in systems to boot: Debian's kernel, systemd and a few programs, this machine's Nix.

Taken from the layers that any build of the Debian base makes, so that nothing more is asked of a network. The
folder is what tests/nix/nixpkgs/pkgs/machine.nix reads: usr, modules, vmlinuz, busybox, release.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from nxc_core.model import Artifact
from nxc_core.session import Session
from tests.standin import EXAMPLES

_PROGRAMS = """
    [ base64 basename bash cat chmod chown cp cut date dash dd df dirname echo env false find findmnt
    getent grep gunzip gzip head hostname id ip jq journalctl kmod ln ls lsmod mawk mkdir mkfifo mktemp
    modprobe mount mountpoint mv printf readlink realpath rm rmdir sed seq setsid sh sha256sum sleep
    sort ssh-keygen sshd stat stty su sync systemctl systemd-tmpfiles tail tar tee test timeout touch tr
    true truncate udevadm umount uname uniq wc xargs
"""
_DAEMONS = """
    systemd systemd-journald systemd-modules-load systemd-remount-fs systemd-shutdown systemd-sysctl
    systemd-udevd
"""
_UNITS = """
    -.slice basic.target emergency.service emergency.target final.target getty.target graphical.target
    halt.target local-fs-pre.target local-fs.target multi-user.target network-online.target
    network-pre.target network.target nss-lookup.target paths.target poweroff.target reboot.target
    remote-fs.target rescue.target shutdown.target slices.target sockets.target swap.target
    sysinit.target system.slice systemd-halt.service systemd-journald-dev-log.socket systemd-journald.service
    systemd-journald.socket systemd-modules-load.service systemd-poweroff.service systemd-reboot.service
    systemd-sysctl.service systemd-tmpfiles-setup.service systemd-udev-trigger.service
    systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udevd.service time-sync.target
    timers.target tmp.mount umount.target user.slice
"""
_WANTED = {
    "sockets.target": ("systemd-journald-dev-log.socket", "systemd-journald.socket")
    + ("systemd-udevd-control.socket", "systemd-udevd-kernel.socket"),
    "sysinit.target": ("systemd-journald.service", "systemd-modules-load.service", "systemd-sysctl.service")
    + ("systemd-tmpfiles-setup.service", "systemd-udev-trigger.service", "systemd-udevd.service"),
}
_MODULES = """
    9p 9pnet 9pnet_virtio ext4 fuse loop netfs overlay qemu_fw_cfg squashfs virtio_blk virtio_net
    virtio_pci virtiofs crc32c_generic crc32c_intel jbd2 mbcache crc16 net_failover failover fscache
    virtio_console
"""
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_NIX = "usr/lib/host-nix"


def debian_machine(cache: Path, folders: pytest.TempPathFactory) -> Path:
    """Take a machine out of the layers that the other live tests boot, too."""
    composition = folders.mktemp("debian") / "composition.nix"
    composition.write_text((EXAMPLES / "basic/composition.nix").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        built = Session.open(composition.parent).build(composition, flavour="vm-ramdisk", base="debian")
    return make_machine(built.artifact, folders.mktemp("machine") / "parts")


def make_machine(artifact: Artifact, folder: Path) -> Path:
    """Put the parts of a Debian build (kind ``ramdisk``) together in a new folder."""
    boot = next(iter(artifact.roles.values()))
    base, kernel = (
        artifact.layers[next(name for name in boot.layers if name.startswith(word))]
        for word in ("base", "kernel")
    )
    assert boot.kernel is not None
    folder.mkdir()
    shutil.copy(boot.kernel, folder / "vmlinuz")
    shutil.copy("/usr/bin/busybox", folder / "busybox")
    with tarfile.open(base.tar, "r:") as tar:
        tar.extractall(folder, members=_base_members(tar))
    with tarfile.open(kernel.tar, "r:") as tar:
        tar.extractall(folder, members=_kernel_members(tar))
    (folder / "usr/lib/modules").rename(folder / "modules")
    (release,) = (path.name for path in (folder / "modules").iterdir())
    (folder / "release").write_text(f"{release}\n")
    (folder / "usr/bin/awk").symlink_to("mawk")
    (folder / "usr/bin/busybox").hardlink_to(folder / "busybox")
    _drop_unused_libraries(folder)
    _enable_units(folder / "usr/lib/systemd/system")
    _add_nix(folder)
    return folder


def _base_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    kept = {f"usr/{place}/{name}" for place in ("bin", "sbin") for name in _PROGRAMS.split()}
    kept |= {f"usr/lib/systemd/{name}" for name in _DAEMONS.split()}
    kept |= {f"usr/lib/systemd/system/{name}" for name in _UNITS.split()}
    for member in tar:
        path = PurePosixPath(member.name)
        name, parent = str(path), str(path.parent)
        is_library = parent in (_LIBRARIES, f"{_LIBRARIES}/systemd") and ".so" in path.name
        if name in kept or is_library or parent in ("usr/lib64", "usr/lib/udev/rules.d"):
            yield member


def _kernel_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    members = {member.name: member for member in tar if "/lib/modules/" in member.name and member.isreg()}
    (table,) = (name for name in members if name.endswith("/modules.dep"))
    top = table.removesuffix("modules.dep")
    stream = tar.extractfile(members[table])
    assert stream is not None
    depends = {}
    for line in stream.read().decode().splitlines():
        module, _, rest = line.partition(":")
        depends[top + module] = [top + name for name in rest.split()]
    wanted = {name for name in depends if _module_name(name) in _MODULES.split()}
    kept = wanted.union(*(depends[name] for name in wanted))
    for name, member in members.items():
        if name in kept or name.startswith(f"{top}modules."):
            yield member


def _module_name(path: str) -> str:
    return PurePosixPath(path).name.partition(".ko")[0].replace("-", "_")


def _drop_unused_libraries(folder: Path) -> None:
    """Ask Debian's own loader what the programs need, and remove all other libraries."""
    libraries = folder / _LIBRARIES
    programs = [path for path in folder.glob("usr/*bin/*") if not path.is_symlink()]
    programs += [folder / "usr/lib/systemd" / name for name in _DAEMONS.split()]
    search = f"{libraries}:{libraries}/systemd"
    needed = {libraries / "libgcc_s.so.1"}
    for program in programs:
        loader = (str(libraries / "ld-linux-x86-64.so.2"), "--library-path", search)
        done = subprocess.run((*loader, "--list", str(program)), capture_output=True, text=True, check=False)
        needed |= {
            Path(line.split("=>")[1].split()[0])
            for line in done.stdout.splitlines()
            if "=>" in line and "/" in line
        }
    needed |= {libraries / "ld-linux-x86-64.so.2"}
    needed |= {path.resolve() for path in needed}
    for path in [*libraries.glob("*.so*"), *libraries.glob("systemd/*.so*")]:
        if path not in needed:
            path.unlink()


def _enable_units(units: Path) -> None:
    for target, names in _WANTED.items():
        wants = units / f"{target}.wants"
        wants.mkdir()
        for name in names:
            assert (units / name).exists(), name
            (wants / name).symlink_to(f"../{name}")
    (units / "default.target").symlink_to("multi-user.target")


def _add_nix(folder: Path) -> None:
    """Bring this machine's Nix with all its libraries and its own loader."""
    target = folder / _NIX
    target.mkdir(parents=True)
    done = subprocess.run(("ldd", "/usr/bin/nix"), capture_output=True, text=True, check=True)
    libraries = [*_library_paths(done.stdout.splitlines()), Path("/lib/x86_64-linux-gnu/libnss_dns.so.2")]
    for library in libraries:
        shutil.copy(library, target / library.name)
    shutil.copy(os.path.realpath("/usr/bin/nix"), target / "nix")
    for path in target.glob("libicudata*"):
        _blank(path)
    for name in ("nix", "nix-store", "nix-env", "nix-instantiate", "nix-build"):
        wrapper = folder / "usr/bin" / name
        wrapper.write_text(
            "#!/bin/sh\n"
            f"exec /{_NIX}/ld-linux-x86-64.so.2 --argv0 {name} --library-path /{_NIX} "
            f'/{_NIX}/nix "$@"\n'
        )
        wrapper.chmod(0o755)


def _library_paths(lines: Iterable[str]) -> Iterator[Path]:
    for line in lines:
        word = line.split("=>")[-1].split()[0]
        if word.startswith("/"):
            yield Path(word)


def _blank(path: Path) -> None:
    """Zero ICU's 30 MiB of tables: the library must be there, nobody looks into it."""
    content = bytearray(path.read_bytes())
    start, size, count = (*struct.unpack_from("<Q", content, 40), *struct.unpack_from("<HH", content, 58))
    sections = [struct.unpack_from("<IIQQQQ", content, start + size * number) for number in range(count)]
    _, _, _, _, offset, length = max(
        (section for section in sections if section[1] == 1), key=lambda one: one[5]
    )
    content[offset : offset + length] = bytes(length)
    path.write_bytes(content)
