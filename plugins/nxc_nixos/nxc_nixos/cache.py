"""What was evaluated, by the digest of everything it depends on; and what could not be digested."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from attrs import frozen

from nxc_nixos.tree import digest

SCHEMA = "nxc.nixos.cache/2"


@frozen(kw_only=True)
class Cache:
    """A folder of small documents. A damaged one counts as absent, an unwritable one is no loss."""

    folder: Path

    def get(self, kind: str, key: Any) -> Any:
        """Return what was kept under a key; None when there is nothing."""
        with contextlib.suppress(OSError, ValueError):
            document = json.loads(self._path(kind, key).read_text(encoding="utf-8"))
            if isinstance(document, dict) and document.get("schema") == SCHEMA:
                value = document.get("value")
                return value if document.get("digest") == digest(value) else None
        return None

    def put(self, kind: str, key: Any, value: Any) -> None:
        """Keep something under a key."""
        path = self._path(kind, key)
        aside = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                document = {"schema": SCHEMA, "value": value, "digest": digest(value)}
                aside.write_text(json.dumps(document, sort_keys=True))
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)

    def _path(self, kind: str, key: Any) -> Path:
        return self.folder / kind / f"{digest(key)[:40]}.json"
