"""What Nix tells while it works (``--log-format internal-json``), as events.

nix-output-monitor is not asked: it would take this log and the terminal, and nxc's own lines show the same.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import Factory, define, field

from nxc_core.operation import Operation

PREFIX = "@nix "
KEPT = 15
"""Lines of a builder's log that an error shows."""
PACE = 2.0
"""Seconds between two words about progress."""

_COPIES, _FETCH, _BUILDS, _BUILD, _SUBSTITUTE, _TREE = 103, 101, 104, 105, 108, 112
_LOG_LINE, _PHASE, _PROGRESS, _EXPECTED, _POST_LINE = 101, 104, 105, 106, 107
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_DERIVATION = re.compile(r"[0-9a-df-np-sv-z]{32}-(.+?)(\.drv)?$")
_UNREACHED = re.compile(r"unable to download '([^']+)': (.+?)(?: \(\d+\))?; retrying")
_WARNING = re.compile(r"(?:(?:trace: |evaluation )*warning: )+")
_UNTOLD = (
    "did not specify '--add-root'",
    "Git tree '",
    "download buffer is full",
    "not writing modified",
    "creating lock file",
)
_SURPLUS = ("(use '--show-trace'", "Try '")


def uncoloured(text: str) -> str:
    """Return a text without what steers a terminal."""
    return _COLOUR.sub("", text)


def records(text: str) -> list[dict[str, Any]]:
    """Return the records among a command's lines; what is torn or unknown is left out."""
    return [record for line in text.splitlines() if (record := read_record(line)) is not None]


def read_record(line: str) -> dict[str, Any] | None:
    """Read one line; None if it is no whole record."""
    if not line.startswith(PREFIX):
        return None
    try:
        record = json.loads(line[len(PREFIX) :])
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def title(path: str) -> str:
    """Name a store path as a person would: without its hash and ``.drv``."""
    match = _DERIVATION.search(path.rsplit("/", 1)[-1])
    return match[1] if match else path


def rendered(text: str) -> str:
    """Return what a person would have seen of a log: messages and the builders' lines, uncoloured."""
    lines = []
    for line in text.splitlines():
        record = read_record(line)
        if record is None:
            lines += [] if line.startswith(PREFIX) else [uncoloured(line)]
        elif record.get("action") == "msg":
            lines.append(uncoloured(str(record.get("msg", ""))))
        elif record.get("action") == "result" and record.get("type") in (_LOG_LINE, _POST_LINE):
            lines.append("  | " + uncoloured(" ".join(map(str, _fields(record)))))
    return "\n".join(lines)


def _fields(record: Mapping[str, Any]) -> list[Any]:
    found = record.get("fields")
    return found if isinstance(found, list) else []


@define
class _Activity:
    kind: int
    subject: str
    since: float = field(factory=time.monotonic)
    done: int = 0
    expected: int = 0


