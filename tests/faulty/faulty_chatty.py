"""A plugin whose import greets."""

from __future__ import annotations

NXC_API = 1

print("hello from a plugin")
