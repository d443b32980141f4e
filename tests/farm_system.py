"""What is on a machine of a farm: its mounts, its accounts, and the programs that are not this machine's own.

Inside, the machine's folder is /mnt. Sources of mounts are called farm, since mount(8) takes one of the same
name for mounted. A machine may neither reboot what it runs on nor touch its network.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.farm import Behaviour

FORBIDDEN = "-sys_boot,-net_admin,-sys_module,-sys_time,-sys_rawio"

FIRST = """#!/bin/sh
# The first process of a machine: FOLDER SYSTEM NAME.
mount --bind "$1" /mnt && mount -a -T "/mnt/fstab.$2" || { echo "no mounts" >&2; exit 1; }
mount -o remount,bind,ro /
hostname "$3"
trap 'kill -STOP -1' USR1
/usr/sbin/sshd -D -f "/mnt/sshd_config.$2" -E /mnt/sshd.log &
sshd=$!
while kill -0 $sshd 2>/dev/null; do wait $sshd; done
while :; do sleep 3600 & wait; done
"""

KEXEC = """#!/bin/sh
# A kexec that keeps what it loads as a kernel would, and hands the machine over on -e.
load= run= unload= initrd= cmdline= kernel=
fail() { echo "$1" >&2; exit 255; }
[ "$(id -u)" = 0 ] || fail "You must be root to run kexec"
while [ $# -gt 0 ]; do
  case $1 in
    -l | --load) load=1 ;;
    -e | --exec) run=1 ;;
    -u | --unload) unload=1 ;;
    -a | -s | -c | -i | --kexec-syscall-auto | --kexec-file-syscall | --kexec-syscall | --no-checks) ;;
    --initrd=* | --ramdisk=*) initrd=${1#*=} ;;
    --append=* | --command-line=*) cmdline=${1#*=} ;;
    -v | --version) echo "kexec-tools 2.0.25"; exit 0 ;;
    -*) fail "kexec: unrecognized option '$1'" ;;
    *) kernel=$1 ;;
  esac
  shift
