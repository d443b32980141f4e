"""The contracts of the faulty drivers; ``tests/contract/test_faulty.py`` runs chosen tests of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from faulty_plugin import BASES, FLAVOURS, OFFERS, RESERVING

from nxc_core.model import Guest
from nxc_core.testing import BaseContract, FlavourContract

COMPOSITION = """
[roles.one.files]
"index.html" = "hello"
[roles.two]
"""


class FaultyFlavour(FlavourContract):
    """Two nodes. The fault is found soon, what is sound has time on a busy machine, too."""

    __test__ = False
    plugin = "faulty_plugin"
    base = "plain"
    settle = 0.5

    @pytest.fixture
    def composition(self, project: Path) -> Path:
        """Two roles, a node each."""
        path = project / "victims.toml"
        path.write_text(COMPOSITION)
        return path


class FaultyBase(BaseContract):
    """Two roles."""

    __test__ = False
    plugin = "faulty_plugin"
    guest = Guest(init=False, ssh=False)
    own_caches = True

    @pytest.fixture
    def composition(self, tmp_path: Path) -> Path:
        """Two roles."""
        path = tmp_path / "victims.toml"
        path.write_text(COMPOSITION)
        return path

    def change(self, composition: Path) -> None:
        """Another file."""
        composition.write_text(COMPOSITION.replace("hello", "hello again"))


for _name in (*FLAVOURS, *OFFERS):
    _limits = {"Blind": {"notice": 0.5}, "Unstoppable": {"stops_within": 0.5}}.get(_name, {})
    globals()[f"Test{_name}"] = type(f"Test{_name}", (FaultyFlavour,), {"flavour": _name.lower(), **_limits})
for _name in RESERVING:
    _records = ("claim", "node", "bind", "networks")
    _given = {"flavour": _name.lower(), "spares": 1, "crash_records": _records, "resumes": 4}
    globals()[f"Test{_name}"] = type(f"Test{_name}", (FaultyFlavour,), _given)
for _name in BASES:
    globals()[f"Test{_name}"] = type(f"Test{_name}", (FaultyBase,), {"base": _name.lower()})
for _name in ("Heavy", "Chatty", "Busy"):
    globals()[f"Test{_name}"] = type(
        f"Test{_name}", (FaultyFlavour,), {"flavour": "sound", "plugin": f"faulty_{_name.lower()}"}
    )


class TestAbsent(FaultyFlavour):
    """A flavour that no plugin offers."""

    flavour = "absent"
