"""The steps by which a machine becomes a node, each with a deadline and a name, as flows of commands."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import TypeVar

from attrs import frozen

from nxc_core import CommandError, Operation
from nxc_core.commands import Command, Completed
from nxc_core.flows import Flow
from nxc_kexec import facts as looking, tool
from nxc_kexec.claims import Station
from nxc_kexec.facts import HELD, Facts
from nxc_kexec.former import Way, is_passing, refusal
from nxc_kexec.machines import Contact
from nxc_kexec.options import KexecOptions
from nxc_kexec.trouble import Trouble

T = TypeVar("T")
Steps = Generator[Command, "Completed | CommandError", T]

PAUSE = Command(argv=("sleep", "1"), timeout=10)
ARCH = "x86_64"
LOST = 255
"""What ssh itself ends with."""
APPEND_FAILED, LOAD_FAILED = 97, 98
"""Exit codes of ours; the failed kexec's own, which may be that of ssh, is told in words."""
_HOLD = (
    'f=$1 me=$2; umask 022; t=$f.$me; rm -rf "$t"; mkdir -p "${f%/*}" && mkdir "$t" && '
    'echo "$me" >"$t/holder" || exit 1; '
    'mv -T "$t" "$f" 2>/dev/null && exit 0; rm -rf "$t"; '
    'cat "$f/holder"; [ "$(cat "$f/holder" 2>/dev/null)" = "$me" ] && [ -O "$f" ] && [ ! -L "$f" ]'
)
"""Renaming is what decides between two that come at once: a folder with something in it is not replaced."""
_LOAD = (
    'f=$1 size=$2; shift 2; umask 077; chmod 600 "$f" && truncate -s "$size" "$f" && cat >>"$f" || exit '
    f'{APPEND_FAILED}; "$@" && exit; echo "exit $?" >&2; exit {LOAD_FAILED}'
)
_START = (
    "sleep 0.5; sync & n=0; while [ $n -lt 100 ] && kill -0 $! 2>/dev/null; do sleep 0.2; n=$((n+1)); done; "
    '"$@"; echo "kexec -e ended with exit code $?"'
)
"""A disk that does not answer keeps sync(1) from ending, whatever signal it is sent: it is left behind."""
_LAUNCH = (
    "trap '' HUP; "  # before there is a process that the end of sudo's terminal could end
    f'cd / && f=$1 && shift && setsid sh -c \'{_START}\' sh "$@" >"$f/launch.log" 2>&1 </dev/null &'
)
_GIVE_BACK = (
    "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; read -r now </proc/sys/kernel/random/boot_id; "
    'echo "$now"; f=$1 me=$2 boot=$3; rm -rf "$f.$me"; if [ -e "$f" ]; then '
    '[ "$(cat "$f/holder" 2>/dev/null)" = "$me" ] && [ -O "$f" ] || exit 0; '
    'elif [ "$now" != "$boot" ]; then exit 0; fi; '
    'r=; [ "$(id -u)" = 0 ] || r="sudo -n"; $r kexec -u >/dev/null 2>&1; rm -rf "$f"'
)
"""``boot`` is that in which we may have loaded a kernel: logout may empty a user's /dev/shm (RemoveIPC)."""


@frozen(kw_only=True)
class Media:
    """What a role's nodes are started from, and under which names that lies on a machine."""

    kernel: str
    initrd: str
    sizes: Mapping[str, int]
    arguments: str


def contact(way: Way, timeout: float, op: Operation, *, booting: bool = False) -> Steps[None]:
    """Open the connection that all further steps share; tries again while a machine may be booting."""
    end = time.monotonic() + timeout
    told = False
    while True:
        way.control.unlink(missing_ok=True)
        ended = yield way.open(max(2.0, end - time.monotonic()))
        if isinstance(ended, Completed):
            return
        trouble = refusal(ended, "contact", way.contact, timeout)
        if time.monotonic() + 1 >= end or not (booting or is_passing(trouble)):
            raise trouble
        if not told and not booting:
            op.step(f"{way.contact.name}: {trouble.cause}; trying for {timeout:g} s")
        told = True
        yield PAUSE


def look(way: Way, options: KexecOptions, files: Mapping[str, int]) -> Steps[Facts]:
    """Gather facts of the former system."""
    asked = looking.question(options.folder, way.contact.sudo, files)
    ended = yield way.run(asked, stdin=looking.SCRIPT, timeout=options.facts)
    if isinstance(ended, CommandError):
        raise _failed(ended, looking.STEP, way.contact, options.facts, "looking at it")
    return looking.read_facts(ended.text, way.contact.name)


