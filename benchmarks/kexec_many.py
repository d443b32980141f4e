"""Part `many` of kexec.py: real sshd on the loopback device, from contact to launched, and what that takes.

The other side opens as many shared connections with plain ssh, 64 at a time, and runs `true` over each as
often as nxc ran a command. Machines stop when launched, so that nothing but the two sides is measured.

The machines share these processors: what they do themselves, such as reading facts, passing on the image and
loading, is counted apart, since 200 real ones would do it at the same time.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.farm import PORT, Farm, Machine
from tests.farm_bench import Bench

MACHINES = int(os.environ.get("BENCH_MACHINES", "200"))
AT_ONCE = 64
ROUNDS = 3
MIB = 1 << 20


@frozen(kw_only=True)
class Told:
    """Seconds from contact to launched, and of processor for the machines; MiB (PSS) of nxc and an ssh."""

    seconds: float
    machines: float
    nxc: float
    child: float
    children: int


def measure_many() -> None:
    """Print the medians of both sides, taken in turn."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="nxc-many-") as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        (folder / "cache").mkdir()
        load = os.getloadavg()[0]
        ours, theirs, commands, connections = [], [], 0.0, 0.0
        for number in range(ROUNDS):
            told, commands, connections = run_nxc(folder / f"nxc{number}")
            ours.append(told)
            theirs.append(run_plain(folder / f"plain{number}", round(commands), round(connections)))
        mine, other = (statistics.median(one.seconds for one in side) for side in (ours, theirs))
        pairs = list(zip(ours, theirs, strict=True))
        extra = statistics.median(one.seconds - plain.seconds for one, plain in pairs)
        cores = len(os.sched_getaffinity(0))
        work = statistics.median((one.machines - plain.machines) / cores for one, plain in pairs)
    loads = f"load {load:.1f} to {os.getloadavg()[0]:.1f}"
    sys.stdout.write(
        f"{MACHINES} machines, contact to launched  (n = {ROUNDS}, {loads})\n"
        f"  {connections:.2f} connections and {commands:.2f} commands a machine\n"
        f"  nxc    {mine:7.2f} s ({', '.join(f'{one.seconds:.2f}' for one in ours)})\n"
        f"  plain  {other:7.2f} s ({', '.join(f'{one.seconds:.2f}' for one in theirs)})\n"
        f"  more   {extra:7.2f} s   aim 3 s, of which the machines' own work on {cores} cores: {work:.2f} s\n"
        f"  nxc {max(one.nxc for one in ours):.0f} MiB (aim 200), its largest ssh "
        f"{max(one.child for one in ours):.1f} MiB (aim 8), {max(one.children for one in ours)} at once\n"
    )


def run_nxc(folder: Path) -> tuple[Told, float, float]:
    """Start on all machines; returns what it took, and commands and connections a machine."""
    with Farm(folder / "farm") as farm:
        machines = switch_on(farm)
        project = folder / "web"
        project.mkdir()
        bench = Bench(farm=farm, project=project, options=("kexec.boot=5",))
        bench.write(node=MACHINES)
        sampler, before = Sampler(), spent(machines)
        with bench.spawn(*bench.words()) as child:
            sampler.start(child.pid)
            out, err = child.communicate(timeout=1200)
            sampler.stop()
        launched = [one for one in machines if "kexec" in one.log]
        if len(launched) != MACHINES:
            raise SystemExit(f"only {len(launched)} of {MACHINES} were launched:\n{out}{err[-3000:]}")
        begin, end = find_span(project)
        commands = sum(count(one, "Starting session: command") for one in machines) / MACHINES
        connections = sum(one.connections for one in machines) / MACHINES
        told = Told(
            seconds=end - begin,
            machines=spent(machines) - before,
            nxc=sampler.nxc,
            child=sampler.child,
            children=sampler.children,
        )
        return told, commands, connections


def switch_on(farm: Farm) -> list[Machine]:
    machines = [farm.add(f"m{number}", wait=False, after="hang") for number in range(MACHINES)]
    farm.wait()
    for machine in machines:
        (machine.dir / "sshd.log").write_text("")
    return machines


def count(machine: Machine, words: str) -> int:
    """Count lines of a machine's sshd."""
    return (machine.dir / "sshd.log").read_text().count(words)


def find_span(project: Path) -> tuple[float, float]:
    """Return when nxc began to look at machines, and when the last was launched, by its own record."""
    (record,) = project.glob(".nxc/deployments/*/events.jsonl")
    events = [json.loads(line) for line in record.read_text().splitlines()]
    begin = min(one["time"] for one in events if one["message"].startswith("looking at"))
    return begin, max(one["time"] for one in events if one["topic"] == "node")


def spent(machines: Iterable[Machine]) -> float:
    """Seconds of processor that machines have taken, with all that they have seen end."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = path.read_text().rpartition(")")[2].split()
            children.setdefault(int(words[1]), []).append(int(path.parent.name))
            ticks[int(path.parent.name)] = sum(map(int, words[11:15]))
    todo, total = [one.process.pid for one in machines if one.process], 0
    while todo:
        pid = todo.pop()
        total += ticks.get(pid, 0)
        todo += children.get(pid, [])
    return total / os.sysconf("SC_CLK_TCK")


def run_plain(folder: Path, commands: int, connections: int) -> Told:
    """Open the connections and run the commands by plain ssh."""
    with Farm(folder / "farm") as farm:
        machines = switch_on(farm)
        config = folder / "config"
        config.write_text(
            "".join(f"Host {one.name}\n  HostName {one.address}\n" for one in machines)
            + f"Host *\n  User root\n  Port {PORT}\n  IdentityFile {farm.key}\n"
            f"  UserKnownHostsFile {farm.known_hosts}\n  BatchMode yes\n  ControlPath {folder}/%n.s\n"
        )
        names = "\n".join(one.name for one in machines)
        start, before = time.monotonic(), spent(machines)
        for _ in range(connections - 1):
            spread(names, "ssh", "-F", str(config), "-S", "none", "{}", "true")
        spread(names, "ssh", "-F", str(config), "-M", "-o", "ControlPersist=120", "-fN", "{}")
        for _ in range(commands):
            spread(names, "ssh", "-F", str(config), "{}", "true")
        spread(names, "ssh", "-F", str(config), "-O", "exit", "{}")
        seconds = time.monotonic() - start
        return Told(seconds=seconds, machines=spent(machines) - before, nxc=0, child=0, children=0)


def spread(names: str, *argv: str) -> None:
    """Run a command for every name, many at a time."""
    done = subprocess.run(
        ("xargs", "-P", str(AT_ONCE), "-I", "{}", *argv),
        input=names,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{argv} failed: {done.stderr[-2000:]}")


class Sampler:
    """Looks at the memory of nxc and of its ssh children, ten times a second."""

    def __init__(self) -> None:
        self.nxc, self.child, self.children = 0.0, 0.0, 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._pid = 0

    def start(self, pid: int) -> None:
        self._pid = pid
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.25):
            self.nxc = max(self.nxc, share(self._pid))
            ssh = [pid for pid in find_ssh(self._pid) if pid != self._pid]
            self.children = max(self.children, len(ssh))
            # Looking costs more than what is looked at: a few stand for all.
            self.child = max([self.child, *(share(pid) for pid in ssh[:: max(1, len(ssh) // 8)])])


def find_ssh(pid: int) -> list[int]:
    """List the ssh processes of this benchmark; shared connections are nobody's children."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == "ssh":
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def share(pid: int) -> float:
    """MiB of a process, pages that it shares with others in parts; none when it went meanwhile."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0
