"""A plugin whose import takes a heavy library along, and a second of work."""

from __future__ import annotations

import time
from importlib import import_module

NXC_API = 1

import_module("execo")
_end = time.process_time() + 0.4
while time.process_time() < _end:
    pass
