"""What nxc keeps on disk: JSON documents, the journal, and the workspace that alone spells paths."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from attrs import evolve, frozen

from nxc_core.errors import StateError
from nxc_core.locks import locked as locked
from nxc_core.model import (
    Deployment,
    Endpoint,
    ExecEndpoint,
    Json,
    Node,
    Outcome,
    Quarantined,
    Resource,
    SshEndpoint,
    Status,
)

T = TypeVar("T")

JOURNAL_VERSION = 1

# attrs resolves annotations, so cattrs meets ``Json`` written out, never by its name.
_PLAIN = (typing.get_args(typing.get_type_hints(Resource)["data"])[1], Any)


def make_converter() -> cattrs.Converter:
    """Return a converter that knows the model: paths are strings, an endpoint has a type."""
    converter = cattrs.Converter(forbid_extra_keys=False, detailed_validation=True)
    converter.register_structure_hook(Path, lambda value, _: Path(str(value)))
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook_func(lambda kind: kind in _PLAIN, lambda value, _: value)
    converter.register_unstructure_hook_func(lambda kind: kind in _PLAIN, lambda value: value)

    def structure_endpoint(value: Mapping[str, Any], _: Any) -> Endpoint:
        if value.get("type") == "ssh":
            return converter.structure(value, SshEndpoint)
        return converter.structure(value, ExecEndpoint)

    def unstructure_endpoint(value: Endpoint) -> dict[str, Any]:
        kind = "ssh" if isinstance(value, SshEndpoint) else "exec"
        return {"type": kind, **converter.unstructure(value, type(value))}

    converter.register_structure_hook_func(lambda kind: kind == Endpoint, structure_endpoint)
    converter.register_unstructure_hook_func(lambda kind: kind == Endpoint, unstructure_endpoint)
    return converter


_CONVERTER = make_converter()


def unstructure(value: Any) -> Any:
    """Turn a noun into what JSON knows."""
    return _CONVERTER.unstructure(value)


def structure(value: Any, kind: type[T], where: str) -> T:
    """Turn JSON into a noun; raises StateError that names the wrong field."""
    try:
        return _CONVERTER.structure(value, kind)
    except (cattrs.BaseValidationError, TypeError, ValueError, KeyError) as error:
        told = "; ".join(cattrs.transform_error(error)) if isinstance(error, Exception) else str(error)
        raise StateError(f"{where} cannot be read: {told}", hint="it was edited or damaged") from error


def save(path: Path, value: Any, *, mode: int = 0o644) -> None:
    """Replace a document whole: write, sync, rename."""
    text = json.dumps(unstructure(value), indent=1, sort_keys=True, ensure_ascii=False)
    replace(path, (text + "\n").encode(), mode=mode)


def replace(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace a file's content whole, in a way that a crash leaves the old or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with _named(path), os.fdopen(handle, "wb") as sink:
            os.fchmod(sink.fileno(), mode)
            sink.write(content)
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which file a failure is: writing to a handle does not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def load(path: Path, kind: type[T], *, schema: str | None = None) -> T:
    """Read a document; raises StateError when it is damaged, newer than this nxc, or not ours to read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except PermissionError as error:
        raise StateError(f"{path} belongs to someone else", hint="run nxc as the user who made it") from error
    except ValueError as error:
        raise StateError(
            f"{path} is damaged: {error}",
            hint="restore it, or remove by hand what it stood for",
        ) from error
    if schema is not None:
        _check_schema(path, value, schema)
    return structure(value, kind, str(path))


def _check_schema(path: Path, value: Any, schema: str) -> None:
    found = value.get("schema") if isinstance(value, dict) else None
    family, _, version = str(found).rpartition("/")
    wanted_family, _, wanted = schema.rpartition("/")
    if family != wanted_family or not version.isdigit():
        raise StateError(f"{path} is not a {schema} document", hint="it was edited or damaged")
    if int(version) > int(wanted):
        raise StateError(
            f"{path} was written by a newer nxc ({found}, this one reads {schema})",
            hint="upgrade nxc to use it",
        )