done
if [ -n "$unload" ]; then rm -f /mnt/loaded/*; exit 0; fi
if [ -n "$load" ]; then
  [ -r "$kernel" ] || fail "Cannot open \\`$kernel': No such file or directory"
  [ -r "$initrd" ] || fail "Cannot open \\`$initrd': No such file or directory"
  [ "$(dd if="$kernel" bs=1 skip=514 count=4 2>/dev/null | tr -d '\\0')" = HdrS ] ||
    fail "Cannot determine the file type of $kernel"
  [ ${#cmdline} -lt 2048 ] || fail "Command line overflow"
  read -r forbidden </proc/sys/kernel/kexec_load_disabled 2>/dev/null || forbidden=0
  read -r locked </sys/kernel/security/lockdown 2>/dev/null || locked=
  case $forbidden$locked in
    1* | *'[integrity]'* | *'[confidentiality]'*) fail "kexec_load failed: Operation not permitted
entry       = 0x1f7ff6750 flags = 0x3e0000" ;;
  esac
  cp "$kernel" /mnt/loaded/kernel && cp "$initrd" /mnt/loaded/initrd ||
    fail "kexec_load failed: Cannot allocate memory"
  printf %s "$cmdline" >/mnt/loaded/cmdline
fi
if [ -n "$run" ]; then
  [ -e /mnt/loaded/cmdline ] || fail "kexec: Nothing has been loaded!"
  echo kexec >/mnt/orders
  exec sleep infinity
fi
"""

ORDER = """#!/bin/sh
echo {order} >/mnt/orders
exec sleep infinity
"""

SYSTEMCTL = """#!/bin/sh
# What of systemctl a machine without systemd can do.
for word; do
  case $word in
    reboot) echo reboot >/mnt/orders; exit 0 ;;
    poweroff) echo off >/mnt/orders; exit 0 ;;
    kexec) exec kexec -e ;;
    is-system-running) echo running; exit 0 ;;
  esac
done
echo "systemctl: not on a farm: $*" >&2
exit 1
"""

UNAME = """#!/bin/sh
case " $* " in *' -m '*) echo {arch} ;; *) exec /mnt/real/bin/uname "$@" ;; esac
"""

NODE = """#!/usr/bin/python3
# Applies a pushed node document as nxc-node does, as far as a machine without a network of its own can.
import json, pathlib, sys
text = sys.stdin.read() if sys.argv[1:] == ["-"] else pathlib.Path("/run/nxc/node.json").read_text()
document = json.loads(text)
pathlib.Path("/run/nxc/node.json").write_text(text)
hosts = [f"{address} {name}" for name, all in document["hosts"].items() for address in all]
pathlib.Path("/etc/hosts").write_text("127.0.0.1 localhost\\n" + "\\n".join(hosts) + "\\n")
pathlib.Path("/run/nxc/ready").write_text(document["instance"] + "\\n")
"""

SSHD = """ListenAddress {address}:{port}
HostKey {host_key}
AuthorizedKeysFile {authorized_keys}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 500
Subsystem sftp internal-sftp
LogLevel VERBOSE
"""

COMMON = """farm /proc proc rw
{kernel} /proc/sys/kernel none bind
/mnt/boot_id /proc/sys/kernel/random/boot_id none bind
/mnt/etc/hostname /proc/sys/kernel/hostname none bind
/mnt/meminfo /proc/meminfo none bind
/usr/bin /mnt/real/bin none bind
/usr/sbin /mnt/real/sbin none bind
farm /usr/bin overlay lowerdir=/mnt/{system}/bin:/usr/bin
farm /usr/sbin overlay lowerdir=/mnt/{system}/sbin:/usr/sbin
farm /run tmpfs mode=755,size={size}
farm /run/sshd tmpfs mode=755,size=4k,X-mount.mkdir
farm /run/lock tmpfs mode=1777,size=4k,X-mount.mkdir
farm /dev/shm tmpfs mode=1777,size={size}
farm /root tmpfs mode=700,size=1m
farm /home tmpfs mode=755,size=1m
farm /home/alice tmpfs mode=700,uid=1000,gid=1000,size=1m,X-mount.mkdir
farm /var/tmp tmpfs mode=1777,size=1m
/mnt/etc/passwd /etc/passwd none bind
/mnt/etc/shadow /etc/shadow none bind
/mnt/etc/group /etc/group none bind
/mnt/etc/sudoers /etc/sudoers none bind
/mnt/etc/hosts /etc/hosts none bind
/mnt/etc/hostname /etc/hostname none bind
"""
FORMER = """/mnt/kexec_load_disabled /proc/sys/kernel/kexec_load_disabled none bind
/mnt/security /sys/kernel/security none bind
"""
NODE_MOUNTS = """/mnt/node/state /run/nxc none bind,X-mount.mkdir
farm /usr/lib overlay lowerdir=/mnt/node/lib:/usr/lib
"""
SYSRQ = """/mnt/sysrq /proc/sysrq-trigger none bind
"""
LAST = """farm /tmp tmpfs mode=1777,size={size}
"""
SHARED = ("{shared} /mnt/shared none bind\n", "/mnt/shared {shared} none bind,X-mount.mkdir\n")
"""Before what hides its path, and after it."""

PASSWD = """root:x:0:0:root:/root:/bin/bash
sshd:x:106:65534::/run/sshd:/usr/sbin/nologin
alice:x:1000:1000::/home/alice:/bin/bash
nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin
"""
SUDOERS = """Defaults env_reset
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL=(ALL:ALL) ALL
"""


SYSCTLS = (
    "osrelease",
    "ostype",
    "version",
    "cap_last_cap",
    "ngroups_max",
    "pid_max",
    "threads-max",
    "domainname",
)


def copy_kernel(folder: Path) -> None:
    """Copy what programs read of /proc/sys/kernel: the kernel here may have no file to put ours over."""
    (folder / "random").mkdir(parents=True)
    for name in SYSCTLS:
        (folder / name).write_text((Path("/proc/sys/kernel") / name).read_text())
    for name in ("random/boot_id", "hostname", "kexec_load_disabled"):
        (folder / name).touch()


def install(folder: Path, behaviour: Behaviour, public_key: str) -> None:
    """Make a machine's folder: what does not change from boot to boot."""
    for name in (
        *("real/bin", "real/sbin", "loaded", "etc", "security", "shared"),
        *("former/bin", "former/sbin", "node/bin", "node/sbin", "node/lib/nxc", "node/state"),
    ):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    _script(folder / "first", FIRST)
    _script(folder / "node/lib/nxc/nxc-node", NODE)
    for system in ("former", "node"):
        for place, name, order in (
            ("sbin", "reboot", "reboot"),
            ("sbin", "poweroff", "off"),
            ("sbin", "halt", "off"),
        ):
            _script(folder / system / place / name, ORDER.format(order=order))
        _script(folder / system / "bin/systemctl", SYSTEMCTL)
        _script(folder / system / "bin/sync", "#!/bin/sh\n")  # which would write out what this machine has
    _install_former(folder, behaviour)
    _install_files(folder, behaviour, public_key)


def _install_former(folder: Path, behaviour: Behaviour) -> None:
    if behaviour.kexec:
        _script(folder / "former/sbin/kexec", KEXEC)
    else:
        os.mknod(folder / "former/sbin/kexec", stat.S_IFCHR, 0)  # how an overlay hides a file
    if behaviour.arch != "x86_64":
        _script(folder / "former/bin/uname", UNAME.format(arch=behaviour.arch))
    for name, lines in behaviour.shims.items():
        place = "sbin" if (folder / "former/sbin" / name).exists() else "bin"
        shim = folder / "former" / place / name
        real = f"/mnt/real/{place}/{name}"
        if shim.exists():
            shim.rename(folder / f"real-{name}")
            real = f"/mnt/real-{name}"
        _script(shim, f'#!/bin/sh\n{lines}\nexec {real} "$@"\n')


def _install_files(folder: Path, behaviour: Behaviour, public_key: str) -> None:
    sudoers = SUDOERS + ("alice ALL=(ALL:ALL) NOPASSWD: ALL\n" if behaviour.sudo else "")
    files = {
        "authorized_keys": public_key,
        "sysrq": "",
        "meminfo": f"MemTotal: {behaviour.memory << 10} kB\nMemFree: {behaviour.memory << 9} kB\n"
        f"MemAvailable: {behaviour.memory << 9} kB\n",
        "kexec_load_disabled": f"{int(behaviour.kexec_disabled)}\n",
        "security/lockdown": "none [integrity] confidentiality\n"
        if behaviour.lockdown
        else "[none] integrity confidentiality\n",
        "etc/passwd": PASSWD,
        "etc/shadow": "root:*:19000:0:99999:7:::\nalice:*:19000:0:99999:7:::\n",
        "etc/group": "root:x:0:\nsudo:x:27:\nalice:x:1000:\nnogroup:x:65534:\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "etc/sudoers").write_text(sudoers)
    (folder / "etc/sudoers").chmod(0o440)


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def forget_loaded(folder: Path) -> None:
    """Clear what a kernel kept in memory."""
    for path in (folder / "loaded").iterdir():
        path.unlink()


def prepare(folder: Path, behaviour: Behaviour, address: str, system: str, boot_id: str) -> None:
    """Write what a boot needs."""
    (folder / "boot_id").write_text(boot_id + "\n")
    if system == "former":
        (folder / "etc/hostname").write_text(folder.name + "\n")
        (folder / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {folder.name}\n")
    size = behaviour.ram_folder
    mounts = COMMON + (FORMER if system == "former" else NODE_MOUNTS)
    mounts += (SYSRQ if Path("/proc/sysrq-trigger").exists() else "") + LAST
    if behaviour.shared is not None:
        mounts = mounts.join(SHARED)
    words = {"system": system, "size": size, "kernel": folder.parent / "sysctl", "shared": behaviour.shared}
    (folder / f"fstab.{system}").write_text(mounts.format_map(words))
    place = "/mnt" if system == "former" else "/run/nxc"
    port = 2022 if system == "former" else 2200
    config = SSHD.format(
        address=address, port=port, host_key=f"{place}/host_key", authorized_keys=f"{place}/authorized_keys"
    )
    (folder / f"sshd_config.{system}").write_text(config)


def boot_words(folder: Path, system: str, name: str) -> tuple[str, ...]:
    """Return the command of a machine's life: when it ends, everything on the machine has ended."""
    return (
        *("setpriv", "--pdeathsig", "KILL", f"--bounding-set={FORBIDDEN}"),
        *("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"),
        *("sh", str(folder / "first"), str(folder), system, name),
    )


def write_identity(folder: Path, document: Mapping[str, Any]) -> None:
    """Do the work of nxc-node before the node's first process: who it is, by its document."""
    place = folder / "node/state"
    shutil.rmtree(place)
    place.mkdir(mode=0o700)
    (place / "host_key").write_text(document["host_key"])
    (place / "host_key").chmod(0o600)
    (place / "authorized_keys").write_text("\n".join(document["authorized_keys"]) + "\n")
    (place / "node.json").write_text(json.dumps(document))
    for name in ("instance", "ready"):
        (place / name).write_text(document["instance"] + "\n")
    hosts = [f"{address} {name}" for name, every in document["hosts"].items() for address in every]
    (folder / "etc/hosts").write_text("127.0.0.1 localhost\n" + "\n".join(hosts) + "\n")
    (folder / "etc/hostname").write_text(document["node"] + "\n")
