"""What containers cost, as root, on engines that this starts by itself.

1. `nxc start` until every systemd is `running`, then down, against Debian's `docker-compose up -d` and `down`
   of the very compose file that nxc wrote, with 2 and 30 nodes.
2. The same on nspawn with 10 nodes against a shell loop of systemd-nspawn.
3. One package more in one role: how long until the node runs again, and what was sent to the engine.
4. How long 50 nodes take on both flavours.

Both sides look for `running` in the same way. Usage: containers.py [docker|nspawn|loop|scale]...
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from attrs import frozen
from pairs import Cost, compare

sys.path.insert(0, str(Path(__file__).parents[1]))

from nxc_core.model import Event, Json
from nxc_core.running import Running
from nxc_core.session import Session
from tests import engines
from tests.engines import Engine

COMPOSITION = """
{ pkgs, ... }:
{
  roles.node = {
    services.nginx.enable = true;
    services.nginx.virtualHosts.node.root = pkgs.writeTextDir "index.html" "hello";
    environment.systemPackages = [ pkgs.curl EXTRA ];
  };
  roles.other = { };
}
"""
PATIENCE = 600.0
LOOK = ("systemctl", "is-system-running", "--wait")
Options = Mapping[str, Mapping[str, Json]]


@frozen
class Bench:
    """A project with one composition, and an engine."""

    session: Session
    project: Path
    engine: Engine
    options: Options
    events: list[Event]


def total_cpu() -> float:
    """CPU seconds of the whole machine so far: engines and containers are nobody's children."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq = (int(word) for word in words[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def timed(act: Callable[[], object]) -> Cost:
    """Return what something takes; CPU is the machine's."""
    start, cpu = time.monotonic(), total_cpu()
    act()
    return Cost(time.monotonic() - start, total_cpu() - cpu)


def await_running(asks: Sequence[Sequence[str]]) -> None:
    """Ask every systemd until it is `running`, four at once; anything else ends the benchmark."""
    end = time.monotonic() + PATIENCE

    def ask(argv: Sequence[str]) -> None:
        told = ""
        while time.monotonic() < end:
            done = subprocess.run(
                [*argv, *LOOK], capture_output=True, text=True, check=False, timeout=PATIENCE
            )
            told = done.stdout.strip() or done.stderr.strip()
            if told == "running":
                return
            if told == "degraded":
                break
            time.sleep(0.2)
        raise SystemExit(f"{' '.join(argv)}: {told}")

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(ask, asks))


def start(bench: Bench, flavour: str, nodes: int) -> Running:
    """Start nodes of one role with nxc, and wait for every systemd."""
    running = bench.session.start(
        bench.project / "composition.nix",
        flavour=flavour,
        options=bench.options,
        roles={"node": nodes, "other": 0},
        fresh=True,
    )
    await_running([running.connection(name).shell_argv(("env",)) for name in running])
    return running


def in_docker(engine: Engine, containers: Sequence[str]) -> list[list[str]]:
    """Return the words that run a command in containers."""
    return [["docker", "-H", engine.url, "exec", name] for name in containers]


def compare_compose(bench: Bench, nodes: int, pairs: int) -> None:
    """Both run the same file: that of a first start is kept."""
    first = bench.session.start(
        bench.project / "composition.nix", flavour="docker", options=bench.options,
        roles={"node": nodes, "other": 0}, fresh=True,
    )  # fmt: skip
    folder = bench.project.parent / f"compose-{nodes}"
    shutil.copytree(first.op.dir, folder)
    containers = [f"{first.id}-{name}" for name in first]
    first.down()
    text = (folder / "docker-compose.yaml").read_text().replace(str(first.op.dir), str(folder))
    (folder / "docker-compose.yaml").write_text(text)
    compose = ["docker-compose", "-H", bench.engine.url, "--project-directory", str(folder)]
    compose += ["-f", str(folder / "docker-compose.yaml")]
    down: dict[str, list[Cost]] = {"nxc": [], "compose": []}

    def ours() -> Cost:
        kept: list[Running] = []

        def begin() -> None:
            running = bench.session.start(
                bench.project / "composition.nix", flavour="docker", options=bench.options,
                roles={"node": nodes, "other": 0}, fresh=True,
            )  # fmt: skip
            kept.append(running)
            await_running(in_docker(bench.engine, [f"{running.id}-{name}" for name in running]))

        cost = timed(begin)
        down["nxc"].append(timed(kept[0].down))
        return cost

    def theirs() -> Cost:
        def begin() -> None:
            quietly(*compose, "up", "-d")
            await_running(in_docker(bench.engine, containers))

        cost = timed(begin)
        down["compose"].append(timed(lambda: quietly(*compose, "down")))
        return cost

    limit = "wall ratio at most 0.85" if nodes >= 30 else "wall ratio at most 1.1"
    compare(f"docker, {nodes} nodes until running / docker-compose up -d", ours, theirs, n=pairs, limit=limit)
    mine, other = iter(down["nxc"][1:]), iter(down["compose"][1:])
    compare(
        f"docker, {nodes} nodes removed / docker-compose down", lambda: next(mine), lambda: next(other),
        n=pairs, warm=False, limit="wall ratio at most 0.5",
    )  # fmt: skip


def quietly(*argv: str) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} failed:\n{done.stderr[-3000:]}")


