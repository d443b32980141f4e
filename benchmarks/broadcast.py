"""What it costs to bring an image to many machines, as root, where links carry 100 Mbit/s (tbf).

Each machine is a namespace with a real sshd. In turn: ours with N = 1 and N = 16; plain scp with N = 1; and
where it is given the script of execo's chain put, started over ssh as execo does by TakTuk (the `ChainPut` of
execo 2.8.2 itself fails on Python 3 before it starts anything). Then scp to all at once, of a smaller image.

Bytes are those that leave the source's card. With segmentation offload one header stands for up to 64 KiB:
real Ethernet has up to 5 % more. Usage: broadcast.py [--runs 3] [--machines 16] [--mebibytes 96] [--tree]
[--execo-chainput SCRIPT --nc NC.TRADITIONAL]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from attrs import frozen

sys.path.insert(0, str(Path(__file__).parents[1]))

from nxc_core.commands import Command
from nxc_core.operation import Operation
from nxc_core.state import Journal
from nxc_kexec.broadcast import Target, broadcast, digest
from tests.shaped import Switch, switch

RATE = "100mbit"
PORT = "9933"


@frozen
class Figure:
    """One run: seconds, bytes that left the source per byte of the image, CPU seconds of this computer."""

    wall: float
    share: float
    cpu: float


@frozen
class Bench:
    """The source, the machines, and what is sent."""

    switch: Switch
    folder: Path
    names: list[str]
    image: Path
    sum: str
    """The image's SHA-256, which the flavour asks for beforehand."""

    def measure(self, act: Callable[[], None]) -> Figure:
        """Run one side and look at what left the source meanwhile."""
        before, start, cpu = self.switch.sent("source"), time.monotonic(), total_cpu()
        act()
        wall, cpu = time.monotonic() - start, total_cpu() - cpu
        share = (self.switch.sent("source") - before) / self.image.stat().st_size
        for name in self.names:
            kept = self.switch.file(name, self.image.name)
            if kept.exists():
                assert kept.stat().st_size == self.image.stat().st_size, f"{name} has not got all"
                kept.unlink()
        return Figure(wall, share, cpu)

    # The sides

    def ours(self, count: int, fanout: int = 1) -> None:
        """Bring the image to the first machines as nxc does."""
        causes = broadcast(
            [self.image],
            [self.target(name) for name in self.names[:count]],
            self.operation(),
            timeout=600,
            sums={self.image: self.sum},
            fanout=fanout,
        )
        assert not any(causes.values()), causes

    def target(self, name: str) -> Target:
        """Return a machine as the flavour gives it: reached over one ssh connection that is there already."""

        def run(argv: Sequence[str]) -> Command:
            return Command(argv=(*self.switch.ssh("source", name), "--", shlex.join(argv)))

        return Target(name=name, address=self.switch.machines[name], folder=f"/mnt/{name}", run=run)

    def operation(self) -> Operation:
        """Return an operation whose events go nowhere."""
        return Operation(
            dir=self.folder,
            runtime=self.folder / "run",
            cache=self.folder,
            journal=Journal(self.folder / "journal"),
            emit=lambda event: None,
            cancel=threading.Event(),
        )

    def scp(self, count: int) -> None:
        """Copy to all at once with plain scp, over connections that are there already."""
        jobs = []
        for name in self.names[:count]:
            *words, host = self.switch.ssh("source", name)
            words[words.index("ssh")] = "scp"
            jobs.append(subprocess.Popen((*words, str(self.image), f"{host}:/mnt/{name}/")))
        assert not any([job.wait(600) for job in jobs])

    def execo(self, script: Path, nc: Path, count: int) -> None:
        """Run the script of execo's chain put on the source and every machine, but for more patience."""
        hosts = self.folder / "hosts"
        hosts.write_text("".join(f"{self.switch.machines[name]}\n" for name in self.names[:count]))
        jobs = []
        for index, name in enumerate([*self.names[:count], "source"]):
            index = (index + 1) % (count + 1)
            words = (str(script), str(self.image), f"/mnt/{name}", str(nc), "5", "30", PORT, "30", "10", "1")
            argv = ("bash", *words, str(index), str(hosts))
            over = (*self.switch.ssh("source", name), "--", shlex.join(argv))
            if name == "source":  # the script gives up soon
                self.await_port(self.names[0])
                over = self.switch.enter("source", argv)
            jobs.append(subprocess.Popen(over, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        assert not any([job.wait(600) for job in jobs])

    def await_port(self, name: str) -> None:
        """Wait until execo's script listens on a machine."""
        end = time.monotonic() + 60
        while f":{PORT}" not in str(self.switch.listening(name)):
            if time.monotonic() > end:
                raise SystemExit(f"execo's script does not listen on {name}")
            time.sleep(0.05)


def total_cpu() -> float:
    """CPU seconds of the whole machine so far: what runs behind sshd is nobody's child."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq = (int(word) for word in words[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print the median of some runs, and the load."""
    walls = [figure.wall for figure in figures]
    sent = statistics.median(figure.share for figure in figures)
    cpu = statistics.median(figure.cpu for figure in figures)
    print(
        f"  {title:32} wall {statistics.median(walls):7.2f} s ({min(walls):.2f} to {max(walls):.2f})"
        f"   sent {sent:6.3f} images   CPU of all {cpu:5.1f} s"
        f"   n = {len(figures)}, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


@contextlib.contextmanager
def prepared(count: int, mebibytes: int) -> Iterator[Bench]:
    """Make the machines, and an image that cannot be compressed."""
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        folder = Path(place)
        with switch(folder) as made:
            names = [f"n{number}" for number in range(count)]
            for name in ("source", *names):
                made.add(name, rate=RATE)
            made.start_sshd(names)
            image = Path(memory) / "image"
            image.write_bytes(os.urandom(mebibytes << 20))
            for name in names:
                subprocess.run((*made.ssh("source", name), "true"), check=True)
            yield Bench(made, folder, names, image, digest(image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--machines", type=int, default=16)
    parser.add_argument("--mebibytes", type=int, default=96)
    parser.add_argument("--tree", action="store_true", help="also with two successors each")
    parser.add_argument("--execo-chainput", type=Path)
    parser.add_argument("--nc", type=Path)
    given = parser.parse_args()
    count = given.machines
    with prepared(count, given.mebibytes) as bench:
        sides: dict[str, Callable[[], None]] = {
            "ours, N = 1": partial(bench.ours, 1),
            f"ours, N = {count}": partial(bench.ours, count),
        }
        if given.tree:
            sides[f"ours as a tree, N = {count}"] = partial(bench.ours, count, 2)
        if given.execo_chainput:
            sides[f"execo's chain put, N = {count}"] = partial(
                bench.execo, given.execo_chainput, given.nc, count
            )
        sides["scp, N = 1"] = partial(bench.scp, 1)
        found: dict[str, list[Figure]] = {title: [] for title in sides}
        for _ in range(given.runs):
            for title, act in sides.items():
                found[title].append(bench.measure(act))
        print(f"{given.mebibytes} MiB, links of {RATE}")
        for title, figures in found.items():
            show(title, figures)
        pairs = zip(found[f"ours, N = {count}"], found["ours, N = 1"], strict=True)
        ratio = statistics.median(many.wall / one.wall for many, one in pairs)
        print(f"  ratio N = {count} to N = 1, median of pairs: {ratio:.2f} (aim 1.3)")
        whole = bench.image.stat().st_size
        os.truncate(bench.image, whole // count)
        show(f"scp of 1/{count}, N = {count}", [bench.measure(partial(bench.scp, count))])


if __name__ == "__main__":
    main()
