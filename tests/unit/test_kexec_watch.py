"""Looking at machines from outside, giving them back, telling nodes of others: what needs no machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import evolve

from nxc_core.commands import Command, Completed
from nxc_core.errors import CommandError
from nxc_core.model import NodeDocument, NodeState, Observation, Outcome, Resource
from nxc_core.operation import Operation
from nxc_core.state import unstructure
from nxc_kexec import claims, giving, settling, watch
from nxc_kexec.claims import MACHINE, Station
from nxc_kexec.machines import Contact
from nxc_kexec.options import KexecOptions
from nxc_kexec.steps import Steps
from nxc_kexec.trouble import Trouble
from tests.operations import operation_in


@pytest.fixture
def op(tmp_path: Path) -> Operation:
    return operation_in(tmp_path, "web-1")


def station(op: Operation, **data: object) -> Station:
    contact = Contact(name="m1", host="127.0.0.1", real="127.0.0.1", port=1)
    resource = Resource(kind=MACHINE, id="m1", data={"contact": unstructure(contact), **data})  # type: ignore[dict-item]
    return claims.station(resource, op, known_hosts="", patience=2)


@pytest.fixture
def servers() -> Iterator[dict[str, socket.socket]]:
    """One that says it is an ssh server, one that says something else, one that says nothing."""
    found = {name: socket.create_server(("127.0.0.1", 0)) for name in ("ssh", "web", "mute")}
    talking = [
        threading.Thread(target=_talk, args=(found[name], said), daemon=True)
        for name, said in (("ssh", b"SSH-2.0-x\r\n"), ("web", b"HTTP/1.1 400"))
    ]
    for thread in talking:
        thread.start()
    yield found
    for server in found.values():
        server.close()


def _talk(server: socket.socket, said: bytes) -> None:
    link, _ = server.accept()
    with link:
        link.sendall(said)


def place(server: socket.socket) -> tuple[str, int]:
    return "127.0.0.1", int(server.getsockname()[1])


def test_only_an_ssh_server_counts(
    servers: dict[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        refusing = place(gone)
    monkeypatch.setattr(watch, "ANSWER", 60.0)
    asked = [place(servers["web"]), place(servers["ssh"]), refusing, ("no-such-host.invalid", 22)]
    assert watch._answering(asked) == [place(servers["ssh"])]
    monkeypatch.setattr(watch, "ANSWER", 0.2)
    assert watch._answering([place(servers["mute"])]) == []


def ask(flow: Steps[object], *answers: Completed | CommandError) -> tuple[object, list[Command]]:
    """Drive a flow with prepared answers; returns what it returned, and what it asked."""
    asked = []
    try:
        asked.append(next(flow))
        for answer in answers:
            asked.append(flow.send(answer))
    except StopIteration as end:
        return end.value, asked
    raise AssertionError(f"it asks more: {asked[-1].argv}")


def done(text: str = "") -> Completed:
    return Completed(argv=("ssh",), code=0, stdout=text.encode())


def refused(said: str = "ssh: connect to host m1 port 22: Connection refused") -> CommandError:
    return CommandError("it failed", argv=("ssh",), code=255, stderr=said)


def test_a_machine_that_was_never_touched_is_given_back_unasked(op: Operation) -> None:
    assert ask(giving.give_back(station(op), KexecOptions(), op)) == (None, [])


def test_what_is_not_ours_is_not_rebooted(op: Operation) -> None:
    """The former system answers: it is cleared, and no reboot is ordered."""
    held = station(op, held=True, node="a", instance="mine", folder="/dev/shm/nxc-kexec")
    _, asked = ask(
        giving.give_back(held, KexecOptions(), op),
        refused(),  # no shared connection is there to be closed
        done("another's"),
        done("boot"),
    )
    assert not any("reboot" in " ".join(command.argv) for command in asked)
    assert "kexec -u" in asked[-1].argv[-1] and "web-1" in asked[-1].argv[-1]


def test_our_node_is_rebooted_and_waited_for(op: Operation) -> None:
    held = station(op, held=True, node="a", instance="mine")
    _, asked = ask(
        giving.give_back(held, KexecOptions(), op),
        refused(),
        done("mine\n"),
        done(),  # the order
        done(),  # a pause
        done("mine\n"),  # it is still there
        done(),
        refused(),
    )
    assert [command.argv[-1] for command in asked if command.argv[-1] == "reboot"] == ["reboot"]


def test_an_order_that_got_lost_is_given_again(op: Operation) -> None:
    """A node that is out of reach for a moment is not gone."""
    held = station(op, held=True, node="a", instance="mine", folder="/dev/shm/nxc-kexec")
    ours, gone = done("mine\n"), refused()
    _, asked = ask(
        giving.give_back(held, KexecOptions(), op),
        refused(),
        *(ours, gone, done()),  # a pause follows each
        *(gone, gone, done()),  # neither it nor the former system answers
        *(ours, done(), done(), gone),
    )
    assert [command.argv[-1] for command in asked if command.argv[-1] == "reboot"] == ["reboot"] * 2


def test_a_node_that_is_too_slow_to_hear_the_order_is_not_gone(op: Operation) -> None:
    held = station(op, held=True, node="a", instance="mine", folder="/dev/shm/nxc-kexec")
    ours, late = done("mine\n"), CommandError("it is late", argv=("ssh",), code=None)
    _, asked = ask(
        giving.give_back(held, KexecOptions(), op),
        refused(),
        *(ours, late, done()),  # a pause follows each
        *(late, refused(), done()),  # neither it nor the former system answers
        *(ours, done(), done(), refused()),
    )
    assert [command.argv[-1] for command in asked if command.argv[-1] == "reboot"] == ["reboot"] * 2
    ask(giving.leave_node(held, op, silent_is_gone=True), late, done(), late)


def test_a_node_that_died_may_be_started_again(op: Operation) -> None:
    held = station(op, held=True, node="a", instance="mine")
    assert ask(giving.leave_node(held, op, silent_is_gone=True), refused())[0] is None
    with pytest.raises(Trouble, match="cannot be told to reboot"):
        ask(giving.leave_node(held, op), refused())


def test_a_node_that_is_to_stay_is_left(op: Operation) -> None:
    held = station(op, held=True, node="a", instance="mine")
    _, asked = ask(giving.give_back(held, KexecOptions(release="leave"), op), refused(), done("mine"))
    assert len(asked) == 2


def test_what_answers_neither_way_stays_claimed(op: Operation) -> None:
    held = station(op, held=True, folder="/dev/shm/nxc-kexec")
    denied = refused("m1: Permission denied (publickey).")
    with pytest.raises(Trouble) as caught:
        ask(giving.give_back(held, KexecOptions(), op), refused(), denied)
    assert "it does not accept our key; /dev/shm/nxc-kexec may still be there" in caught.value.cause
    assert "`nxc down` again" in caught.value.hint


# What a look finds


def seen(
    op: Operation, one: Station, *answers: Completed | CommandError, ready: bool = False
) -> tuple[bool, str]:
    found, _ = ask(watch.Watch(KexecOptions())._ask(one, op, ready=ready), *answers)
    assert isinstance(found, Observation)
    return found.alive, f"{found.step}: {found.detail}"


def test_a_machine_in_its_former_system_is_no_node(op: Operation) -> None:
    one = station(op, held=True, node="a", boot="old")
    assert seen(op, one, done("new\n")) == (
        False,
        "boot: it returned to its former system: it has booted that, not the node",
    )
    alive, told = seen(op, one, done("old\nkexec -e ended with exit code 1\n"))
    assert (alive, told) == (
        False,
        "launch: it never left its former system, which still runs: kexec -e ended with exit code 1",
    )
    assert seen(op, one, refused()) == (True, ": "), "it may be booting"
    assert seen(op, one, done(f"Good morning!\n{watch.ASKED}\nold\n")) == (
        False,
        "launch: it never left its former system, which still runs",
    )
    assert seen(op, one, done("Good morning!\n" + watch.ASKED)) == (True, ": "), "it was about to go"


def test_a_node_that_was_ready_and_is_silent_is_lost(op: Operation) -> None:
    one = station(op, held=True, node="a", boot="old")
    assert seen(op, one, done(), ready=True) == (True, ": ")
    assert seen(op, one, refused(), refused(), ready=True) == (
        False,
        ": no ssh server answers at port 2200 any more",
    )
    assert seen(op, one, refused(), done("new"), ready=True)[0] is False


def test_a_node_is_looked_for_where_it_is_bound_now(op: Operation) -> None:
    new, old = station(op, node="a"), station(op, node="a")
    old = evolve(old, contact=evolve(old.contact, name="m0"))
    for order in ((new, old), (old, new)):
        assert claims.by_node(order, {"a": "m1"}) == {"a": new}
    assert claims.by_node([old, station(op)], {}) == {"a": old}


def test_one_look_serves_all_nodes(op: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    op.journal.outcome(Outcome(node="a", state=NodeState.READY))
    looks = []

    def look(self: watch.Watch, stations: object, op: Operation) -> dict[str, Observation]:
        looks.append(stations)
        return {"a": Observation(alive=False, detail="gone")}

    monkeypatch.setattr(watch.Watch, "_look", look)
    watching = watch.Watch(KexecOptions())
    assert not watching.observe("a", dict, op).alive
    assert watching.observe("b", dict, op).alive
    assert not watching.observe("a", dict, op).alive
    assert len(looks) == 1
    watching.launched("a")
    assert watching.observe("a", dict, op).alive, "what was seen before it was started again does not count"


def test_who_asks_while_another_looks_is_told_what_that_finds(
    op: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where many nodes are looked at side by side: all of them, not one, may be dead."""
    looking, go_on = threading.Event(), threading.Event()

    def look(self: watch.Watch, stations: object, op: Operation) -> dict[str, Observation]:
        looking.set()
        assert go_on.wait(60)
        return {node: Observation(alive=False, detail="gone") for node in "ab"}

    monkeypatch.setattr(watch.Watch, "_look", look)
    watching = watch.Watch(KexecOptions())
    with ThreadPoolExecutor() as pool:
        first = pool.submit(watching.observe, "a", dict, op)
        assert looking.wait(60)
        op.outcome(Outcome(node="b", state=NodeState.READY))  # however short ago it was started
        watching._launched |= {"b": time.monotonic(), "c": time.monotonic()}
        second = pool.submit(watching.observe, "b", dict, op)
        assert watching.observe("c", dict, op).alive, "one that is booting is not waited for"
        go_on.set()
        assert not first.result(60).alive
        assert not second.result(60).alive


# Telling nodes of others


def test_a_map_of_hosts_is_told_from_another() -> None:
    document = NodeDocument(deployment="d", instance="i", node="a", role="r", hosts={"a": ("10.0.0.1",)})
    same = evolve(document, node="b", instance="j")
    moved = evolve(document, hosts={"a": ("10.0.0.2",)})
    digests = [settling.digest_hosts(one) for one in (document, same, moved)]
    assert digests[0] == digests[1] != digests[2]
