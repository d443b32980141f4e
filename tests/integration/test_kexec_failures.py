"""What goes wrong on machines: each ends in an error with machine, step, cause and way out, and nothing left.

The machines are a farm's: real ssh servers, whose kernels are not real.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.farm import FREEZE, NODE_PORT, PORT, Farm, Machine, answers
from tests.farm_bench import Bench, own_processes, speaking, traces
from tests.sshds import run_agent

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(300)]

DAMAGE = """/mnt/real/bin/python3 -c '
import os
at = 0
while data := os.read(0, 65536):
    if at <= 1500000 < at + len(data):
        data = bytearray(data)
        data[1500000 - at] ^= 1
        open("/run/damaged", "w")
    at += len(data)
    while data:
        data = data[os.write(1, data):]
' | /mnt/real/bin/dd "$@"
exit
"""
"""What a machine is sent loses its right value at one byte."""


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with Farm(tmp_path / "farm") as farm:
        yield farm


@pytest.fixture
def bench(farm: Farm, tmp_path: Path) -> Bench:
    project = tmp_path / "web"
    project.mkdir()
    bench = Bench(farm=farm, project=project, options=("kexec.contact=10", "kexec.boot=20"))
    bench.write(node=1)
    return bench


def settled(bench: Bench) -> None:
    """Give all back, and see that nothing is left anywhere."""
    down = bench.down()
    assert down.code == 0, down
    bench.assert_nothing_left()


# One machine, one trouble


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


def kexec_shim(*, on: str, lines: str) -> dict[str, Any]:
    return {"shims": {"kexec": f'case " $* " in *" {on} "*) {lines} ;; esac'}}


def reject_key(machine: Machine) -> None:
    (machine.dir / "authorized_keys").write_text("")


def change_host_key(machine: Machine) -> None:
    other = machine.farm.dir / "other"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)), check=True)
    public = other.with_suffix(".pub").read_text()
    machine.farm.known_hosts.write_text(f"[{machine.address}]:{PORT} {public}")


def forget_host_key(machine: Machine) -> None:
    machine.farm.known_hosts.write_text("")


def vanish(machine: Machine) -> None:
    machine.cut()
    machine.wait(lambda one: one.system == "off")
    machine.farm.black_hole(machine.address, PORT)


def refuse(machine: Machine) -> None:
    machine.cut()
    machine.wait(lambda one: one.system == "off")


def greet_never(machine: Machine) -> None:
    machine.freeze()


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
        cause="not done after 3 s",
        way_out="console",
        behaviour={"shims": {"mv": FREEZE}},
        options=("kexec.facts=3",),
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
        options=("kexec.boot=5", "kexec.facts=3"),
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
        options=("kexec.boot=5",),
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
    limits = options("kexec.contact=8", "kexec.facts=8")
    said = bench.start("--spare", str(len(rows)), *limits)
    assert said.code == 0, said
    assert bench.outcomes()["node"]["machine"] == "good"
    shown = " ".join(bench.run("status").out.split())
    for row in rows:
        told = re.search(rf"{row.id} is left out: {row.step}: (.*)", said.err)
        assert told, (row.id, said.err)
        assert re.search(row.cause.replace("3 s", "8 s"), told[1]), (row.id, told[1])
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
    limits = options("kexec.contact=20", "kexec.image=12", "kexec.load=8", "kexec.boot=15")
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


# Several machines


def test_a_node_whose_machine_fails_moves_to_a_spare_and_the_others_learn_it(bench: Bench) -> None:
    failing = kexec_shim(on="--load", lines='echo "kexec_load failed: Invalid argument" >&2; exit 255')
    bench.farm.add("m1", **failing)
    bench.farm.add("m2")
    spare = bench.farm.add("m3")
    said = bench.start("-r", "node=2", "--spare", "1")
    assert said.code == 0, said
    nodes = bench.outcomes()
    assert {name: node["machine"] for name, node in nodes.items()} == {"node1": "m3", "node2": "m2"}
    assert "m1" in said.text
    assert "Invalid argument" in said.text
    hosts = bench.run("exec", "node2", "--", "cat", "/etc/hosts")
    assert f"{spare.address} node1" in hosts.out
    assert bench.farm.machines["m1"].address not in hosts.out
    settled(bench)


def test_a_node_is_tried_again_on_its_machine(bench: Bench) -> None:
    busy = "echo 'kexec_load failed: Device or resource busy' >&2; exit 255"
    once = f"[ -e /run/tried ] || {{ touch /run/tried; {busy}; }}"
    machine = bench.farm.add("m1", **kexec_shim(on="--load", lines=once))
    said = bench.start("--retries", "1", "-o", "kexec.syscall=load")
    assert said.code == 0, said
    assert "resource busy" in said.text
    assert machine.system == "node"
    settled(bench)


def test_an_image_that_was_damaged_on_its_way_comes_again(bench: Bench) -> None:
    once = f'[ -e /run/damaged ] && exec /mnt/real/bin/dd "$@"; {DAMAGE}'
    machine = bench.farm.add("m1", shims={"dd": once})
    said = bench.start()
    assert said.code == 0, said
    assert "something else" in said.text
    assert machine.system == "node"
    settled(bench)


def test_one_slow_machine_is_waited_for_and_hinders_nobody(bench: Bench) -> None:
    slow = bench.farm.add("slow", boot=6.0, **kexec_shim(on="--load", lines="sleep 3"))
    quick = bench.farm.add("quick")
    with bench.spawn(*bench.words("-r", "node=2")) as child:
        quick.wait(lambda one: answers(one.address, NODE_PORT))
        assert slow.system == "former", "the quick one was kept waiting"
        out, err = child.communicate(timeout=120)
    assert child.returncode == 0, (out, err)
    assert {node["state"] for node in bench.outcomes().values()} == {"ready"}
    settled(bench)


def test_a_machine_that_dies_later_is_told_and_kept_until_it_can_be_given_back(bench: Bench) -> None:
    dead = bench.farm.add("m1")
    bench.farm.add("m2")
    assert bench.start("-r", "node=2", "-o", "kexec.give_back=8").code == 0
    assert {node["machine"] for node in bench.outcomes().values()} == {"m1", "m2"}
    dead.cut()
    dead.wait(lambda one: one.system == "off")
    gone = bench.run("exec", "node1", "--", "true")
    assert gone.code != 0
    assert re.search("lost|refused", gone.text)
    down = bench.run("down", "--all", *())
    assert down.code != 0, down
    assert "m1" in down.text
    assert "again" in down.text, down
    assert bench.farm.machines["m2"].system != "node"
    dead.reset()
    dead.wait(lambda one: answers(one.address, PORT))
    bench.farm.machines["m2"].wait(lambda one: answers(one.address, PORT))
    settled(bench)


def test_a_machine_has_one_deployment_at_a_time(bench: Bench, tmp_path: Path) -> None:
    bench.farm.add("m1")
    assert bench.start().code == 0
    # Its node is not its former system: the second start does not even get in.
    second = bench.start("--new", "-o", "kexec.contact=3")
    assert second.code in (5, 7), second
    assert "m1" in second.text
    settled(bench)


def test_a_machine_that_another_deployment_holds_is_in_use(bench: Bench) -> None:
    machine = bench.farm.add("m1", shims={"truncate": "sleep 60"})
    with bench.spawn(*bench.words()) as child:
        machine.wait(lambda one: any("sleep 60" in line for line in one.processes()))
        second = bench.start("--new")
        assert second.code in (5, 7), second
        assert re.search(r"m1.*in use by web-kexec-", second.text), second
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    assert child.returncode == 130
    settled(bench)


def test_a_machine_whose_user_may_use_sudo_goes_through_all_of_it(bench: Bench) -> None:
    machine = bench.farm.add("m1", user="alice")
    said = bench.start()
    assert said.code == 0, said
    assert machine.system == "node"
    assert len(str(machine.loaded)) < 2048
    told = bench.run("exec", "node", "--", "cat", "/run/nxc/instance")
    assert told.code == 0, told
    settled(bench)
    machine.wait(lambda one: one.system == "former")


# A folder that all see


def test_machines_behind_a_gateway_and_their_nodes_share_one_connection_to_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = bench.farm
    gate = farm.add("gate")
    behind = [farm.add(name) for name in ("a", "b", "c")]
    bench.write(node=3)
    file = bench.project / "behind"
    file.write_text("".join(one.line(f"jump=root@{gate.address}:{PORT}") + "\n" for one in behind))
    with run_agent(farm.key) as agent:  # the way there is the user's own affair: their keys, their agent
        monkeypatch.setenv("SSH_AUTH_SOCK", agent)
        up = bench.start(machines=str(file))
        assert up.code == 0, up
        assert bench.run("exec", "node1", "--", "true").code == 0
        assert gate.connections == 1
        settled(bench)
    assert all(one.boots > 1 for one in behind)


def test_a_shared_folder_is_read_instead_of_a_copy(bench: Bench, tmp_path: Path) -> None:
    shared = tmp_path / "home"
    shared.mkdir(mode=0o755)
    machine = bench.farm.add(
        "m1", user="alice", shared=shared, shims={"dd": "case $* in *seek*) exit 9 ;; esac"}
    )
    said = bench.start("-o", f"kexec.shared={shared}")
    assert said.code == 0, said
    assert machine.system == "node"
    settled(bench)
    assert list(shared.iterdir()) == []


def test_a_shared_folder_that_a_machine_does_not_see_or_sees_otherwise(bench: Bench, tmp_path: Path) -> None:
    shared = tmp_path / "home"
    shared.mkdir()
    bench.farm.add("blind")
    bench.farm.add("odd", shared=shared, shims={"tee": '/mnt/real/bin/tee "$@"; echo odd; exit'})
    said = bench.start("-r", "node=2", "-o", f"kexec.shared={shared}")
    assert said.code == 7, said
    assert re.search(rf"blind.*image.*{re.escape(str(shared))}", said.text), said
    assert re.search(r"odd.*image.*(damaged|sha256)", said.text), said
    settled(bench)


# The machines that are named


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no machine"),
        ("# none yet\n\n", "names no machine"),
        ("127.0.0.1:2022 name=a\n127.0.0.1:2022 name=b\n", "line 2.*twice.*line 1"),
        ("127.0.0.1 name=a\n127.0.0.2 name=a\n", "line 2.*a is named twice"),
        ("127.0.0.1\nno-such-host.invalid\n", "line 2.*no-such-host.invalid.*not known"),
        ("127.0.0.1 keys=x\n", "line 1.*keys=x.*did you mean key="),
        ("127.0.0.1:99999\n", "line 1.*99999"),
        ("127.0.0.1 key=/no/such/key\n", "line 1.*/no/such/key"),
    ],
)
def test_a_machine_file_that_cannot_be_meant(bench: Bench, text: str, told: str) -> None:
    file = bench.project / "given"
    file.write_text(text)
    said = bench.start("-r", f"node={max(1, text.count('127.') + text.count('invalid'))}", machines=str(file))
    assert said.code == 3, said
    assert re.search(told, said.text), said
    assert "given" in said.text
    assert "hint:" in said.text
    settled(bench)


def test_too_few_machines_are_counted(bench: Bench) -> None:
    bench.farm.add("m1")
    said = bench.start("-r", "node=2")
    assert said.code == 3, said
    assert re.search(r"1 machines? for 2 nodes", said.text), said
    spare = bench.start("--spare", "1")
    assert spare.code in (3, 5), spare
    assert re.search(r"1 machines? for 1 nodes? and 1 spare", spare.text), spare
    missing = bench.start(machines=str(bench.project / "no-such-file"))
    assert missing.code == 3, missing
    assert "no-such-file" in missing.text
    settled(bench)


# Ctrl-C, and worse


def sleeping(program: str) -> dict[str, Any]:
    return {"shims": {program: "sleep 60"}}


STEPS: dict[str, dict[str, Any]] = {
    "facts": sleeping("uname"),
    "hold": sleeping("mv"),
    "image": sleeping("dd"),
    "load": sleeping("truncate"),
}


def is_asleep(machine: Machine) -> bool:
    return any("sleep 60" in line for line in machine.processes())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.full)])
def test_an_end_in_a_step(bench: Bench, step: str, number: signal.Signals) -> None:
    machine = bench.farm.add("m1", **STEPS[step])
    end_when(bench, number, lambda: is_asleep(machine))
    settled(bench)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_end_while_a_machine_is_contacted(bench: Bench, number: signal.Signals) -> None:
    machine = bench.farm.add("m1")
    vanish(machine)
    end_when(bench, number, lambda: any("ControlMaster=yes" in one for one in speaking(bench.farm)))
    settled(bench)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_end_while_a_node_boots(bench: Bench, number: signal.Signals) -> None:
    machine = bench.farm.add("m1", boot=3.0)
    end_when(bench, number, lambda: "kexec" in machine.log)
    settled(bench)
    assert machine.log[-2:] == ["reboot", "former"] or machine.system == "off"


def end_when(bench: Bench, number: signal.Signals, now: Callable[[], bool]) -> None:
    """Start, and send nxc a signal as soon as something is so."""
    with bench.spawn(*bench.words("-o", "kexec.contact=30")) as child:
        end = time.monotonic() + 60
        while not now():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    assert child.returncode == (130 if number is signal.SIGINT else -number), (out, err)
    assert "Traceback" not in err
    assert own_processes(bench.farm) == [] or number is signal.SIGKILL
