"""Who takes the image from whom. Decides, and does nothing: relays are told what follows by ``broadcast``.

Machines stand in a row. The first is sent the image by us, each other takes it from the one before it while
that still receives. Instead of a link that is dead, slow or corrupts one leads to another machine that stands
before; a machine that holds up those behind it goes to the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Final

from attrs import define, field

OURSELVES: Final = ""
"""Stands for us, who send over ssh."""
STRANGERS = 3
"""How many machines may be tried in vain until one is sent the image by us."""
SPOILS = 3
"""How often a machine may receive something else than the image."""
STALL, WINDOW = 10.0, 4.0
"""Seconds without a byte, and those over which speed is measured."""
SLOW = 4.0
"""How many times slower than the fastest a link must be to be left."""
PATIENCE = 60.0
"""Seconds that must be left, at the first machine's speed, for it to be worth trying another in its place."""


@define(eq=False)
class Member:
    """One machine, and how far it is. ``port`` is 0 while its relay does not run."""

    name: str
    address: str
    number: int = 0
    port: int = 0
    sizes: tuple[int, ...] = ()
    done: bool = False
    cause: str = ""
    late: bool = False
    linked: bool = False
    source: str = OURSELVES
    since: float = 0.0
    origins: set[str] = field(factory=set)
    spoils: int = 0
    drops: int = 0
    stalls: int = 0
    seen: deque[tuple[float, int]] = field(factory=deque)

    @property
    def have(self) -> int:
        """Return how many bytes it has."""
        return sum(self.sizes)

    @property
    def over(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self.done or bool(self.cause)

    def at(self, now: float) -> int:
        """Return how many bytes it had at a time; of before it was looked at, nothing is known but 0."""
        return next((have for time, have in reversed(self.seen) if time <= now), 0)


class Chain:
    """The row of machines, and what is known against each link."""

    def __init__(self, total: int, *, fanout: int = 1) -> None:
        self.total = total
        self.fanout = fanout
        self.order: list[Member] = []
        self.bad: set[tuple[str, str]] = set()
        self.doubts: set[tuple[str, str]] = set()
        self.fastest = 0.0
        self.trials = 0

    # Who is there

    def join(self, member: Member) -> None:
        """Let a machine in: behind the others, before those that held others up."""
        place = len(self.order) if member.late else sum(not other.late for other in self.order)
        self.order.insert(place, member)

    def sort(self) -> None:
        """Put those first that have most, so that the least is sent; else those with the smallest number."""
        self.order.sort(key=lambda member: (-member.have, member.number))

    def leave(self, member: Member) -> None:
        """Take a machine out whose relay has ended; what was known about its links is of no use any more."""
        self.order = [other for other in self.order if other is not member]
        member.port, member.linked = 0, False
        self.bad = {link for link in self.bad if link[0] != member.name}
        for other in self.order:
            if other.source == member.name:
                other.linked = False

    def put_last(self, member: Member) -> None:
        """Let nobody wait for this one any more."""
        self.order.remove(member)
        member.late, member.linked = True, False
        self.order.append(member)

    # Who takes from whom

    def arrange(self) -> Iterator[tuple[Member, Member | None]]:
        """Yield whom each machine has to turn to, where that changes; None is us."""
        for index, member in enumerate(self.order):
            if member.have >= self.total or member.over:
                continue
            found = self._find(index, member)
            name = OURSELVES if found is None else found.name
            if not member.linked or member.source != name:
                member.linked, member.source = True, name
                yield member, found

    def _find(self, index: int, member: Member) -> Member | None:
        if sum(link[1] == member.name for link in self.bad) >= STRANGERS:
            return None
        nearest = (index - 1) // self.fanout
        before = (self.order[place] for place in range(nearest, -1, -1))
        whole = (other for other in self.order[index + 1 :] if other.done)
        for other in chain(before, whole):
            if (other.name, member.name) not in self.bad and self._is_trusted(other):
                return other
        return None

    def _is_trusted(self, member: Member) -> bool:
        """Whether no two machines got little or damage from this one, and where it is is known."""
        return bool(member.address) and sum(link[0] == member.name for link in self.doubts) < 2

    def start_link(self, member: Member, now: float) -> None:
        """Note that bytes come from another place from now on."""
        member.since = now
        member.origins.add(member.source)
        member.seen.append((now, member.have))

    def lose(self, member: Member) -> None:
        """Note that a machine cannot take from where it was told to."""
        self.bad.add((member.source, member.name))
        member.linked = False

    # What is wrong

    def note(self, member: Member, sizes: tuple[int, ...], now: float) -> None:
        """Note how far a machine is."""
        member.sizes = sizes
        member.seen.append((now, member.have))
        while member.seen and member.seen[0][0] < now - 2 * STALL:
            member.seen.popleft()

    def spoil(self, member: Member) -> list[Member]:
        """Note that what a machine has is not the image; answers all that may have the same, and itself."""
        self.doubts = {link for link in self.doubts if link[0] != member.name}
        self._doubt(member)
        member.spoils += 1
        if member.spoils >= SPOILS:
            member.cause = f"received something else than the image {SPOILS} times"
        found = [member]
        for one in found:
            found += [o for o in self.order if one.name in o.origins and o not in found and not o.done]
        for one in found:
            one.linked = False
            one.drops += 1
            one.sizes = (0,) * len(one.sizes)
            one.origins.clear()
            one.seen.clear()
        return found

    def judge(self, now: float) -> Member | None:
        """Look for one machine that gets too little, put it last, and return it."""
        known = {member.name: member for member in self.order}
        for member in self.order:
            if member.linked and not member.over and member.have < self.total:
                source = None if member.source == OURSELVES else known.get(member.source)
                if self._holds_up(member, source, now):
                    self.put_last(member)
                    return member
        return None

    def _holds_up(self, member: Member, source: Member | None, now: float) -> bool:
        age = now - member.since
        speed = self._measure(member, now) if age >= WINDOW else None
        if age >= STALL and member.at(now - STALL) == member.have and _had_more(source, member, now - STALL):
            member.stalls += 1
            self._doubt(member)
            return True
        if speed is None:
            return False
        self.fastest = max(self.fastest, speed)
        left = (self.total - member.have) / max(speed, 1.0)
        if member.late:
            return False
        if source is None:
            return self._is_trial_due(left)
        if speed < self.fastest / SLOW and left > WINDOW and _had_more(source, member, now - WINDOW):
            self._doubt(member)
            return True
        return False

    def _measure(self, member: Member, now: float) -> float:
        return (member.have - member.at(now - WINDOW)) / WINDOW

    def _is_trial_due(self, left: float) -> bool:
        """Whether to try another first machine: that of a slow one is not told from our own being slow."""
        if left < PATIENCE or self.trials >= 2 or not any(not other.late for other in self.order[1:]):
            return False
        self.trials += 1
        return True

    def _doubt(self, member: Member) -> None:
        self.bad.add((member.source, member.name))
        if member.source != OURSELVES:
            self.doubts.add((member.source, member.name))


def _had_more(source: Member | None, member: Member, then: float) -> bool:
    """Whether all that a machine got since could have come at once: it waits for its link, not for others."""
    return source is None or source.at(then) > member.have