def examine(
    station: Station, options: KexecOptions, files: Mapping[str, int], op: Operation, *, booting: bool = False
) -> Steps[Facts]:
    """Contact a machine, and look whether it will do; raises Trouble."""
    yield from contact(station.way, options.reboot if booting else options.contact, op, booting=booting)
    found = yield from look(station.way, options, files)
    looking.judge(
        found,
        station.contact,
        deployment=op.name,
        folder=options.folder,
        arch=ARCH,
        image=sum(files.values()),
    )
    return found


def hold(station: Station, options: KexecOptions, op: Operation) -> Flow[None]:
    """Put our name on a machine, which only one deployment can."""
    folder = f"{options.folder}/{HELD}"
    ended = yield station.way.run(("sh", "-c", _HOLD, "hold", folder, op.name), timeout=options.facts)
    if not isinstance(ended, CommandError):
        return
    if ended.code in (LOST, None):
        raise refusal(ended, "hold", station.contact, options.facts)
    last = _last(ended.stderr)
    raise Trouble(
        step="hold",
        cause=f"{folder} cannot be made there: {last}" if last else "another deployment was faster",
        hint="free some space there, or name another tmpfs: -o kexec.folder=PATH"
        if last
        else "try other machines",
        last_line=last,
        machine=station.name,
    )


def load(station: Station, found: Facts, media: Media, identity: bytes, options: KexecOptions) -> Steps[None]:
    """Append the identity, which is secret, to the image, and load it; raises Trouble with kexec's words."""
    folder = f"{options.folder}/{HELD}"
    kernel, initrd = f"{folder}/{media.kernel}", f"{folder}/{media.initrd}"
    first: CommandError | None = None
    for by_file in {"auto": (False, True), "load": (False,), "file": (True,)}[options.syscall]:
        kexec = tool.kexec_load(found.kexec, kernel, initrd, media.arguments, by_file=by_file)
        size = str(media.sizes[media.initrd])
        whole = tool.as_root(tool.sh["-c", _LOAD, "load", initrd, size, kexec], root=found.user == 0)
        ended = yield station.way.run(tool.words(whole), stdin=identity, timeout=options.load)
        if isinstance(ended, Completed):
            return
        first = first or ended
        if ended.code in (LOST, None, APPEND_FAILED):
            break
    assert first is not None
    raise _not_loaded(first, station, options)


def _not_loaded(error: CommandError, station: Station, options: KexecOptions) -> Trouble:
    if error.code in (LOST, None):
        return refusal(error, "load", station.contact, options.load)
    said, _, code = error.stderr.rstrip().rpartition("exit ")
    last = _last(said or error.stderr)
    if error.code == APPEND_FAILED:
        return Trouble(
            step="load",
            cause=f"its identity cannot be added to the image: {last}",
            hint="free some memory there",
            last_line=last,
            machine=station.name,
        )
    return Trouble(
        step="load",
        cause=f"kexec -l failed with exit code {code}: {last or 'without a word'}",
        hint="see `dmesg` there; some kernels want -o kexec.syscall=file",
        last_line=last,
        machine=station.name,
    )


def launch(station: Station, found: Facts, options: KexecOptions) -> Steps[None]:
    """Start what is loaded, detached, so that the order itself has an answer; then hang up."""
    folder = f"{options.folder}/{HELD}"
    order = tool.sh["-c", _LAUNCH, "launch", folder, tool.Tool(found.kexec)["-e"]]
    whole = tool.as_root(order, root=found.user == 0)
    ended = yield station.way.run(tool.words(whole), timeout=options.facts)
    if isinstance(ended, CommandError) and ended.code not in (LOST, None):
        last = _last(ended.stderr)
        raise Trouble(
            step="launch",
            cause=f"kexec -e could not be ordered: {last or f'exit code {ended.code}'}",
            hint="may its user still become root (`sudo -n true`)?",
            last_line=last,
            machine=station.name,
        )
    yield station.way.close()


def clear(station: Station, op: Operation, timeout: float) -> Steps[str]:
    """Take away what is ours from a former system, and return its boot id."""
    loaded = station.boot if station.node else ""
    argv = ("sh", "-c", _GIVE_BACK, "clear", station.folder, op.name, loaded)
    ended = yield station.way.alone(argv, timeout=timeout)  # the folder of sockets may be gone by now
    if isinstance(ended, CommandError):
        raise _failed(ended, "release", station.contact, timeout, "clearing it")
    return ended.text.strip()


def _failed(error: CommandError, step: str, contact: Contact, timeout: float, what: str) -> Trouble:
    if error.code in (LOST, None):
        return refusal(error, step, contact, timeout)
    last = _last(error.stderr)
    return Trouble(
        step=step,
        cause=f"{what} failed with exit code {error.code}" + (f": {last}" if last else ""),
        hint="its login shell must run `sh`",
        last_line=last,
        machine=contact.name,
    )


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
