"""The conformance kit: subclass ``FlavourContract`` or ``BaseContract``, name your driver, and run pytest.

It needs pytest, which nxc itself does not.
"""

from __future__ import annotations

from nxc_core.testing.base import BaseContract
from nxc_core.testing.flavour import FlavourContract
from nxc_core.testing.workbench import Crash, Plug, Tapped, Watch, Workbench

__all__ = ["BaseContract", "Crash", "FlavourContract", "Plug", "Tapped", "Watch", "Workbench"]
