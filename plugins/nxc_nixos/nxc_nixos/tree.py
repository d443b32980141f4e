"""What a result depends on, digested: by content what is edited, by size and times what is large."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

LARGEST = 1 << 20
"""Bytes of a file from which on its size and times stand for its content."""
SKIPPED = frozenset({".git", ".nxc", ".direnv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})
Marks = Mapping[str, str]
"""A mark per file and per folder (these end in ``/``), by the path below the root."""
_FOLDER = "folder"


def digest(value: Any) -> str:
    """Digest anything that JSON can say."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def stat_mark(path: Path | str) -> str:
    """Mark a file by what changes when it is changed; empty when it is not there."""
    try:
        return _stat_text(Path(path).stat())
    except OSError:
        return ""


def stat_marks(root: Path) -> Marks:
    """Mark all files below a folder without reading any."""
    return {_name(entry, root): _entry_mark(entry) for entry in _walk(root)}


def content_marks(root: Path, names: Iterable[str] | None = None) -> Marks:
    """Mark files below a folder by what is in them: all, or those that are named."""
    if names is not None:
        return {name: _content_mark(root / name) for name in names}
    return {_name(entry, root): _content_mark(Path(entry.path)) for entry in _walk(root)}


def stat_digest(root: Path) -> str:
    """Digest a folder by its files' sizes and times: thousands of files in a tenth of a second."""
    lines = sorted(f"{entry.path}\0{_entry_mark(entry)}" for entry in _walk(root))
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _walk(root: Path) -> Iterator[os.DirEntry[str]]:
    stack = [str(root)]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if entry.name in SKIPPED:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    yield entry
        except OSError:
            continue  # it went meanwhile, or is not ours to read: then Nix cannot read it either


def _name(entry: os.DirEntry[str], root: Path) -> str:
    return os.path.relpath(entry.path, root) + ("/" if entry.is_dir(follow_symlinks=False) else "")


def _entry_mark(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir(follow_symlinks=False):
            return _FOLDER  # its times change with what nxc itself puts there
        return _stat_text(entry.stat(follow_symlinks=False))
    except OSError:
        return ""


def _stat_text(seen: os.stat_result) -> str:
    return f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ino} {seen.st_ctime_ns}"


def _content_mark(path: Path) -> str:
    try:
        if path.is_symlink():
            return f"link {path.readlink()}"
        if path.is_dir():
            return _FOLDER
        seen = path.stat()
        if seen.st_size > LARGEST:
            return _stat_text(seen)
        executable = "x" if seen.st_mode & 0o100 else "-"
        return f"{executable} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError:
        return ""
