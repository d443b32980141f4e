"""How roles are dealt out to processes: time, processors and memory in balance."""

from __future__ import annotations

import pytest

from nxc_nixos.evaluation import ROLES_MOST, divide

ROLES = [f"role{number}" for number in range(40)]


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("count", range(41))
def test_every_role_is_in_one_group(count: int, processes: int) -> None:
    groups = divide(ROLES[:count], processes)
    assert sorted(role for group in groups for role in group) == sorted(ROLES[:count])
    assert all(groups)
    assert all(len(group) <= ROLES_MOST for group in groups)


def test_few_roles_stay_together_and_many_are_spread_evenly() -> None:
    sizes = {count: [len(group) for group in divide(ROLES[:count], 2)] for count in (2, 3, 10, 11, 20)}
    assert sizes == {2: [2], 3: [2, 1], 10: [5, 5], 11: [3, 3, 3, 2], 20: [5, 5, 5, 5]}
