"""Importing execo when it is first needed: it forks and starts threads as soon as it is imported."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

from nxc_core import PluginError, PreflightError

INSTALL = "pip install 'execo>=2.8,<3'"


def load(name: str = "execo") -> Any:
    """Return execo, or another package of its distribution.

    Raises PluginError in another thread than the main one, and PreflightError when something is missing.
    """
    if "execo" not in sys.modules and threading.current_thread() is not threading.main_thread():
        raise PluginError(
            "execo can be imported by the main thread alone",
            hint="write `import execo` at the top of your script, before it starts threads",
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        whole = missing == name.partition(".")[0]
        raise PreflightError(
            f"{name} is not installed" if whole else f"{name} needs the Python package {missing}",
            hint=INSTALL if whole else f"pip install {missing}",
        ) from error
