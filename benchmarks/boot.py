"""What starting costs, on examples/webserver as vm-ramdisk.

1. `nxc start` until every node is ready, against bare QEMU runs: the same command lines, images, node.json
   and readiness check, all started at once.
2. QEMU's CPU seconds until ready of one machine: as shipped, lean, and the same units from an ext4 disk with
   Debian's stock initramfs (needs root, and a network for initramfs-tools).
3. The size of kernel, initrd and layers.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve, frozen
from pairs import Cost, compare

from nxc_core.connect import SshConnection, answers
from nxc_core.errors import CommandError
from nxc_core.model import ROOTFS_TAR, BuildRequest, SshEndpoint
from nxc_core.running import Running
from nxc_core.session import Session
from nxc_core.spawned import find_all_spawned

EXAMPLES = Path(__file__).parents[1] / "examples"
REPORT = ("cat", "/run/nxc/ready")


@frozen
class Bare:
    """One QEMU command line taken from a real start, with how its node is reached."""

    argv: tuple[str, ...]
    endpoint: SshEndpoint
    instance: str


def ready(bare: Bare) -> bool:
    """The check that nxc makes, too."""
    if not answers(bare.endpoint):
        return False
    try:
        return SshConnection(bare.endpoint).run(REPORT, check=False, timeout=30).text.strip() == bare.instance
    except CommandError:
        return False


def cpu_of(pid: int) -> float:
    """User and system seconds of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def machines(running: Running) -> dict[str, int]:
    """Map node names to the pids of their QEMU."""
    return {
        token.rpartition(f"{running.id}-")[2]: pid
        for pid, token in find_all_spawned(f"{running.id}/").items()
    }


def capture(running: Running, keep: Path) -> list[Bare]:
    """Copy what the machines of a deployment were started from, and rewrite their command lines to it."""
    folder = running.session.workspace.deployment_dir(running.id)
    shutil.copytree(folder, keep)
    found = []
    for name, pid in machines(running).items():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        argv = tuple(word.replace(str(folder), str(keep)) for word in words)
        endpoint = running.node(name).endpoint
        assert isinstance(endpoint, SshEndpoint)
        endpoint = evolve(endpoint, identity=keep / "key", known_hosts=keep / "known_hosts", control=None)
        found.append(Bare(argv, endpoint, running.deployment.instances[name]))
    return found


def run_bare(bares: Sequence[Bare], sockets: Path) -> tuple[Cost, float]:
    """Start all, wait for all, end all; the second value is the CPU of all QEMU at ready."""
    sockets.mkdir(mode=0o700, exist_ok=True)
    start = time.monotonic()
    children = [
        subprocess.Popen(
            bare.argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for bare in bares
    ]
    waiting = list(bares)
    while waiting and time.monotonic() - start < 600:
        waiting = [bare for bare in waiting if not ready(bare)]
        time.sleep(0.2)
    wall = time.monotonic() - start
    cpu = sum(cpu_of(child.pid) for child in children)
    for child in children:
        child.kill()
        child.wait()
    if waiting:
        raise SystemExit("a bare machine did not come up")
    return Cost(wall, cpu), cpu


def compare_start(session: Session, project: Path, folder: Path, pairs: int) -> None:
    captured: list[Bare] = []
    sockets: list[Path] = []

    def ours() -> Cost:
        start = time.monotonic()
        running = session.start(project, flavour="vm-ramdisk", fresh=True)
        wall = time.monotonic() - start
        cpu = sum(cpu_of(pid) for pid in machines(running).values())
        if not captured:
            captured.extend(capture(running, folder / "bare"))
            sockets.append(running.op.runtime)
        running.down()
        return Cost(wall, cpu)

    ours()
    compare(
        "nxc start to all ready / bare QEMU runs of the same (CPU is QEMU's)",
        ours, lambda: run_bare(captured, sockets[0])[0], n=pairs, warm=False, limit="wall ratio at most 1.15",
    )  # fmt: skip


def run(*argv: str) -> None:
    """Run a command that must succeed, without its output."""
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stock_disk(session: Session, project: Path, folder: Path) -> tuple[Path, Path, Path]:
    """Return kernel, Debian's own initramfs and an ext4 disk with the same system as role ``client``."""
    base = session.plugins.base("debian")
    op = session.operation(folder, "stock")
    flavour = session.plugins.flavour("vm-ramdisk")
    guest = evolve(flavour.guest, root="ext4")
    composition = base.read(project / "composition.nix", op)
    made = base.build(BuildRequest(composition=composition, kind=ROOTFS_TAR, guest=guest), op)
    ramdisk = session.build(project, flavour="vm-ramdisk").artifact
    root = folder / "root"
    root.mkdir()
    run("tar", "-C", str(root), "--numeric-owner", "-xf", str(made.files["client.tar"]))
    release = next((root / "usr/lib/modules").iterdir()).name
    archives = folder / "debs"
    archives.mkdir()
    subprocess.run(
        ["apt-get", "download", "initramfs-tools", "initramfs-tools-core", "klibc-utils", "libklibc", "cpio",
         "logsave", "busybox"],
        cwd=archives, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    for deb in archives.glob("*.deb"):
        packed = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout
        unpack = ["tar", "-C", str(root), "--keep-directory-symlink", "-xf", "-"]
        subprocess.run(unpack, check=True, input=packed)
    (root / "etc/initramfs-tools").mkdir(parents=True, exist_ok=True)
    (root / "boot").mkdir(exist_ok=True)
    shutil.copy(ramdisk.files["kernel"], root / f"boot/vmlinuz-{release}")
    (root / f"boot/config-{release}").write_text("CONFIG_RD_ZSTD=y\nCONFIG_RD_GZIP=y\n")
    for mount in ("proc", "dev"):
        run("mount", "--bind", f"/{mount}", str(root / mount))
    try:
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        run("chroot", str(root), "/usr/bin/env", path, "mkinitramfs", "-c", "gzip", "-o", "/initrd", release)
    finally:
        for mount in ("proc", "dev"):
            run("umount", str(root / mount))
    shutil.move(root / "initrd", folder / "initrd")
    disk = folder / "disk.ext4"
    run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), "1200M")
    return ramdisk.files["kernel"], folder / "initrd", disk


