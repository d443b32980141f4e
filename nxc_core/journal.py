"""What exists outside nxc, and where its nodes have got to: an append-only file."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from attrs import evolve

from nxc_core.documents import named, structure, unstructure
from nxc_core.errors import StateError
from nxc_core.model import Json, Network, Node, NodeState, Outcome, Quarantined, Resource

JOURNAL_VERSION = 1


class Journal:
    """What exists outside nxc, as an append-only file. One process writes at a time, any thread.

    A record is on disk, synced, when the method that writes it returns. A torn last line was never acted on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = (0, 0)
        self._read = 0
        self._known: list[dict[str, Any]] = []

    def append(self, *records: Mapping[str, Any]) -> None:
        """Add records and sync them, all at once: that costs as much as one."""
        lines = [
            json.dumps({"v": JOURNAL_VERSION, **one}, sort_keys=True, ensure_ascii=False) for one in records
        ]
        text = "".join(f"{line}\n" for line in lines)
        with self._lock:
            fresh = not self.path.exists()
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                with named(self.path):
                    size = os.fstat(handle).st_size
                    if size and os.pread(handle, 1, size - 1) != b"\n":
                        os.write(handle, b"\n")  # close a torn line, so that only that one is lost
                    _write_whole(handle, text.encode())
                    os.fsync(handle)
            finally:
                os.close(handle)
            if fresh:
                _sync_folder(self.path.parent)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield all records, oldest first, the unknown ones too.

        Raises StateError for records of a newer nxc, and for a file of someone else.
        """
        try:
            with self._lock, self.path.open("rb") as source:
                rest, known = self._catch_up(source), self._known
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise StateError(
                f"{self.path} belongs to someone else", hint="run nxc as the user who made it"
            ) from error
        yield from known
        last = self._parse(rest)
        if last is not None:
            yield last

    def _catch_up(self, source: IO[bytes]) -> bytes:
        """Read what has been added since the last look; returns the beginning of a line that has no end."""
        now = os.fstat(source.fileno())
        if (now.st_ino, now.st_dev) != self._file or now.st_size < self._read:
            self._file, self._read, self._known = (now.st_ino, now.st_dev), 0, []
        source.seek(self._read)
        *lines, rest = source.read().split(b"\n")
        found = [record for line in lines if (record := self._parse(line)) is not None]
        self._known = [*self._known, *found]  # a new list: another thread may be going through the old one
        self._read += sum(len(line) + 1 for line in lines)
        return rest

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        if not line.strip():
            return None
        try:
            record = json.loads(line)
        except ValueError:
            return None  # torn by a crash: its claim had not returned, so nothing was made
        if not isinstance(record, dict) or not isinstance(record.get("v", 1), int):
            raise self._damaged(line)
        if record.get("v", 1) > JOURNAL_VERSION:
            raise StateError(
                f"{self.path} was written by a newer nxc",
                hint="upgrade nxc to use or remove this deployment",
            )
        return record

    def _damaged(self, record: object) -> StateError:
        return StateError(
            f"{self.path} has a record that makes no sense: {str(record)[:80]}", hint="it was edited"
        )

    def mark(self) -> int:
        """Return a number that grows with every record."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def claim(self, resource: Resource) -> Resource:
        """Claim a resource; one that is already claimed is returned with what is known of it."""
        found = self._outstanding().get(resource.key)
        if found is not None:
            return structure(found, Resource, str(self.path))
        self.append({"op": "claim", **unstructure(resource)})
        return resource

    def note(self, resource: Resource, data: Mapping[str, Json]) -> Resource:
        """Add to what is known of a claimed resource."""
        self.append({"op": "note", "kind": resource.kind, "id": resource.id, "data": dict(data)})
        return evolve(resource, data={**resource.data, **data})

    def note_all(self, notes: Mapping[tuple[str, str], Mapping[str, Json]]) -> None:
        """Add to what is known of many claimed resources, by their keys, in one write."""
        self.append(
            *(
                {"op": "note", "kind": kind, "id": id, "data": dict(data)}
                for (kind, id), data in notes.items()
            )
        )

    def release(self, resource: Resource) -> None:
        """Write down that a resource is gone for sure."""
        self.append({"op": "release", "kind": resource.kind, "id": resource.id})

    def node(self, node: Node) -> None:
        """Write down how a node is reached."""
        self.append({"op": "node", "node": unstructure(node)})

    def outcome(self, *outcomes: Outcome) -> None:
        """Write down where nodes have got to."""
        self.append(*({"op": "outcome", "outcome": unstructure(outcome)} for outcome in outcomes))

    def quarantine(self, found: Quarantined) -> None:
        """Write down that a machine is left out."""
        self.append({"op": "quarantine", "machine": unstructure(found)})

    def bind(self, machines: Mapping[str, str]) -> None:
        """Write down which machine is to run each node; what was known of the node on another is void."""
        self.append(*({"op": "bind", "node": node, "machine": name} for node, name in machines.items()))

    def addressed(self, networks: Sequence[Network]) -> None:
        """Write down the networks that the platform has given."""
        self.append({"op": "networks", "networks": [unstructure(network) for network in networks]})

    def outstanding(self) -> list[Resource]:
        """List what is claimed and not released, oldest first, with what was noted."""
        return [structure(found, Resource, str(self.path)) for found in self._outstanding().values()]

    def _outstanding(self) -> dict[tuple[str, str], dict[str, Any]]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for record in self.records():
            key = (str(record.get("kind")), str(record.get("id")))
            match record.get("op"):
                case "claim":
                    found[key] = record
                case "note" if key in found:
                    data = {**found[key].get("data", {}), **record.get("data", {})}
                    found[key] = {**found[key], "data": data}
                case "release":
                    found.pop(key, None)
        return found

    def nodes(self) -> dict[str, Node]:
        """Map node names to the last report of each on the machine that it is bound to."""
        return {name: structure(one, Node, str(self.path)) for name, one in self._last("node", "name")}

    def outcomes(self) -> dict[str, Outcome]:
        """Map node names to the last outcome of each on the machine that it is bound to."""
        return {name: structure(one, Outcome, str(self.path)) for name, one in self._last("outcome", "node")}

    def is_ready(self, node: str) -> bool:
        """Whether that is a node's outcome, for those who ask often: the others' are not looked at."""
        return any(
            name == node and one["state"] == NodeState.READY for name, one in self._last("outcome", "node")
        )

    def _last(self, operation: str, name: str) -> list[tuple[str, Any]]:
        found: dict[str, Any] = {}
        for record in self.records():
            if record.get("op") == "bind":
                found.pop(str(record.get("node")), None)
            elif record.get("op") == operation:
                value = record.get(operation)
                if not isinstance(value, dict):
                    raise self._damaged(record)
                found[str(value.get(name))] = value
        return list(found.items())

    def bindings(self) -> dict[str, str]:
        """Map node names to the machines that they are bound to."""
        return {str(one.get("node")): str(one.get("machine")) for one in self._of("bind")}

    def networks(self) -> tuple[Network, ...] | None:
        """Return the networks that the platform has given; None before it has."""
        for record in reversed(self._of("networks")):
            return structure(record.get("networks"), tuple[Network, ...], str(self.path))
        return None

    def quarantined(self) -> dict[str, Quarantined]:
        """Map the names of machines that are left out to why."""
        records = self._of("quarantine")
        found = [structure(one.get("machine"), Quarantined, str(self.path)) for one in records]
        return {one.machine: one for one in found}

    def _of(self, operation: str) -> list[dict[str, Any]]:
        return [record for record in self.records() if record.get("op") == operation]


def _write_whole(handle: int, content: bytes) -> None:
    """Write all of it: a disk that fills up takes a part first, and says so only when asked again."""
    while content:
        content = content[os.write(handle, content) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
