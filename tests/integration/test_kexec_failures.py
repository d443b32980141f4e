"""What goes wrong on one machine: an error with machine, step, cause and way out, and nothing left.

The machines are a farm's: real ssh servers, whose kernels are not real.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen

from tests.farm import FREEZE, PORT, Machine, answers
from tests.farm_bench import Bench, own_processes, traces
from tests.farm_fixtures import DAMAGE, bench, farm, kexec_shim, settled, vanish

__all__ = ["bench", "farm"]  # fixtures

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(900)]


@frozen(kw_only=True)
class Row:
    """A machine's trouble, and what must be said of it."""

    id: str
    step: str
    cause: str
    way_out: str
    behaviour: dict[str, Any]
    options: tuple[str, ...] = ()
    before: Callable[[Machine], None] = lambda machine: None


def reject_key(machine: Machine) -> None:
    (machine.dir / "authorized_keys").write_text("")


def change_host_key(machine: Machine) -> None:
    other = machine.farm.dir / "other"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)), check=True)
    public = other.with_suffix(".pub").read_text()
    machine.farm.known_hosts.write_text(f"[{machine.address}]:{PORT} {public}")


def forget_host_key(machine: Machine) -> None:
    machine.farm.known_hosts.write_text("")


def refuse(machine: Machine) -> None:
    machine.cut()
    machine.wait(lambda one: one.system == "off")


def greet_never(machine: Machine) -> None:
    machine.freeze()
    machine.wait(lambda one: not answers(one.address, PORT))


ROWS = [
    Row(
        id="unreachable",
        step="contact",
        cause="does not answer",
        way_out="",
        behaviour={},
        options=("kexec.contact=3",),
        before=vanish,
    ),
    Row(
        id="refused",
        step="contact",
        cause="refused",
        way_out="",
        behaviour={},
        options=("kexec.contact=3",),
        before=refuse,
    ),
    Row(
        id="no-greeting",
        step="contact",
        cause="does not answer|no greeting|banner",
        way_out="",
        behaviour={},
        options=("kexec.contact=3",),
        before=greet_never,
    ),
    Row(id="key-rejected", step="contact", cause="key", way_out="ssh", behaviour={}, before=reject_key),
    Row(
        id="host-key-changed",
        step="contact",
        cause="host key.*(changed|not the one)",
        way_out="ssh-keygen -R",
        behaviour={},
        before=change_host_key,
    ),
    Row(
        id="host-key-unknown",
        step="contact",
        cause="host key.*(unknown|not known)",
        way_out="ssh",
        behaviour={},
        before=forget_host_key,
    ),
    Row(
        id="no-sudo",
        step="facts",
        cause="alice may not become root",
        way_out="NOPASSWD",
        behaviour={"user": "alice", "sudo": False},
    ),
    Row(
        id="no-kexec",
        step="facts",
        cause="kexec is not installed",
        way_out="kexec-tools",
        behaviour={"kexec": False},
    ),
    Row(
        id="kexec-disabled",
        step="facts",
        cause="kexec_load_disabled",
        way_out="reboot",
        behaviour={"kexec_disabled": True},
    ),
    Row(
        id="lockdown",
        step="facts",
        cause="lockdown: integrity",
        way_out="Secure Boot",
        behaviour={"lockdown": True},
    ),
    Row(
        id="architecture",
        step="facts",
        cause="aarch64",
        way_out="x86_64",
        behaviour={"arch": "aarch64"},
    ),
    Row(id="memory", step="facts", cause="64 MiB", way_out="larger", behaviour={"memory": 64}),
    Row(
        id="no-space",
        step="facts",
        cause="/dev/shm has 1 MiB left",
        way_out="kexec.folder",
        behaviour={"ram_folder": "1m"},
    ),
    Row(
        id="disk-full",
        step="image",
        cause="(?i)no space left|full",
        way_out="",
        # It lies about what it has, as a file system does that others fill meanwhile.
        behaviour={"ram_folder": "1m", "shims": {"stat": "[ $1 = -f ] && echo tmpfs 99999 4096 && exit"}},
    ),
    Row(
        id="damaged",
        step="image",
        cause="something else than the image",
        way_out="memory",
        behaviour={"shims": {"dd": DAMAGE}},
    ),
    Row(
        id="load-fails",
        step="load",
        cause="kexec -l failed with exit code 255: kexec_load failed: Invalid argument",
        way_out="dmesg",
        behaviour=kexec_shim(on="--load", lines='echo "kexec_load failed: Invalid argument" >&2; exit 255'),
    ),
    Row(
        id="hangs-at-facts",
        step="facts",
        cause="not done after 3 s",
        way_out="console",
        behaviour={"shims": {"uname": FREEZE}},
        options=("kexec.facts=3",),
    ),
    Row(
        id="hangs-at-hold",
        step="hold",
        cause="not done after 8 s",
        way_out="console",
        behaviour={"shims": {"mv": FREEZE}},
        options=("kexec.facts=8",),
    ),
    Row(
        id="hangs-at-image",
        step="image",
        cause="",
        way_out="",
        behaviour={"shims": {"perl": FREEZE}},
        options=("kexec.image=5",),
    ),
    Row(
        id="hangs-at-load",
        step="load",
        cause="not done after 3 s",
        way_out="console",
        behaviour=kexec_shim(on="--load", lines=FREEZE),
        options=("kexec.load=3",),
    ),
    Row(
        id="hangs-at-launch",
        step="",
        cause="",
        way_out="",
        behaviour={"shims": {"setsid": FREEZE}},
        options=("kexec.boot=5", "kexec.facts=8"),
    ),
    Row(
        id="panics",
        step="",
        cause="former system",
        way_out="",
        behaviour={"after": "panic"},
    ),
    Row(
        id="returns",
        step="",
        cause="former system",
        way_out="",
        behaviour={"after": "former"},
    ),
    Row(
        id="hangs-at-boot",
        step="",
        cause="5 s",
        way_out="",
        behaviour={"after": "hang"},
        options=("kexec.boot=5",),
    ),
    Row(
        id="never-leaves",
        step="",
        cause="never left|still",
        way_out="",
        behaviour=kexec_shim(on="-e", lines="exit 1"),
    ),
]


