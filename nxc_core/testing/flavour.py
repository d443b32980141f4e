"""The contract of a flavour, as tests."""

from __future__ import annotations

from nxc_core.testing.binding import BindingContract
from nxc_core.testing.life import LifeContract
from nxc_core.testing.offers import OffersContract
from nxc_core.testing.trouble import TroubleContract


class FlavourContract(LifeContract, TroubleContract, OffersContract, BindingContract):
    """Subclass it in your tests; ``FlavourHooks`` says what to name and what may be overridden.

    A deployment is started about fifteen times, and twice per claim without waiting for its nodes.
    """

    __test__ = False