@define
class Log:
    """Hears a command's lines, tells what is going on, and keeps the last lines of every builder."""

    op: Operation
    tails: dict[str, deque[str]] = field(factory=dict)
    """The last lines of each derivation that was built, by its path."""
    _open: dict[int, _Activity] = field(factory=dict)
    _unreached: set[str] = field(factory=set)
    _told: float = 0.0
    _said: str = ""
    _pace: float = Factory(lambda: PACE)

    def line(self, line: str) -> None:
        """Take one line of either stream; never raises for what it does not know."""
        record = read_record(line)
        if record is None:
            return
        action, number = record.get("action"), record.get("id")
        if action == "msg":
            self._hear(record)
        elif action == "start" and isinstance(number, int):
            self._start(number, record)
        elif action == "result" and isinstance(number, int):
            self._result(number, record)
        elif action == "stop" and isinstance(number, int):
            self._stop(number)

    def _start(self, number: int, record: Mapping[str, Any]) -> None:
        kind, given = record.get("type"), _fields(record)
        if not isinstance(kind, int):
            return
        subject = str(given[0]) if given else str(record.get("text", ""))
        self._open[number] = _Activity(kind, subject)
        if kind == _BUILD:
            self.tails[subject] = deque(maxlen=KEPT)
            where = f" on {given[1]}" if len(given) > 1 and given[1] else ""
            self.op.step(f"building {title(subject)}{where}", topic="detail", derivation=subject)
        elif kind in (_SUBSTITUTE, _FETCH, _TREE):
            self.op.step(f"fetching {title(subject)}", topic="detail", source=subject)
        if kind in (_BUILD, _SUBSTITUTE, _FETCH, _TREE):
            self._tell()

    def _result(self, number: int, record: Mapping[str, Any]) -> None:
        activity, kind, given = self._open.get(number), record.get("type"), _fields(record)
        if activity is None:
            return
        if kind == _LOG_LINE and activity.subject in self.tails and given:
            self.tails[activity.subject].append(uncoloured(str(given[0])))
        elif kind == _PHASE and given:
            self.op.step(f"{title(activity.subject)}: {given[0]}", topic="detail")
        elif kind == _PROGRESS and len(given) >= 2 and all(isinstance(n, int) for n in given[:2]):
            activity.done, activity.expected = given[0], given[1]
            self._tell()

    def _stop(self, number: int) -> None:
        activity = self._open.pop(number, None)
        if activity is not None and activity.kind == _BUILD:
            seconds = round(time.monotonic() - activity.since, 3)
            self.op.step(f"left {title(activity.subject)}", topic="detail", seconds=seconds)

    def _hear(self, record: Mapping[str, Any]) -> None:
        text = uncoloured(str(record.get("msg", ""))).strip()
        is_error = "raw_msg" in record and record.get("level") == 0
        if is_error or not text or text.startswith(_SURPLUS):
            return  # an error: told when the command has ended
        unreached = _UNREACHED.search(text)
        if unreached:
            self._miss(*unreached.groups())
        elif warning := _WARNING.match(text):
            self._warn(text[warning.end() :])
        elif text.startswith("trace: "):
            self.op.step(text.removeprefix("trace: "), topic="print")
        else:
            self.op.step(text, topic="detail")

    def _warn(self, text: str) -> None:
        topic = "detail" if any(words in text for words in _UNTOLD) else "warning"
        self.op.step(text, topic=topic)

    def _miss(self, address: str, why: str) -> None:
        host = urlsplit(address).netloc or address
        if host not in self._unreached:
            self._unreached.add(host)
            self.op.step(f"{host} does not answer ({why[0].lower()}{why[1:]}), trying again", topic="warning")

    def _tell(self) -> None:
        """Say how far it is, if that is news and the last word is a while ago."""
        now = time.monotonic()
        words = self._progress()
        if words and words != self._said and (not self._said or now - self._told >= self._pace):
            self._said, self._told = words, now
            self.op.step(words, topic="build", **dict[str, Any](self._counts()))

    def _progress(self) -> str:
        counts, building = self._counts(), self._subjects(_BUILD)
        fetching = self._subjects(_SUBSTITUTE) or self._subjects(_FETCH) or self._subjects(_TREE)
        if building:
            of = f" ({counts['built'] + 1} of {counts['to_build']})" if counts["to_build"] > 1 else ""
            return f"building {_listed(building)}{of}"
        if fetching:
            of = f" ({counts['copied']} of {counts['to_copy']})" if counts["to_copy"] > 1 else ""
            return f"fetching {_listed(fetching)}{of}"
        return ""

    def _counts(self) -> dict[str, int]:
        sums = {_BUILDS: [0, 0], _COPIES: [0, 0]}
        for activity in self._open.values():
            if activity.kind in sums:
                sums[activity.kind][0] += activity.done
                sums[activity.kind][1] += activity.expected
        (built, to_build), (copied, to_copy) = sums[_BUILDS], sums[_COPIES]
        return {"built": built, "to_build": to_build, "copied": copied, "to_copy": to_copy}

    def _subjects(self, kind: int) -> list[str]:
        return [title(activity.subject) for activity in self._open.values() if activity.kind == kind]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
