"""The nodes: one systemd-nspawn each, started by one shell for all of them."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from nxc_core import DeployError, Operation
from nxc_core.model import CLOSURE, NodeSpec, Plan, Resource, Role
from nxc_core.spawned import VARIABLE, find_all_spawned, is_spawned
from nxc_nspawn import cgroups, network, wishes
from nxc_nspawn.keeper import ENVIRONMENT, Keeper, layers

MACHINES = "nspawn.machines"
"""All nodes of a deployment are one claim: what it stands for is found by the mark of each."""
MACHINE = "nspawn.machine"
START_TIMEOUT = 300.0
END_TIMEOUT = 30.0
_READY, _BOOT_ID = "run/nxc/ready", "proc/sys/kernel/random/boot_id"

_PRELUDE = """
umask 022

# root NODE LAYERS: what a node writes is in memory, and stays when it reboots.
root() {
  [ ! -d "nodes/$1/root/usr" ] || return 0
  mkdir -p "nodes/$1/root" "nodes/$1/upper" "nodes/$1/work"
  if [ -n "$2" ]; then
    mount -n -t overlay -o "lowerdir=$2,upperdir=nodes/$1/upper,workdir=nodes/$1/work" nxc "nodes/$1/root"
  else
    mkdir -p "nodes/$1/root/usr" "nodes/$1/root/nix/store" "nodes/$1/store"
  fi
}

# clear MACHINE CARD: what a systemd-nspawn leaves that was killed; later versions refuse to start beside it.
clear() {
  ip link delete dev "$2" 2>/dev/null || :
  sockets=/run/systemd/nspawn/unix-export/$1
  [ ! -d "$sockets" ] || { umount -l "$sockets" || :; rmdir "$sockets" || :; }
}

# boot NODE MARK LOG WORDS...
boot() {
  node=$1 mark=$2 log=$3
  shift 3
  (
    exec </dev/null >>"$log.log" 2>>"$log.nspawn"
    export VARIABLE="$mark"
    exec "$@"
  ) &
  echo "$node $!"
}
""".replace("VARIABLE", VARIABLE)

_REBOOTED = 133
"""How systemd-nspawn ends that is to be started again, where it has no scope of its own to do it in."""
_BOOTS = f"""
systems=$1 limits=$2 boot=0
shift 2
while :; do
  boot=$((boot + 1))
  (
    set -e # a system in control groups that are not its own would take those of this machine
    for group in $systems; do
      mkdir -p "$group/$boot"
      echo 0 >"$group/$boot/cgroup.procs"
    done
    for group in $limits; do echo 0 >"$group/cgroup.procs"; done
    exec "$@"
  )
  code=$?
  [ "$code" = {_REBOOTED} ] || exit "$code"
done
"""

_SET_KERNEL = """
while [ "$1" != -- ]; do
  printf '%s' "$2" >"/proc/sys/$1"
  shift 2
done
shift
exec "$@"
"""


@frozen(kw_only=True)
class Start:
    """What one node is started with. ``lower`` are its layers as overlayfs takes them, uppermost first."""

    spec: NodeSpec
    document: Path
    lower: str
    volumes: tuple[str, ...]
    words: tuple[str, ...]


def prepare(plan: Plan, spec: NodeSpec, keeper: Keeper) -> Start:
    """Make a node's control groups, and gather what it is started with."""
    role = role_of(plan, spec)
    numbers = {name: number for number, name in enumerate(layers(plan))}
    own = plan.artifact.roles[spec.role].layers
    limits, groups = wishes.limits(role), keeper.groups
    cgroups.make(spec.name, limits, groups)
    folders = (groups.of_systems(spec.name), groups.limiting(spec.name, limits))
    listed = tuple(" ".join(map(str, those)) for those in folders)
    words = ("sh", "-uc", _BOOTS, "nxc", *listed, *_words(plan, spec, role, keeper))
    settings = wishes.ipc_settings(role)
    return Start(
        spec=spec,
        document=plan.documents[spec.name],
        lower=":".join(f"layers/{numbers[name]}" for name in reversed(own)),
        volumes=tuple(volume.source for volume in wishes.volumes(role) if volume.named),
        words=_set(settings, words) if settings else words,
    )


