"""nxc: one composition, every platform. What is not exported here is private to nxc."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nxc_core.base import Base
    from nxc_core.errors import (
        BuildError,
        CommandError,
        ConfigError,
        DeployError,
        Interrupted,
        NxcError,
        PluginError,
        PreflightError,
        StateError,
        TeardownError,
        TestFailed,
        UsageError,
    )
    from nxc_core.flavour import Flavour
    from nxc_core.hookspecs import API_VERSION, BaseEntry, FlavourEntry, hookimpl
    from nxc_core.operation import Operation
    from nxc_core.running import Running
    from nxc_core.session import Session

__version__ = "0.1.0"

_HOME = {
    "API_VERSION": "hookspecs",
    "Base": "base",
    "BaseEntry": "hookspecs",
    "BuildError": "errors",
    "CommandError": "errors",
    "ConfigError": "errors",
    "DeployError": "errors",
    "Flavour": "flavour",
    "FlavourEntry": "hookspecs",
    "Interrupted": "errors",
    "NxcError": "errors",
    "Operation": "operation",
    "PluginError": "errors",
    "PreflightError": "errors",
    "Running": "running",
    "Session": "session",
    "StateError": "errors",
    "TeardownError": "errors",
    "TestFailed": "errors",
    "UsageError": "errors",
    "hookimpl": "hookspecs",
}

__all__ = [
    "API_VERSION",
    "Base",
    "BaseEntry",
    "BuildError",
    "CommandError",
    "ConfigError",
    "DeployError",
    "Flavour",
    "FlavourEntry",
    "Interrupted",
    "NxcError",
    "Operation",
    "PluginError",
    "PreflightError",
    "Running",
    "Session",
    "StateError",
    "TeardownError",
    "TestFailed",
    "UsageError",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    """Import on first use: `nxc --version` needs none of it."""
    if name in _HOME:
        return getattr(import_module(f"nxc_core.{_HOME[name]}"), name)
    raise AttributeError(name)
