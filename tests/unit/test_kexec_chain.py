"""Who takes the image from whom, whatever happens."""

from __future__ import annotations

from hypothesis import given, strategies as st

from nxc_kexec.chain import OURSELVES, SPOILS, STALL, STRANGERS, WINDOW, Chain, Member

TOTAL = 1 << 29
MIB = 1 << 20


def make(count: int, *, fanout: int = 1) -> tuple[Chain, list[Member]]:
    chain = Chain(TOTAL, fanout=fanout)
    members = [
        Member(name=f"n{i}", address=f"10.0.0.{i}", number=i, port=1000 + i, sizes=(0,)) for i in range(count)
    ]
    for member in members:
        chain.join(member)
    return chain, members


def link(chain: Chain, now: float = 0.0) -> dict[str, str]:
    """Carry out what follows; answers who takes from whom."""
    for member, _ in chain.arrange():
        chain.start_link(member, now)
    return {member.name: member.source for member in chain.order if member.have < TOTAL}


def advance(chain: Chain, speeds: dict[str, float], start: float, seconds: int) -> list[Member]:
    """Let bytes flow at some speeds, as far as those before have them; answers who was put last."""
    found = []
    for second in range(1, seconds + 1):
        have = {member.name: member.have for member in chain.order}
        for member in list(chain.order):
            most = TOTAL if member.source == OURSELVES else have[member.source]
            more = int(speeds[member.name]) if member.linked else 0
            chain.note(member, (max(member.have, min(most, member.have + more)),), start + second)
        slow = chain.judge(start + second)
        if slow is not None:
            found.append(slow)
            link(chain, start + second)
    return found


def test_the_first_is_sent_it_and_each_other_takes_it_from_the_one_before() -> None:
    chain, _ = make(4)
    assert link(chain) == {"n0": OURSELVES, "n1": "n0", "n2": "n1", "n3": "n2"}
    assert list(chain.arrange()) == []


def test_a_tree_has_two_behind_each() -> None:
    chain, _ = make(6, fanout=2)
    assert link(chain) == {"n0": OURSELVES, "n1": "n0", "n2": "n0", "n3": "n1", "n4": "n1", "n5": "n2"}


def test_who_has_most_stands_first() -> None:
    chain, members = make(3)
    members[2].sizes = (TOTAL,)
    members[1].sizes = (5,)
    chain.sort()
    assert link(chain) == {"n1": "n2", "n0": "n1"}


def test_those_behind_one_that_leaves_go_to_the_one_before_it() -> None:
    chain, members = make(4)
    link(chain)
    chain.leave(members[1])
    assert link(chain) == {"n0": OURSELVES, "n2": "n0", "n3": "n2"}
    chain.leave(members[0])
    assert link(chain) == {"n2": OURSELVES, "n3": "n2"}


def test_a_machine_that_reaches_nobody_is_sent_it() -> None:
    chain, members = make(6)
    link(chain)
    tried = []
    while members[5].source != OURSELVES:
        tried.append(members[5].source)
        chain.lose(members[5])
        link(chain)
    assert tried == ["n4", "n3", "n2"] and len(tried) == STRANGERS


def test_equal_links_hold_nobody_up() -> None:
    chain, members = make(8)
    link(chain)
    assert advance(chain, {m.name: 12 * MIB for m in members}, 0, 60) == []
    assert chain.trials == 0


def test_a_slow_machine_goes_to_the_end_and_the_next_takes_its_place() -> None:
    chain, members = make(5)
    link(chain)
    speeds = {m.name: 12.0 * MIB for m in members} | {"n2": MIB}
    assert advance(chain, speeds, 0, 20) == [members[2]]
    assert {m.name: m.source for m in chain.order} == {
        "n0": OURSELVES, "n1": "n0", "n3": "n1", "n4": "n3", "n2": "n4",
    }  # fmt: skip
    late = Member(name="n9", address="10.0.0.9", number=9, port=9, sizes=(0,))
    chain.join(late)
    assert chain.order[-1] is members[2]