def role_of(plan: Plan, spec: NodeSpec) -> Role:
    """Return a node's role."""
    return plan.roles.get(spec.role) or Role(name=spec.role)


def _words(plan: Plan, spec: NodeSpec, role: Role, keeper: Keeper) -> tuple[str, ...]:
    init = plan.artifact.roles[spec.role].init
    return (
        "systemd-nspawn",
        "--quiet",
        "--settings=no",
        "--register=no",
        "--keep-unit",
        f"--machine={network.machine_name(spec.index)}",
        f"--hostname={spec.name}",
        f"--directory={keeper.folder}/nodes/{spec.name}/root",
        f"--network-bridge={network.BRIDGE}",
        "--console=read-only",
        "--kill-signal=SIGRTMIN+3",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        *_binds(plan, spec, role, keeper),
        *(("--boot",) if init is None else ("--", init)),
    )


def _binds(plan: Plan, spec: NodeSpec, role: Role, keeper: Keeper) -> Iterator[str]:
    yield f"--bind-ro={_escape(keeper.folder / 'nodes' / spec.name / 'node.json')}:/nxc/node.json"
    if plan.artifact.kind == CLOSURE:
        # Root may make a read-only mount writable; Nix does, and would collect this machine's store.
        own = keeper.folder / "nodes" / spec.name / "store"
        yield f"--overlay={_escape(plan.artifact.files['store'])}:{_escape(own)}:/nix/store"
        if "registration" in plan.artifact.files:
            yield f"--bind-ro={_escape(plan.artifact.files['registration'])}:/nxc/registration"
    for volume in wishes.volumes(role):
        source = keeper.folder / "volumes" / volume.source if volume.named else Path(volume.source)
        how = "bind-ro" if volume.read_only else "bind"
        yield f"--{how}={_escape(source)}:{_escape(Path(volume.target))}"


