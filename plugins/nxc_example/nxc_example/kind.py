"""The kind on which this base and this flavour meet; the vocabulary of kinds is open."""

from __future__ import annotations

from nxc_core.model import Kind

PROCESS_TREE = Kind("process-tree")
"""``<role>``: a folder with the role's files."""