def compare_boot_cpu(session: Session, project: Path, folder: Path, rounds: int) -> None:
    """One machine at a time, in turn."""
    stock = stock_disk(session, project, folder)
    sides: dict[str, list[float]] = {
        "stock initramfs": [],
        "as shipped": [],
        "lean": [],
        "vm": [],
        "vm lean": [],
    }
    bares: dict[str, tuple[Bare, Path]] = {}
    for name in list(sides)[1:]:
        flavour = "vm" if name.startswith("vm") else "vm-ramdisk"
        options = {flavour: {"lean": "lean" in name}}
        running = session.start(
            project, flavour=flavour, options=options, roles={"server": 0, "client": 1}, fresh=True
        )
        (bare,) = capture(running, folder / name.replace(" ", "-"))
        bares[name] = (bare, running.op.runtime)
        running.down()
    bare, sockets = bares["as shipped"]
    bares["stock initramfs"] = (evolve(bare, argv=from_disk(bare.argv, *stock)), sockets)
    load = os.getloadavg()[0]
    for _ in range(rounds):
        for name, found in sides.items():
            found.append(run_bare([bares[name][0]], bares[name][1])[1])
    base = statistics.median(sides["stock initramfs"])
    sys.stdout.write(
        "QEMU CPU seconds of one machine until ready"
        f"  (n = {rounds}, load {load:.1f} to {os.getloadavg()[0]:.1f})\n"
    )
    for name, found in sides.items():
        middle = statistics.median(found)
        sys.stdout.write(
            f"  {name:16} {middle:7.2f} s ({min(found):.2f} to {max(found):.2f})"
            f"   ratio {middle / base:.2f}\n"
        )
    sys.stdout.write("  aim    0.85 as shipped, 0.65 lean\n")


def from_disk(argv: tuple[str, ...], kernel: Path, initrd: Path, disk: Path) -> tuple[str, ...]:
    """Replace the ramdisk of a command line by a disk and its initramfs."""
    words = list(argv)
    words[words.index("-initrd") + 1] = str(initrd)
    words[words.index("-kernel") + 1] = str(kernel)
    words[words.index("-append") + 1] += " root=/dev/vda rw"
    drive = f"file={disk},format=raw,if=none,id=root,snapshot=on"
    return (*words, "-drive", drive, "-device", "virtio-blk-pci,drive=root")


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = folder / "webserver"
        shutil.copytree(EXAMPLES / "webserver", project)
        session = Session.open(project)
        artifact = session.build(project, flavour="vm-ramdisk").artifact
        size = sum(path.stat().st_size for path in artifact.files.values()) / (1 << 20)
        sys.stdout.write(f"kernel, initrd and layers of examples/webserver: {size:.1f} MiB (aim 130)\n")
        compare_start(session, project, folder, pairs)
        if os.geteuid() == 0:
            compare_boot_cpu(session, project, folder, pairs)


if __name__ == "__main__":
    main()
