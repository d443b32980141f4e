"""Many nodes are waited for at once: those that hang delay nobody, and each is named at its deadline."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from nxc_core import probing, reaching
from nxc_core.connect import Connection
from nxc_core.errors import Interrupted
from nxc_core.model import ExecEndpoint, Gateway, Machine, Node, NodeState, Plan, SshEndpoint
from nxc_core.operation import Operation
from nxc_core.probing import Prober, can_probe
from nxc_core.process import Completed
from tests.fake_machines import Machines, Speaker, plan_of
from tests.operations import operation_in


@pytest.fixture
def op(tmp_path: Path) -> Operation:
    return operation_in(tmp_path, "d")


def endpoint(host: str, port: int, gateway: Gateway | None = None) -> SshEndpoint:
    return SshEndpoint(
        host=host,
        port=port,
        user="root",
        identity=Path("/k"),
        known_hosts=Path("/h"),
        alias="a",
        gateway=gateway,
    )


@contextlib.contextmanager
def server(banner: bytes | None) -> Iterator[int]:
    """Listen; say ``banner`` to whoever comes, or nothing ever."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as door:
        links: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    link, _ = door.accept()
                    links.append(link)
                    if banner is not None:
                        link.sendall(banner)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)
        thread.join()
        for link in links:
            link.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
    return port


def answers(prober: Prober, count: int) -> dict[str, bool]:
    told: dict[str, bool] = {}
    end = time.monotonic() + 60
    while len(told) < count and time.monotonic() < end:
        told |= prober.turn(0.05)
    return told


def test_who_answers_is_told_once_each() -> None:
    with (
        server(b"SSH-2.0-x\r\n") as good,
        server(b"220 ftp\r\n") as other,
        server(None) as mute,
        Prober() as it,
    ):
        for name, port in (("good", good), ("other", other), ("mute", mute), ("closed", closed_port())):
            it.knock(name, endpoint("127.0.0.1", port))
        assert answers(it, 4) == {"good": True, "other": False, "mute": False, "closed": False}
        assert it.turn(0.05) == {}


def test_a_mute_server_does_not_delay_another() -> None:
    with server(b"SSH-2.0-x\r\n") as good, server(None) as mute, Prober() as prober:
        prober.knock("mute", endpoint("127.0.0.1", mute))
        prober.knock("good", endpoint("127.0.0.1", good))
        assert answers(prober, 1) == {"good": True}


@pytest.mark.parametrize(
    ("found", "can"),
    [
        (endpoint("127.0.0.1", 22), True),
        (endpoint("::1", 22), True),
        (endpoint("some.host", 22), True),
        (endpoint("127.0.0.1", 22, gateway=Gateway(host="gate")), False),
        (ExecEndpoint(prefix=("env",)), False),
    ],
)
def test_what_can_be_knocked_at(found: SshEndpoint | ExecEndpoint, can: bool) -> None:
    assert can_probe(found) is can


def test_a_name_that_nobody_can_look_up_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the name server does not answer: each look takes longer than this test."""
    asked, released = threading.Event(), threading.Event()
    real = probing._look_up

    def look_up(host: str) -> list[str]:
        if host == "nowhere":
            asked.set()
            released.wait(600)
        return real(host)

    monkeypatch.setattr(probing, "_look_up", look_up)
    with server(b"SSH-2.0-x\r\n") as good, Prober() as prober:
        for _ in range(20):
            prober.knock("dark", endpoint("nowhere", 22))
            assert prober.turn(0.0)["dark"] is False
        told: dict[str, bool] = {}
        while not told.get("good"):
            prober.knock("good", endpoint("localhost", good))
            told = answers(prober, 1)
        assert asked.is_set()
    released.set()


def test_every_address_of_a_name_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_look_up", lambda host: ["127.0.0.9", "127.0.0.1"])
    with server(b"SSH-2.0-x\r\n") as good, Prober() as prober:
        told: list[bool] = []
        while len(told) < 4:
            prober.knock("one", endpoint("some.host", good))
            told.append(answers(prober, 1)["one"])
    assert told in ([False, True] * 2, [False, False, True, False])  # the first look may come too early


def test_the_card_of_an_address_that_holds_on_a_link_alone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[Any] = []

    class Recorded(socket.socket):
        def connect_ex(self, place: Any) -> int:
            places.append(place)
            return super().connect_ex(place)

    with Prober() as prober:
        monkeypatch.setattr(socket, "socket", Recorded)
        prober.knock("link", endpoint("fe80::1%lo", 22))
        prober.knock("none", endpoint("fe80::1%no-such-card", 22))
        assert answers(prober, 2) == {"link": False, "none": False}
    assert [place[3] for place in places] == [socket.if_nametoindex("lo")]


class Stuck(Machines):
    """Nodes on machines that hang take an ask, and give it back only when everybody is released."""

    def __init__(self, count: int, **behaviour: str) -> None:
        super().__init__(count, **behaviour)
        self.release_all = threading.Event()

    def awake(self, node: Node, op: Operation) -> bool:
        return True

    def connect(self, node: Node, op: Operation) -> Connection:
        assert isinstance(node.endpoint, ExecEndpoint)
        if self.behaviour.get(node.machine) == "hangs":
            return Waits(self.release_all)  # type: ignore[return-value]
        return Speaker(node.endpoint.prefix[0], False)  # type: ignore[return-value]


class Waits:
    def __init__(self, released: threading.Event) -> None:
        self.released = released

    def run(self, argv: Sequence[str], **_: Any) -> Completed:
        self.released.wait(600)
        return Completed(argv=tuple(argv), code=0)


def test_nodes_that_hang_are_named_though_their_asks_never_end(
    op: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many hang as are asked at once, and one more: had one been waited for, this would not end."""
    monkeypatch.setattr(reaching, "ASKERS", 4)
    monkeypatch.setattr(reaching, "LAST_TRY", 0.2)
    flavour = Stuck(8, **{f"m{number}": "hangs" for number in range(4, 9)})
    flavour.patience = 3.0  # type: ignore[misc]
    names = [f"n{number}" for number in range(1, 9)]
    plan = bound(plan_of(*names))
    flavour.deploy(plan, op)
    try:
        reaching.reach(flavour, plan, op)
    finally:
        flavour.release_all.set()
    found = op.journal.outcomes()
    assert [found[name].state.value for name in names] == ["ready"] * 3 + ["failed"] * 5
    assert found["n8"].cause.startswith("not ready after 3 s")
    assert (found["n8"].machine, found["n8"].step) == ("m8", "boot")


