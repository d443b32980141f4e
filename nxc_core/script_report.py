"""Saying why a test script failed: its own frames, and what the node said."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nxc_core.errors import NxcError, TestFailed
from nxc_core.machine import NodeHandle

if TYPE_CHECKING:
    from nxc_core.script_driver import Driver


def not_python(error: SyntaxError | ValueError, name: str) -> TestFailed:
    """Return the error for a script that Python cannot read."""
    if not isinstance(error, SyntaxError) or error.lineno is None:
        return TestFailed(f"{name} is not Python: {error}")
    told = f"{name}, line {error.lineno}: {error.msg}"
    frames = [f'  File "{name}", line {error.lineno}']
    if error.text:
        line = error.text.rstrip("\n")
        bare = line.lstrip()
        frames.append(f"    {bare}")
        column = (error.offset or 1) - 1 - (len(line) - len(bare))
        if 0 <= column <= len(bare):
            frames.append(f"    {' ' * column}^")
    return TestFailed(told, frames="\n".join(frames), hint="the test script is Python; mind its indentation")


def explain(
    error: BaseException, text: str, name: str, driver: Driver, scope: Mapping[str, Any]
) -> TestFailed:
    """Return a script's failure as a TestFailed with the script's own frames."""
    frames = list(_frames(error, text, name))
    message = _message(error, scope)
    if isinstance(error, BaseExceptionGroup):
        for one in _leaves(error):
            frames += _frames(one, text, name)
        message = "\n".join(_message(one, scope) for one in _leaves(error))
    parts = driver.subtests_of(error)
    if parts:
        message = f"subtest {' / '.join(parts)}: {message}"
    hint = error.hint if isinstance(error, NxcError) else ""
    return TestFailed(message, hint=hint, frames="\n".join(dict.fromkeys(frames)))


def _frames(error: BaseException, text: str, name: str) -> Iterable[str]:
    lines = text.splitlines()
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename != name:
            continue
        place = frame.f_code.co_name
        within = "" if place == "<module>" else f", in {place}"
        source = lines[number - 1].strip() if 0 < number <= len(lines) else ""
        yield f'  File "{name}", line {number}{within}\n    {source}'


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for one in group.exceptions:
        found += _leaves(one) if isinstance(one, BaseExceptionGroup) else [one]
    return found


def _message(error: BaseException, scope: Mapping[str, Any]) -> str:
    match error:
        case NxcError():
            return error.message
        case AssertionError():
            return f"the assertion does not hold: {error}" if str(error) else "the assertion does not hold"
        case SystemExit():
            return f"the script ended itself with {error.code!r}"
        case AttributeError() if isinstance(error.obj, NodeHandle):
            verbs = [verb for verb in dir(error.obj) if not verb.startswith("_")]
            return f"nodes have no verb `{error.name}`{_near(error.name, verbs)}"
        case NameError():
            return f"`{error.name}` is not defined{_near(error.name, scope)}"
    return "".join(traceback.format_exception_only(error)).strip()


def _near(name: str | None, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name or "", list(known), n=3)
    return f"; did you mean {' or '.join(found)}?" if found else ""
