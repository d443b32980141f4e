"""Several machines of a farm: spares, a gateway, a shared folder, and how machines are named."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.farm import NODE_PORT, PORT, answers
from tests.farm_bench import Bench
from tests.farm_fixtures import DAMAGE, bench, farm, kexec_shim, settled
from tests.sshds import run_agent

__all__ = ["bench", "farm"]  # fixtures

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(900)]


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
        out, err = child.communicate(timeout=300)
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
    bench.farm.machines["m2"].wait(lambda one: one.system != "node")
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
        child.communicate(timeout=300)
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


# A folder that all see


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
