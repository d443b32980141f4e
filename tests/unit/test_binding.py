"""Machines are not nodes: bound late, by the journal; bound again where a machine proves bad."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from nxc_core import binding, identity, lifecycle, state
from nxc_core.errors import DeployError, Interrupted, PreflightError
from nxc_core.model import (
    Composition,
    Deployment,
    Event,
    Machine,
    Network,
    Node,
    NodeDocument,
    NodeState,
    Outcome,
    Plan,
    Role,
    SshEndpoint,
)
from nxc_core.operation import Operation
from nxc_core.state import Journal
from tests.fake_machines import Addressed, Machines, Own, plan_of
from tests.operations import operation_in

told: list[Event] = []


@pytest.fixture
def op(tmp_path: Path) -> Operation:
    told.clear()
    return operation_in(tmp_path, "d", hear=told.append)


def states(op: Operation) -> dict[str, str]:
    return {name: outcome.state.value for name, outcome in op.journal.outcomes().items()}


def test_nodes_are_bound_in_order_and_all_are_ready(op: Operation) -> None:
    flavour = Machines(3)
    lifecycle.nxc_deploy(flavour, plan_of("a", "b", spares=1), op)
    assert flavour.deployed == [{"a": "m1", "b": "m2"}]
    assert flavour.asked == [(2, 1)]
    assert states(op) == {"a": "ready", "b": "ready"}
    assert op.journal.bindings() == {"a": "m1", "b": "m2"}
    assert op.journal.outcomes()["a"].machine == "m1"
    assert flavour.settled == [("a", "b")]
    assert [event for event in told if event.topic in ("warning", "quarantine")] == []


@pytest.mark.parametrize(
    ("how", "step", "cause"),
    [("fails", "load", "no kexec"), ("dies", "return", "it returned to its former system")],
)
def test_a_spare_takes_the_place_of_a_machine_that_fails(
    op: Operation, how: str, step: str, cause: str
) -> None:
    flavour = Machines(4, m2=how, m3=how)
    lifecycle.nxc_deploy(flavour, plan_of("a", "b", spares=2), op)
    assert flavour.deployed == [{"a": "m1", "b": "m2"}, {"b": "m3"}, {"b": "m4"}]
    assert flavour.known == [("a", "b")] * 3
    assert states(op) == {"a": "ready", "b": "ready"}
    bad = op.journal.quarantined()
    assert {name: (one.step, one.cause) for name, one in bad.items()} == {
        "m2": (step, cause),
        "m3": (step, cause),
    }
    assert op.journal.nodes()["b"].machine == "m4"
    assert f"m2 is left out: {cause}" in [event.message for event in told]
    assert ("b", "goes to m3") in [(event.node, event.message) for event in told]


def test_a_machine_that_hangs_is_replaced_after_its_deadline(op: Operation) -> None:
    flavour = Machines(2, m1="hangs")
    flavour.patience = 0.3  # type: ignore[misc]
    (op.dir / "a.log").write_text("Kernel panic\n")
    lifecycle.nxc_deploy(flavour, plan_of("a", spares=1), op)
    assert flavour.deployed == [{"a": "m1"}, {"a": "m2"}]
    bad = op.journal.quarantined()["m1"]
    assert (bad.step, bad.cause, bad.last_line) == (
        "boot",
        "not ready after 0 s: it says nothing",
        "Kernel panic",
    )


def test_others_are_not_waited_for_before_a_spare_is_taken(op: Operation) -> None:
    """The one that hangs has a long deadline: had it been waited for, this would take a minute."""
    flavour = Machines(3, m1="hangs", m2="dies")
    seen: list[str] = []

    def stop(event: Event) -> None:
        if event.topic == "bind":
            seen.append(event.message)
            op.cancel.set()

    watched = evolve(op, emit=stop)
    with pytest.raises(Interrupted):
        lifecycle.nxc_deploy(flavour, plan_of("a", "b", spares=1), watched)
    assert seen == ["goes to m3"]


def test_a_retry_comes_once_no_spare_is_left(op: Operation) -> None:
    flavour = Machines(2, m1="fails", m2="heals")
    lifecycle.nxc_deploy(flavour, plan_of("a", spares=1, retries=1), op)
    assert flavour.deployed == [{"a": "m1"}, {"a": "m2"}, {"a": "m2"}]
    assert states(op) == {"a": "ready"}
    assert list(op.journal.quarantined()) == ["m1"]


def test_retries_end(op: Operation) -> None:
    flavour = Machines(1, m1="fails")
    lifecycle.nxc_deploy(flavour, plan_of("a", retries=2), op)
    assert flavour.deployed == [{"a": "m1"}] * 3
    found = op.journal.outcomes()["a"]
    assert (found.state, found.cause, found.machine, found.step) == ("failed", "no kexec", "m1", "load")
    assert op.journal.quarantined() == {}
    assert flavour.settled == [()]


def test_a_flavour_that_makes_its_machines_tries_again_with_all_there_is(op: Operation) -> None:
    """It writes networks or files for all nodes; what is left of the bad one is cut off first."""
    flavour = Own()
    lifecycle.nxc_deploy(flavour, plan_of("good", "bad", retries=1), op)
    assert flavour.deployed == [["good", "bad"]] * 2
    assert flavour.crashed == ["bad"]
    assert states(op) == {"good": "ready", "bad": "ready"}
    assert op.journal.bindings() == {}


def test_without_policy_a_failure_is_final(op: Operation) -> None:
    flavour = Machines(2, m2="dies")
    lifecycle.nxc_deploy(flavour, plan_of("a", "b"), op)
    assert flavour.deployed == [{"a": "m1", "b": "m2"}]
    assert states(op) == {"a": "ready", "b": "failed"}
    assert flavour.settled == [("a",)]


def test_a_machine_that_is_unfit_is_never_bound(op: Operation) -> None:
    flavour = Machines(3, m1="unfit")
    lifecycle.nxc_deploy(flavour, plan_of("a", "b", spares=1), op)
    assert flavour.deployed == [{"a": "m2", "b": "m3"}]
    warnings = [event.message for event in told if event.topic == "warning"]
    assert warnings == ["there are 0 spare machines of the 1 that were asked for"]


def test_others_are_asked_for_in_place_of_the_unfit(op: Operation) -> None:
    flavour = Machines(2, m1="unfit", m3="unfit")
    flavour.more = ["m3", "m4", "m5"]
    lifecycle.nxc_deploy(flavour, plan_of("a", "b"), op)
    assert flavour.deployed == [{"a": "m2", "b": "m4"}]
    assert flavour.more == ["m5"]
    assert (len(flavour.asked), flavour.waited) == (3, 3)


def test_a_flavour_without_others_is_not_waited_for_again(op: Operation) -> None:
    flavour = Machines(2, m1="unfit")
    with pytest.raises(DeployError):
        lifecycle.nxc_deploy(flavour, plan_of("a", "b"), op)
    assert (len(flavour.asked), flavour.waited) == (2, 1)


def test_too_few_machines_are_refused_with_both_numbers(op: Operation) -> None:
    with pytest.raises(PreflightError, match="3 machines are needed, and there are 2") as caught:
        lifecycle.nxc_deploy(Machines(2), plan_of("a", "b", "c"), op)
    assert "--min" in caught.value.hint
    assert op.journal.bindings() == {}


def test_too_many_unfit_machines_are_named_with_their_causes(op: Operation) -> None:
    with pytest.raises(DeployError, match="2 machines are needed, and 1 of 2 can be used") as caught:
        lifecycle.nxc_deploy(Machines(2, m2="unfit"), plan_of("a", "b"), op)
    assert "m2: no route to it" in caught.value.message


def test_the_minimum_gets_machines_first(op: Operation) -> None:
    flavour = Machines(3)
    plan = plan_of("client1", "client2", "client3", "server", minimum={"client": 1})
    lifecycle.nxc_deploy(flavour, plan, op)
    assert flavour.deployed == [{"client1": "m1", "client2": "m3", "server": "m2"}]
    left = op.journal.outcomes()["client3"]
    assert (left.state, left.cause, left.step) == (NodeState.FAILED, binding.NO_MACHINE, "bind")


def test_the_minimum_is_what_is_needed(op: Operation) -> None:
    with pytest.raises(PreflightError, match="3 machines are needed at least, and there are 2"):
        lifecycle.nxc_deploy(Machines(2), plan_of("c1", "c2", "c3", "s", minimum={"c": 2}), op)


def test_a_node_called_as_a_machine_goes_there(op: Operation) -> None:
    flavour = Machines(3)
    lifecycle.nxc_deploy(flavour, plan_of("a", "m1"), op)
    assert flavour.deployed == [{"a": "m2", "m1": "m1"}]


def test_a_resumed_start_keeps_its_binding(op: Operation) -> None:
    flavour = Machines(3, m1="fails")
    lifecycle.nxc_deploy(flavour, plan_of("a", "b", spares=1), op)
    assert op.journal.bindings() == {"a": "m3", "b": "m2"}
    op.journal.outcome(Outcome(node="b", state=NodeState.WAITING))  # as when it is found dead
    later = Machines(3)
    later.names.reverse()
    lifecycle.nxc_deploy(later, plan_of("a", "b", spares=1), op)
    assert later.deployed == [{"b": "m2"}]
    assert op.journal.bindings() == {"a": "m3", "b": "m2"}


def test_a_crash_between_quarantine_and_binding_is_made_good(op: Operation) -> None:
    """The node is still bound to the bad machine: the next start gives it another."""
    op.journal.bind({"a": "m1"})
    op.quarantine("m1", "it burnt")
    flavour = Machines(2)
    lifecycle.nxc_deploy(flavour, plan_of("a"), op)
    assert flavour.deployed == [{"a": "m2"}]


def test_binding_anew_voids_what_was_known_of_a_node(op: Operation) -> None:
    flavour = Machines(2, m1="dies")
    plan = binding.reserve(flavour, plan_of("a", spares=1), op)
    flavour.deploy(plan, op)
    op.outcome(Outcome(node="a", state=NodeState.FAILED, cause="dead"))
    assert "a" in op.journal.nodes()
    binding.Chances(flavour, op).take(plan, op.journal.outcomes()["a"])
    assert "a" not in op.journal.nodes()
    assert "a" not in op.journal.outcomes()
    assert Journal(op.journal.path).bindings() == {"a": "m2"}


def test_a_shared_connection_to_the_bad_machine_is_not_used_for_the_spare(op: Operation) -> None:
    """Its socket is named after the node: what is still there would lead to the wrong machine."""
    control = op.dir / "control"
    end = SshEndpoint(
        host="127.0.0.1",
        port=9,
        user="root",
        identity=Path("/k"),
        known_hosts=Path("/h"),
        alias="a",
        control=control,
    )
    flavour = Machines(2)
    plan = binding.reserve(flavour, plan_of("a", spares=1), op)
    op.node(Node(name="a", role="a", machine="m1", endpoint=end))
    control.touch()
    bad = Outcome(node="a", state=NodeState.FAILED, cause="dead")
    op.outcome(bad)
    assert binding.Chances(flavour, op).take(plan, bad).nodes[0].machine == "m2"
    assert not control.exists()


def test_a_machine_is_told_to_be_left_out_once(op: Operation) -> None:
    op.quarantine("m1", "it burnt", step="load")
    op.quarantine("m1", "it burns still")
    assert [event.message for event in told] == ["m1 is left out: it burnt"]
    assert op.journal.quarantined()["m1"].step == "load"


def deployment_of(flavour: Machines, *names: str) -> Deployment:
    specs = plan_of(*names).nodes
    return Deployment(
        id="d",
        name="n",
        composition=Composition(name="n", base="b", source=Path("/c"), roles=(Role(name="r"),)),
        groups=(),
        networks=(),
        specs=specs,
        instances={name: f"instance-of-{name}" for name in names},
    )


def read(plan: Plan, name: str) -> NodeDocument:
    assert plan.documents[name].stat().st_mode & 0o777 == 0o600
    return state.load(plan.documents[name], NodeDocument)


def test_where_the_platform_addresses_nodes_their_documents_say_so(op: Operation) -> None:
    flavour = Addressed(3, m2="dies")
    documents = identity.write_documents(op.dir, deployment_of(flavour, "a", "b"), flavour)
    plan = evolve(plan_of("a", "b", spares=1), documents=documents)
    assert read(plan, "a").interfaces == ()
    keys = {name: read(plan, name).host_key for name in documents}
    lifecycle.nxc_deploy(flavour, plan, op)
    assert flavour.deployed == [{"a": "m1", "b": "m2"}, {"b": "m3"}]
    networks = op.journal.networks()
    assert networks is not None
    assert networks[0].members == {"a": ("10.9.0.1",), "b": ("10.9.0.3",)}
    for name, own in (("a", "10.9.0.1"), ("b", "10.9.0.3")):
        document = read(plan, name)
        assert document.hosts == {
            "a": ("10.9.0.1",),
            "b": ("10.9.0.3",),
            "m1": ("10.9.0.1",),
            "m1.example.org": ("10.9.0.1",),
            "m3": ("10.9.0.3",),
            "m3.example.org": ("10.9.0.3",),
        }
        (card,) = document.interfaces
        assert (card.addresses, card.dhcp) == ((f"{own}/16",), True)
        assert document.host_key == keys[name]
        assert document.host_key


def test_what_the_platform_gave_survives_another_plan(op: Operation) -> None:
    """As that of a node that is booted again later, by another process."""
    flavour = Addressed(1)
    documents = identity.write_documents(op.dir, deployment_of(flavour, "a"), flavour)
    plan = evolve(plan_of("a"), documents=documents)
    lifecycle.nxc_deploy(flavour, plan, op)
    before, known = read(plan, "a"), (op.dir / "known_hosts").read_text()
    assert before.interfaces
    assert identity.write_documents(op.dir, deployment_of(flavour, "a"), flavour) == documents
    assert read(plan, "a") == before
    assert (op.dir / "known_hosts").read_text() == known


def test_a_node_name_stands_above_a_machine_name(op: Operation) -> None:
    flavour = Addressed(2)
    documents = identity.write_documents(op.dir, deployment_of(flavour, "m2", "m1"), flavour)
    op.journal.bind({"m1": "m2"})
    op.journal.bind({"m2": "m1"})
    lifecycle.nxc_deploy(flavour, evolve(plan_of("m2", "m1"), documents=documents), op)
    hosts = read(evolve(plan_of(), documents=documents), "m1").hosts
    assert (hosts["m1"], hosts["m2"]) == (("10.9.0.2",), ("10.9.0.1",))


def test_no_machine_is_localhost_to_nodes(op: Operation) -> None:
    """Many a machine takes itself for localhost, and one behind a forwarded port is called so."""
    flavour = Addressed(2)
    documents = identity.write_documents(op.dir, deployment_of(flavour, "a"), flavour)
    plan = evolve(plan_of("a"), documents=documents)
    machine = Machine(name="localhost", facts={"names": ["localhost.localdomain", "localhosts"]})
    nodes = tuple(evolve(spec, machine="localhost") for spec in plan.nodes)
    network = Network(name="lan", members={"a": ("10.9.0.1",)})
    plan = evolve(plan, nodes=nodes, all_nodes=nodes, machines=(machine,), networks=(network,))
    identity.rewrite_documents(plan, flavour)
    assert read(plan, "a").hosts == {"a": ("10.9.0.1",), "localhosts": ("10.9.0.1",)}