class Journal:
    """What exists outside nxc, as an append-only file. One process writes at a time, any thread.

    A record is on disk, synced, when the method that writes it returns. A torn last line was never acted on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record and sync it."""
        line = json.dumps({"v": JOURNAL_VERSION, **record}, sort_keys=True, ensure_ascii=False) + "\n"
        with self._lock:
            fresh = not self.path.exists()
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                with _named(self.path):
                    size = os.fstat(handle).st_size
                    if size and os.pread(handle, 1, size - 1) != b"\n":
                        os.write(handle, b"\n")  # close a torn line, so that only that one is lost
                    _write_whole(handle, line.encode())
                    os.fsync(handle)
            finally:
                os.close(handle)
            if fresh:
                _sync_folder(self.path.parent)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield all records, oldest first, the unknown ones too.

        Raises StateError for records of a newer nxc, and for a file of someone else.
        """
        if not self.path.exists():
            return
        try:
            lines = self.path.read_bytes().split(b"\n")
        except PermissionError as error:
            raise StateError(
                f"{self.path} belongs to someone else", hint="run nxc as the user who made it"
            ) from error
        for line in lines:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError:
                continue  # torn by a crash: its claim had not returned, so nothing was made
            if not isinstance(record, dict) or not isinstance(record.get("v", 1), int):
                raise self._damaged(line)
            if record.get("v", 1) > JOURNAL_VERSION:
                raise StateError(
                    f"{self.path} was written by a newer nxc",
                    hint="upgrade nxc to use or remove this deployment",
                )
            yield record

    def _damaged(self, record: object) -> StateError:
        return StateError(
            f"{self.path} has a record that makes no sense: {str(record)[:80]}", hint="it was edited"
        )

    def claim(self, resource: Resource) -> Resource:
        """Claim a resource; one that is already claimed is returned with what is known of it."""
        for found in self.outstanding():
            if found.key == resource.key:
                return found
        self.append({"op": "claim", **unstructure(resource)})
        return resource

    def note(self, resource: Resource, data: Mapping[str, Json]) -> Resource:
        """Add to what is known of a claimed resource."""
        self.append({"op": "note", "kind": resource.kind, "id": resource.id, "data": dict(data)})
        return evolve(resource, data={**resource.data, **data})

    def release(self, resource: Resource) -> None:
        """Write down that a resource is gone for sure."""
        self.append({"op": "release", "kind": resource.kind, "id": resource.id})

    def node(self, node: Node) -> None:
        """Write down how a node is reached."""
        self.append({"op": "node", "node": unstructure(node)})

    def outcome(self, outcome: Outcome) -> None:
        """Write down where a node has got to."""
        self.append({"op": "outcome", "outcome": unstructure(outcome)})

    def quarantine(self, found: Quarantined) -> None:
        """Write down that a machine is left out."""
        self.append({"op": "quarantine", "machine": unstructure(found)})

    def outstanding(self) -> list[Resource]:
        """List what is claimed and not released, oldest first, with what was noted."""
        found: dict[tuple[str, str], Resource] = {}
        for record in self.records():
            key = (str(record.get("kind")), str(record.get("id")))
            match record.get("op"):
                case "claim":
                    found[key] = structure(record, Resource, str(self.path))
                case "note" if key in found:
                    found[key] = evolve(found[key], data={**found[key].data, **record.get("data", {})})
                case "release":
                    found.pop(key, None)
        return list(found.values())

    def nodes(self) -> dict[str, Node]:
        """Map node names to the last report of each."""
        found = [structure(record.get("node"), Node, str(self.path)) for record in self._of("node")]
        return {node.name: node for node in found}

    def outcomes(self) -> dict[str, Outcome]:
        """Map node names to the last outcome of each."""
        found = [structure(record.get("outcome"), Outcome, str(self.path)) for record in self._of("outcome")]
        return {outcome.node: outcome for outcome in found}

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


def _is_copy(found: Deployment, file: Path) -> bool:
    """Whether what this file describes belongs to another folder, where it may be in use."""
    if not found.folder or found.status is Status.STOPPED:
        return False
    origin = Path(found.folder) / file.name
    try:
        return not origin.samefile(file) and load(origin, Deployment).status is not Status.STOPPED
    except (StateError, OSError) as error:  # unless it was moved here
        return not isinstance(error, FileNotFoundError | NotADirectoryError)


@frozen
class Workspace:
    """A project's ``.nxc`` folder; the only speller of paths in it."""

    project: Path

    @property
    def root(self) -> Path:
        """The folder itself."""
        return self.project / ".nxc"

    def build_dir(self, name: str) -> Path:
        """Folder of one build."""
        return self.root / "builds" / name

    def build_file(self, name: str) -> Path:
        """The build's document."""
        return self.build_dir(name) / "build.json"

    def builds(self) -> list[str]:
        """Names of the builds there are."""
        return sorted(path.parent.name for path in self.root.glob("builds/*/build.json"))

    def deployment_dir(self, id: str) -> Path:
        """Folder of one deployment."""
        return self.root / "deployments" / id

    def deployment_file(self, id: str) -> Path:
        """The deployment's document."""
        return self.deployment_dir(id) / "deployment.json"

    def deployments(self) -> list[str]:
        """Ids of the deployments there are, oldest first; unreadable ones included."""
        found = []
        for folder in self.root.glob("deployments/*"):
            with contextlib.suppress(OSError):  # another nxc may just have removed it
                born = folder / "build.json"  # written once; the folder changes with every status
                with contextlib.suppress(
                    FileNotFoundError, PermissionError
                ):  # never begun, or someone else's
                    found.append((born.stat().st_mtime, folder.name))
                    continue
                found.append((folder.stat().st_mtime, folder.name))
        return [name for _, name in sorted(found)]

    def journal(self, id: str) -> Journal:
        """The deployment's journal."""
        return Journal(self.deployment_dir(id) / "journal.jsonl")

    def load(self, id: str) -> Deployment:
        """Read a deployment's document; raises StateError for a copy of one that lives elsewhere."""
        found = load(self.deployment_file(id), Deployment, schema="nxc.deployment/1")
        if _is_copy(found, self.deployment_file(id)):
            told = f"{id} is a copy: the deployment itself is in {found.folder}"
            raise StateError(told, hint=f"use it there; the copy can go: {self.deployment_dir(id)}")
        return found

    def prepare(self) -> None:
        """Make the folder and keep it out of git; raises StateError where it cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            ignore = self.root / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise StateError(
                f"{self.root} cannot be written: {error.strerror}",
                hint="run nxc in a folder of yours, with space left",
            ) from error
        if self.root.stat().st_uid != os.getuid():
            raise StateError(f"{self.root} belongs to someone else", hint="run nxc as the user who made it")