ALONE = {"unreachable", "host-key-changed", "damaged", "load-fails", "panics"}
"""Rows that are tried alone in every run; the others together, and alone in the full matrix."""


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=row.id, marks=[] if row.id in ALONE else [pytest.mark.full]) for row in ROWS],
)
def test_one_machine_in_trouble(bench: Bench, row: Row) -> None:
    machine = bench.farm.add("m1", **row.behaviour)
    row.before(machine)
    said = bench.start(*options("kexec.give_back=10", *row.options))
    print(said.err)
    assert said.code in (5, 7), said
    assert "m1" in said.text
    assert re.search(row.cause, said.text), said.text
    assert row.step in said.text
    assert row.way_out in said.text
    assert own_processes(bench.farm) == []
    held = row.step not in ("contact", "facts")
    if machine.system == "gone" or (held and "freeze" in machine.log):
        down = bench.down()
        assert (down.code, "m1" in down.text) == (9, True), down  # it may still have what is ours
        machine.reset()
        machine.wait(lambda one: answers(one.address, PORT))
    settled(bench)


def options(*given: str) -> tuple[str, ...]:
    return tuple(word for one in given for word in ("-o", one))


def machine_list(bench: Bench, *names: str) -> str:
    return str(bench.farm.write_file(bench.project / "machines", *names))


def test_machines_that_will_not_do_are_left_out_each_with_its_cause(bench: Bench) -> None:
    rows = [row for row in ROWS if row.step in ("contact", "facts") and "host-key" not in row.id]
    for row in rows:
        bench.farm.add(row.id, wait=False, **row.behaviour)
    bench.farm.add("good", wait=False)
    bench.farm.wait()
    for row in rows:
        row.before(bench.farm.machines[row.id])
    limits = options("kexec.contact=15", "kexec.facts=15")
    said = bench.start("--spare", str(len(rows)), *limits)
    assert said.code == 0, said
    assert bench.outcomes()["node"]["machine"] == "good"
    shown = " ".join(bench.run("status").out.split())
    for row in rows:
        told = re.search(rf"{row.id} is left out: {row.step}: (.*)", said.err)
        assert told, (row.id, said.err)
        assert re.search(row.cause.replace("3 s", "15 s"), told[1]), (row.id, told[1])
        assert row.way_out in told[1], (row.id, told[1])
        assert re.search(rf"{row.id} left out {row.step}", shown), (row.id, shown)
    hung = [one for one in bench.farm.machines.values() if one.system != "node"]
    down = bench.down()
    assert down.code == 0, down  # nothing of ours ever was on those that do not answer
    assert [traces(one) for one in hung if one.system == "former"] == [[]] * len(
        [one for one in hung if one.system == "former"]
    )


def test_nodes_in_trouble_leave_the_others_alone(bench: Bench) -> None:
    rows = [row for row in ROWS if row.step not in ("contact", "facts", "hold") and row.id != "damaged"]
    for row in rows:
        bench.farm.add(row.id, wait=False, **row.behaviour)
    for name in ("good1", "good2"):
        bench.farm.add(name, wait=False)
    bench.farm.wait()
    limits = options("kexec.contact=20", "kexec.image=20", "kexec.load=12", "kexec.boot=30")
    count = len(rows) + 2
    said = bench.start("-r", f"node={count}", "--min", "node=2", *limits)
    assert said.code == 0, said
    status = bench.status()
    assert status["status"] == "degraded"
    nodes = {node["machine"]: node for node in status["nodes"]}
    assert {nodes[name]["state"] for name in ("good1", "good2")} == {"ready"}
    for row in rows:
        node = nodes[row.id]
        assert node["state"] == "failed", row.id
        assert row.step in node["step"], row.id
        assert re.search(re.sub(r"\b[35] s", r"\\d+ s", row.cause), node["cause"]), (row.id, node)
        assert row.way_out in node["cause"], (row.id, node)
    assert f"{len(rows)} of {count}" in said.text or "degraded" in said.text