def _escape(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:")


def _set(settings: Mapping[str, str], words: Sequence[str]) -> tuple[str, ...]:
    """Return words that set kernel settings in a new IPC namespace, which all boots of a node then share."""
    pairs = [word for name, value in settings.items() for word in (name.replace(".", "/"), value)]
    share = ("env", "SYSTEMD_NSPAWN_SHARE_NS_IPC=1")
    return ("unshare", "--ipc", "--", "sh", "-euc", _SET_KERNEL, "nxc", *pairs, "--", *share, *words)


def start(starts: Sequence[Start], keeper: Keeper, op: Operation, *, again: bool) -> dict[str, int]:
    """Start nodes; returns the pid of the process that boots each. Whether they come up is seen later.

    With ``again`` what a killed one may have left is cleared away first.
    """
    env = {**ENVIRONMENT, VARIABLE: token("", op)}
    if keeper.groups.version == 1:
        env["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "0"  # watching both would take a third inotify instance
    text = "".join(_script(starts, keeper, op, again=again))
    words = (*keeper.enter("mount", "net"), "sh", "-eu")
    told = op.run(words, stdin=text.encode(), env=env, timeout=START_TIMEOUT)
    return {node: int(pid) for node, pid in (line.split() for line in told.text.splitlines())}


def _script(starts: Iterable[Start], keeper: Keeper, op: Operation, *, again: bool) -> Iterator[str]:
    """Yield what the shell does in the keeper's namespaces; it says each node's pid."""
    for place in keeper.groups.of_systems(cgroups.KEEPER):
        yield f"echo 0 >{shlex.quote(str(place))}/cgroup.procs\n"
    yield f"cd {shlex.quote(str(keeper.folder))}\n{_PRELUDE}"
    for start in starts:
        node = start.spec.name
        if again:
            index = start.spec.index
            yield f"clear {network.machine_name(index)} {network.card_name(index)}\n"
        for volume in start.volumes:
            yield shlex.join(("mkdir", "-p", f"volumes/{volume}")) + "\n"
        yield shlex.join(("root", node, start.lower)) + "\n"
        # A copy, for the same reason as below.
        yield shlex.join(("install", "-m", "0600", str(start.document), f"nodes/{node}/node.json")) + "\n"
        yield shlex.join(("boot", node, token(node, op), str(log(node, op)), *start.words)) + "\n"


def log(node: str, op: Operation) -> Path:
    """Return where a node's console is kept (``.log``) and what its systemd-nspawn says (``.nspawn``)."""
    return op.dir / "log" / node


# Finding them


def token(node: str, op: Operation) -> str:
    """Return the mark of a node's processes outside of it."""
    return op.token(Resource(kind=MACHINE, id=node))


def find(op: Operation) -> dict[str, int]:
    """Map nodes to the processes that boot them, by their marks."""
    prefix = token("", op)
    marked = find_all_spawned(prefix)
    return {
        node: pid
        for pid, mark in marked.items()
        if (node := mark.removeprefix(prefix)) and marked.get(_parent(pid)) != mark  # not what it started
    }


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def is_alive(node: str, pid: object, op: Operation) -> bool:
    """Whether this is still the process that boots a node, or about to become it."""
    return isinstance(pid, int) and any(is_spawned(pid, mark) for mark in (token(node, op), token("", op)))


def end_unnamed(op: Operation) -> bool:
    """End what an interrupted start has begun and not yet given a node's mark; true when none is left.

    It is found as no node, so that another would be started beside it.
    """
    return op.stop(Resource(kind=MACHINE, id=""))


def leader(pid: int) -> int | None:
    """Return the node's first process, another one in each boot: the child of systemd-nspawn, our child."""
    with contextlib.suppress(OSError):
        for child in _children(pid):
            for grandchild in _children(child):
                for line in Path(f"/proc/{grandchild}/status").read_text().splitlines():
                    words = line.split()
                    if words[0] == "NSpid:" and len(words) > 2 and words[-1] == "1":
                        return grandchild
    return None


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def read_report(pid: int) -> str | None:
    """Return the node's instance id and the id of its boot, a line each; None before it knows who it is."""
    found = leader(pid)
    if found is None:
        return None
    with contextlib.suppress(OSError):
        said, boot_id = (_read_inside(found, file) for file in (_READY, _BOOT_ID))
        return said + boot_id if said.endswith("\n") else None  # it is being written
    return None


def _read_inside(leader: int, file: str) -> str:
    """Read the beginning of a node's file. A link, which may lead anywhere on this machine, is refused."""
    way = [os.open(f"/proc/{leader}/root", os.O_PATH)]
    try:
        for name in file.split("/"):
            flags = os.O_NOFOLLOW | (os.O_NONBLOCK if len(way) > file.count("/") else os.O_PATH)
            way.append(os.open(name, flags, dir_fd=way[-1]))
        return os.read(way[-1], 200).decode("utf-8", "replace")
    finally:
        for each in way:
            os.close(each)


def last_words(node: str, op: Operation) -> str:
    """Return the last line that a node's systemd-nspawn wrote."""
    try:
        lines = log(node, op).with_name(f"{node}.nspawn").read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


# Ending them


def end(nodes: Mapping[str, int] | None, folders: Sequence[Path], op: Operation) -> bool:
    """Kill nodes as if their power were cut; true when they and their control groups are gone for sure.

    Without ``nodes``, a map to their pids, all that carry a mark go. So does whatever is in the folders: a
    system that outlived its systemd-nspawn carries none.
    """

    def is_gone() -> bool:
        if nodes is None:
            pids = set(find_all_spawned(token("", op)))
        else:
            pids = {pid for node, pid in nodes.items() if is_alive(node, pid, op)}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return cgroups.kill(folders) and not pids

    try:
        op.wait("end of the nodes", is_gone, timeout=END_TIMEOUT)
        op.wait("end of their control groups", lambda: cgroups.remove(folders), timeout=END_TIMEOUT)
    except DeployError:
        return False
    return True
