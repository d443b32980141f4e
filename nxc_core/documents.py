"""Documents on disk: nouns as JSON, replaced whole, with a schema."""

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

from nxc_core.errors import StateError
from nxc_core.model import Endpoint, ExecEndpoint, Resource, SshEndpoint

T = TypeVar("T")

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
        with named(path), os.fdopen(handle, "wb") as sink:
            os.fchmod(sink.fileno(), mode)
            sink.write(content)
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
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