# A shell loop, as someone writes it who has no nxc: the same layers and identities, one cgroup a machine.
LOOP = r"""
set -eu
work=$1 lower=$2 nodes=$3
mount -t tmpfs tmpfs "$work"
ip link set lo up
ip link add br0 type bridge && ip link set br0 up
lowers= n=0
for layer in $(echo "$lower" | tr , ' '); do
  n=$((n + 1)) && mkdir "$work/l$n" && mount -o loop,ro -t squashfs "$layer" "$work/l$n"
  lowers="$work/l$n${lowers:+:$lowers}"
done
mkdir "$work/root" && mount -t overlay -o "lowerdir=$lowers" overlay "$work/root"
for i in $(seq "$nodes"); do
  for top in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ -e "$top/cgroup.procs" ] && mkdir -p "$top/nxc-loop/$i"
  done
  sh -c 'for top in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
      [ ! -e "$top/nxc-loop/$2/cgroup.procs" ] || echo $$ >"$top/nxc-loop/$2/cgroup.procs"
    done
    exec systemd-nspawn --quiet --register=no --keep-unit -b -M "loop$2" -D "$1/root" --volatile=overlay \
      --network-bridge=br0 --kill-signal=SIGRTMIN+3 --resolv-conf=off --timezone=off --link-journal=no \
      --console=pipe' sh "$work" "$i" >"$work/log$i" 2>&1 </dev/null &
done
for i in $(seq "$nodes"); do
  until nsenter -t "$(pgrep -P "$(pgrep -o -f -- "-M loop$i ")" || echo 0)" -m -u -i -n -p -C \
      systemctl is-system-running --wait 2>/dev/null >"$work/state$i"; do
    grep -q degraded "$work/state$i" && exit 3
    sleep 0.05
  done
done
echo up
read -r end
pkill -TERM -f -- "-M loop[0-9]* " || :
wait
"""


def loop(layers: Sequence[Path], nodes: int) -> Cost:
    """Run the loop until all are up, then end it."""
    with tempfile.TemporaryDirectory() as work:
        argv = [
            "unshare",
            "--net",
            "--mount",
            "sh",
            "-c",
            LOOP,
            "sh",
            work,
            ",".join(map(str, layers)),
            str(nodes),
        ]
        start, cpu = time.monotonic(), total_cpu()
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None and child.stdin is not None
        told = child.stdout.readline()
        cost = Cost(time.monotonic() - start, total_cpu() - cpu)
        child.communicate("end\n", timeout=PATIENCE)
        if told != "up\n":
            raise SystemExit("the shell loop did not come up")
    for top in Path("/sys/fs/cgroup").glob("**/nxc-loop"):
        for folder, _, _ in os.walk(top, topdown=False):
            Path(folder).rmdir()
    return cost


def compare_loop(bench: Bench, nodes: int, pairs: int) -> None:
    build = bench.session.build(bench.project / "composition.nix", flavour="nspawn")
    names = build.artifact.roles["node"].layers
    layers = [path for name in names if (path := build.artifact.layers[name].squashfs) is not None]

    def ours() -> Cost:
        kept: list[Running] = []
        cost = timed(lambda: kept.append(start(bench, "nspawn", nodes)))
        kept[0].down()
        return cost

    compare(
        f"nspawn, {nodes} nodes until running / a shell loop of systemd-nspawn",
        ours, lambda: loop(layers, nodes), n=pairs, limit="wall ratio at most 1.2",
    )  # fmt: skip


def keep(kept: list[Running], bench: Bench, flavour: str, nodes: int) -> None:
    """Start, and remember what was started."""
    kept.append(start(bench, flavour, nodes))


def tell_scale(bench: Bench, nodes: int) -> None:
    """Say what many nodes take; the engine's own limits are the machine's."""
    for flavour in ("docker", "nspawn"):
        kept: list[Running] = []
        up = timed(partial(keep, kept, bench, flavour, nodes))
        down = timed(kept[0].down)
        sys.stdout.write(
            f"{flavour}, {nodes} nodes: running after {up.wall:.1f} s (CPU {up.cpu:.1f} s),"
            f" down in {down.wall:.1f} s  (n = 1, load {os.getloadavg()[0]:.1f})\n"
        )


def tell_edit(bench: Bench, packages: Sequence[str]) -> None:
    """Change one role's packages, and start again."""
    composition = bench.project / "composition.nix"
    former = composition.read_text()
    running = start(bench, "docker", 2)
    for package in packages:
        composition.write_text(former.replace("pkgs.curl", f"pkgs.curl pkgs.{package}"))
        before = len(bench.events)
        cost = timed(lambda: start(bench, "docker", 1).down())
        sent = [event.message for event in bench.events[before:] if "send" in event.message]
        sys.stdout.write(
            f"{package} more in one role, until it runs and is down again: {cost.wall:.1f} s"
            f" (CPU {cost.cpu:.1f} s); {'; '.join(sent)}  (aim: 10 s beyond dpkg -i)\n"
        )
    running.down()
    composition.write_text(former)


def main() -> None:
    parts = sys.argv[1:] or ["docker", "nspawn", "loop", "scale"]
    with tempfile.TemporaryDirectory() as name, engines.dockerd() as engine:
        project = Path(name) / "project"
        project.mkdir()
        (project / "composition.nix").write_text(COMPOSITION.replace(" EXTRA", ""))
        events: list[Event] = []
        bench = Bench(
            Session.open(project, sinks=[events.append]),
            project,
            engine,
            {"docker": {"url": engine.url}},
            events,
        )
        bench.session.build(project / "composition.nix", flavour="docker", options=bench.options)
        if "docker" in parts:
            compare_compose(bench, 2, 3)
            compare_compose(bench, 30, 3)
        if "nspawn" in parts:
            compare_loop(bench, 10, 3)
        if "loop" in parts:
            tell_edit(bench, ["hello", "tree", "figlet"])
        if "scale" in parts:
            tell_scale(bench, 50)


if __name__ == "__main__":
    main()