def test_a_link_without_a_byte_is_left_and_in_the_end_the_machine_too() -> None:
    chain, members = make(3)
    link(chain)
    speeds = {"n0": 12.0 * MIB, "n1": 0.0, "n2": 12.0 * MIB}
    found = advance(chain, speeds, 0, int(4 * STALL))
    assert set(found) == {members[1]} and members[1].stalls >= 2
    assert members[2].have > members[1].have == 0


def test_a_machine_from_which_nobody_gets_anything_is_not_asked_any_more() -> None:
    chain, members = make(5)
    link(chain)
    chain.doubts |= {("n1", "n2"), ("n1", "n3")}
    assert link(chain) == {"n0": OURSELVES, "n1": "n0", "n2": "n0", "n3": "n2", "n4": "n3"}


def test_nobody_takes_from_a_machine_of_which_no_address_is_known() -> None:
    chain, members = make(3)
    members[0].address = ""
    assert link(chain) == {"n0": OURSELVES, "n1": OURSELVES, "n2": "n1"}


def test_another_first_machine_is_tried_where_it_is_slow_but_not_for_ever() -> None:
    chain, members = make(6)
    link(chain)
    speeds = {m.name: 12.0 * MIB for m in members} | {"n0": 0.5 * MIB}
    assert advance(chain, speeds, 0, 60) == [members[0]]
    chain, members = make(6)
    link(chain)
    assert len(advance(chain, {m.name: MIB for m in members}, 0, 120)) == 2


def test_a_corrupted_file_is_dropped_wherever_it_went() -> None:
    chain, members = make(5)
    link(chain)
    for member in members:
        chain.note(member, (TOTAL,), 1)
    members[1].done = True
    dropped = chain.spoil(members[2])
    assert [member.name for member in dropped] == ["n2", "n3", "n4"]
    assert all(member.have == 0 and member.drops == 1 for member in dropped)
    assert link(chain) == {"n0": OURSELVES, "n2": "n0", "n3": "n2", "n4": "n3"} or members[0].have == TOTAL
    assert members[2].source == "n0"  # not again what came over that link
    assert members[2].cause == ""
    for _ in range(SPOILS - 1):
        chain.spoil(members[2])
    assert "something else" in members[2].cause


EVENTS = st.lists(
    st.tuples(st.sampled_from(["leave", "lose", "spoil", "last", "done", "judge"]), st.integers(0, 7)),
    max_size=30,
)


@given(events=EVENTS, fanout=st.integers(1, 3), count=st.integers(1, 8))
def test_bytes_always_come_from_here_in_the_end(
    events: list[tuple[str, int]], fanout: int, count: int
) -> None:
    """Following those from whom one takes leads to us, or to one that has all: never in a circle."""
    chain, members = make(count, fanout=fanout)
    link(chain)
    for now, (what, index) in enumerate(events):
        member = members[index % count]
        if member not in chain.order:
            if what == "done":
                member.port = 7
                chain.join(member)
        elif what == "leave":
            chain.leave(member)
        elif what == "lose" and member.linked:
            chain.lose(member)
        elif what == "spoil" and not member.done:
            chain.spoil(member)
        elif what == "last":
            chain.put_last(member)
        elif what == "done":
            chain.note(member, (TOTAL,), now)
            member.done = True
        elif what == "judge":
            chain.judge(now * WINDOW)
        link(chain, now)
        known = {member.name: member for member in chain.order}
        for one in chain.order:
            seen: set[str] = set()
            while not one.over and one.have < TOTAL and one.source != OURSELVES:
                assert one.name not in seen
                seen.add(one.name)
                one = known[one.source]


def test_what_is_known_of_a_machine_before_it_was_looked_at_is_nothing() -> None:
    member = Member(name="n", address="1.2.3.4")
    assert member.at(5) == 0
    member.seen.append((1, 10))
    assert (member.at(0.5), member.at(1), member.at(9)) == (0, 10, 10)