def test_a_node_is_not_late_because_nobody_looked(op: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nxc itself is stopped, by Ctrl-Z or a busy machine: the node has booted meanwhile."""
    for name, seconds in (("AWAY", 1.0), ("LAST_TRY", 0.0)):
        monkeypatch.setattr(reaching, name, seconds)
    flavour, mark, looks = Stuck(1), op.journal.mark, 0
    flavour.patience = 1.0  # type: ignore[misc]

    def stopped() -> int:
        nonlocal looks
        looks += 1
        time.sleep(3 if looks == 2 else 0)
        return mark()

    plan = bound(plan_of("n1"))
    flavour.deploy(plan, op)
    monkeypatch.setattr(flavour, "awake", lambda node, op: looks > 2)
    monkeypatch.setattr(op.journal, "mark", stopped)
    reaching.reach(flavour, plan, op)
    assert op.journal.outcomes()["n1"].state is NodeState.READY


def bound(plan: Plan) -> Plan:
    nodes = tuple(evolve(spec, machine=spec.name.replace("n", "m")) for spec in plan.nodes)
    return evolve(plan, nodes=nodes, all_nodes=nodes, machines=tuple(Machine(name=s.machine) for s in nodes))


class Knocked(Machines):
    """Nodes behind ssh servers; counts those that are asked."""

    def __init__(self, ports: dict[str, int]) -> None:
        super().__init__(len(ports))
        self.ports = ports
        self.asks: list[str] = []

    def deploy(self, plan: Plan, op: Operation) -> None:
        for spec in plan.nodes:
            there = endpoint("127.0.0.1", self.ports[spec.name])
            op.node(Node(name=spec.name, role=spec.role, machine=spec.machine, endpoint=there))

    def connect(self, node: Node, op: Operation) -> Connection:
        self.asks.append(node.name)
        return Speaker(f"instance-of-{node.name}", False)  # type: ignore[return-value]


def test_a_hundred_mute_servers_delay_nobody_and_are_never_asked(op: Operation) -> None:
    with server(b"SSH-2.0-x\r\n") as good, server(None) as mute:
        ports = {f"n{number}": mute for number in range(1, 101)} | {"n101": good}
        flavour = Knocked(ports)
        flavour.patience = 1.0  # type: ignore[misc]
        plan = bound(plan_of(*ports))
        flavour.deploy(plan, op)
        reaching.reach(flavour, plan, op)
    found = op.journal.outcomes()
    assert flavour.asks == ["n101"]
    assert found["n101"].state is NodeState.READY
    lost = [found[f"n{number}"] for number in range(1, 101)]
    assert {one.state for one in lost} == {NodeState.FAILED}
    assert {one.cause for one in lost} == {f"not ready after 1 s: no ssh server answers at 127.0.0.1:{mute}"}


def test_an_interrupt_ends_the_asks_that_run(op: Operation) -> None:
    class Runs(Machines):
        def connect(self, node: Node, op: Operation) -> Connection:
            runs = Running(op)
            threading.Timer(0.2, real.cancel.set).start()
            return runs  # type: ignore[return-value]

    class Running:
        def __init__(self, op: Operation) -> None:
            self.op = op

        def run(self, argv: Sequence[str], **_: Any) -> Completed:
            return self.op.run(("sleep", "600"))

    real = op
    plan = bound(plan_of("n1"))
    flavour = Runs(1)
    flavour.deploy(plan, op)
    with pytest.raises(Interrupted):
        reaching.reach(flavour, plan, op)


def test_what_goes_wrong_while_asking_is_raised(op: Operation) -> None:
    class Broken(Machines):
        def connect(self, node: Node, op: Operation) -> Connection:
            raise RuntimeError("a bug")

    plan = bound(plan_of("n1"))
    flavour = Broken(1)
    flavour.deploy(plan, op)
    with pytest.raises(RuntimeError, match="a bug"):
        reaching.reach(flavour, plan, op)
