"""Part `one` of kexec.py: a machine of QEMU, against a bare script; and how soon one that hangs is named."""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen
from pairs import Cost, compare, measure

sys.path.insert(0, str(Path(__file__).parents[1]))

from nxc_core.errors import DeployError
from nxc_core.model import Event, Json, SshEndpoint
from nxc_core.running import Running
from nxc_core.session import Session
from tests.kexec_machines import SLOW, SSH_PORT, Former, build_system, machines, make_lab

EXAMPLES = Path(__file__).parents[1] / "examples"
NXC = Path(sys.executable).with_name("nxc")
ONE = {"foo": 1, "bar": 0}
PATIENCE = 30.0
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))

BARE = """
set -e
former() {{ ssh -F {config} -p {port} lab@{host} "$@"; }}
node() {{ ssh -i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={known} -o HostKeyAlias={alias} \\
  -o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=5 -p {node_port} root@{host} "$@"; }}
former 'cat > /dev/shm/kernel' < {kernel}
former 'cat > /dev/shm/initrd' < {initrd}
former "sudo /sbin/kexec -l /dev/shm/kernel --initrd=/dev/shm/initrd --append='{append}'"
former 'sudo sh -c "sync; setsid sh -c \\"sleep 0.2; kexec -e\\" >/dev/null 2>&1 &"'
until [ "$(node cat /run/nxc/ready 2>/dev/null)" = {instance} ]; do sleep 0.1; done
"""
"""What one would write by hand. The image is ready, with the identity at its end."""


@frozen(kw_only=True)
class Bench:
    """A project, and a machine."""

    session: Session
    project: Path
    machine: Former

    def options(self, **more: Json) -> dict[str, Json]:
        """Return the flavour's options."""
        lab = self.machine.lab
        file = lab.folder / "machines"
        file.write_text(f"{self.machine.line}\n")
        return {"machines": [str(file)], "cmdline": SLOW, "known_hosts": str(lab.known_hosts)} | more


@contextmanager
def one_machine() -> Iterator[Bench]:
    """Boot a machine, and build the image, which both sides find ready."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = folder / "basic"
        shutil.copytree(EXAMPLES / "basic", project)
        lab = make_lab(folder / "lab", build_system(folder / "system"))
        with machines(lab, 1) as (machine,):
            bench = Bench(session=Session.open(project), project=project, machine=machine)
            bench.session.build(project, flavour="kexec", roles=ONE, options={"kexec": bench.options()})
            yield bench


def start(bench: Bench, **more: Json) -> Running:
    options = {"kexec": bench.options(**more)}
    return bench.session.start(bench.project, flavour="kexec", roles=ONE, options=options, fresh=True)


def words(bench: Bench) -> list[str | Path]:
    """Return nxc's command line for the same."""
    found: list[str | Path] = [NXC, "start", "-f", "kexec", "--new"]
    for role, number in ONE.items():
        found += ["-r", f"{role}={number}"]
    for name, value in bench.options().items():
        told = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        found += ["-o", f"kexec.{name}={told}"]
    return found


def bare_script(bench: Bench, running: Running, folder: Path) -> Path:
    """Write the script, with the files and the arguments that nxc took itself."""
    endpoint = running.node("foo").endpoint
    assert isinstance(endpoint, SshEndpoint)
    plan = running.plan()
    boot = plan.artifact.roles["foo"]
    assert boot.kernel is not None and boot.initrd is not None
    folder.mkdir()
    for path in (endpoint.identity, endpoint.known_hosts):
        shutil.copy(path, folder / path.name)
    from nxc_kexec.identity import pack

    initrd = folder / "initrd"
    shutil.copy(boot.initrd, initrd)
    with initrd.open("ab") as out:
        out.write(pack(plan.documents["foo"], boot.initrd.stat().st_size))
    script = folder / "bare"
    script.write_text(
        BARE.format(
            config=bench.machine.lab.config,
            port=SSH_PORT,
            host=bench.machine.host,
            key=folder / endpoint.identity.name,
            known=folder / endpoint.known_hosts.name,
            alias=endpoint.alias,
            node_port=endpoint.port,
            kernel=boot.kernel,
            initrd=initrd,
            append=running["foo"].succeed("cat /proc/cmdline").strip(),
            instance=shlex.quote(running.deployment.instances["foo"]),
        )
    )
    return script


def compare_one() -> None:
    """Print both sides."""
    with one_machine() as bench:
        running = start(bench)
        script = bare_script(bench, running, bench.project.parent / "bare")
        running.down()
        bench.machine.wait()

        def ours() -> Cost:
            cost = measure(words(bench), cwd=bench.project)
            bench.session.down()
            bench.machine.wait()
            return cost

        def theirs() -> Cost:
            cost = measure(("sh", script))
            bench.machine.reset()
            return cost

        title = "kexec of one QEMU machine, command to ready"
        compare(title, ours, theirs, n=ROUNDS, limit="wall 1.15", warm=False)


def tell_hung() -> None:
    """Say how long after its deadline a machine that hangs is named: in its first step, and in its boot."""
    late: dict[str, list[float]] = {"contact": [], "boot": []}
    load = os.getloadavg()[0]
    with one_machine() as bench:
        for _ in range(ROUNDS):
            bench.machine.order("stop")
            late["contact"].append(hang(bench, contact=PATIENCE))
            bench.machine.order("cont")
            bench.session.down()
            bench.machine.wait()
            late["boot"].append(hang(bench, boot=PATIENCE, cmdline=f"{SLOW} init=/bin/false panic=0"))
            bench.machine.reset()
            bench.session.down()
    for step, found in late.items():
        sys.stdout.write(
            f"hung in its {step}: named {statistics.median(found):.2f} s after the deadline of {PATIENCE:g} s"
            f" ({min(found):.2f} to {max(found):.2f}; n = {len(found)}, load {load:.1f}; aim 5 s)\n"
        )


def hang(bench: Bench, **more: Json) -> float:
    """Start on a machine that hangs; return how many seconds after its deadline it was named."""
    heard: list[Event] = []
    bench.session.sinks.append(heard.append)
    try:
        start(bench, **more)
    except DeployError:
        pass
    else:
        raise SystemExit("a machine that hangs became a node")
    finally:
        bench.session.sinks.remove(heard.append)
    (step,) = more.keys() & {"contact", "boot"}
    begun = {"contact": "looking at", "boot": "booting"}[step]
    since = next(event.time for event in heard if event.message.startswith(begun))
    named = next(event.time for event in heard if event.topic in ("outcome", "quarantine"))
    return named - since - PATIENCE
