"""Several terminals at once, in tmux: columns of panes, each with a command of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nxc_core import process
from nxc_core.errors import CommandError, ConfigError, PreflightError, UsageError

MOST = 100
"""Panes that a geometry may ask for; no terminal shows more."""
LONG_COLUMN = 4
_STAYING = (
    *("sh", "-c"),
    'trap : INT; "$@"; printf "\\n[it ended with %s; Enter closes this pane]" "$?"; read -r _',
    "sh",
)
"""Stays when its command has ended. A dead pane of tmux would show one line less."""
_NOTHING_YET = ("sleep", "86400")
_EXAMPLES = "as 1+3+2, three columns of 1, 3 and 2 panes, or 2*3, two columns of 3"

Columns = tuple[int, ...]
"""Panes in each column, from the left."""


def read_geometry(text: str) -> Columns:
    """Read ``1+3+2`` (columns of so many panes) or ``2*3`` (so many columns of so many panes).

    Raises UsageError that points at the place.
    """
    signs = {sign for sign in text if sign in "+*"}
    sign = "*" if "*" in signs else "+"
    numbers: list[int] = []
    start = 0
    for word in text.split(sign):
        if not word.strip().isdecimal():
            at = start + next((i for i, c in enumerate(word) if not c.isdecimal()), 0)
            told = "+ and * cannot be mixed" if len(signs) == 2 and text[at : at + 1] == "+" else ""
            raise _unreadable(text, at, told or "a number is wanted here")
        if not 0 < int(word) <= MOST:
            raise _unreadable(text, start, f"a number from 1 to {MOST} is wanted here")
        numbers.append(int(word))
        start += len(word) + 1
    if sign == "*" and len(numbers) > 2:
        raise _unreadable(text, text.index("*", text.index("*") + 1), "one * is all there can be")
    columns = tuple(numbers) if sign == "+" else (numbers[1],) * numbers[0]
    if sum(columns) > MOST:
        raise UsageError(f"geometry {text} has {sum(columns)} panes; {MOST} can be", hint=_EXAMPLES)
    return columns


def _unreadable(text: str, at: int, told: str) -> UsageError:
    return UsageError(f"geometry: {told}\n  {text}\n  {' ' * at}^", hint=f"write it {_EXAMPLES}")


def choose_geometry(panes: int) -> Columns:
    """Arrange panes in two columns, in more where they would get long; the left ones are the shorter ones."""
    count = min(panes, max(2, -(-panes // LONG_COLUMN)))
    return tuple((panes + index) // count for index in range(count))


def show(
    name: str, commands: Mapping[str, Sequence[str]], columns: Columns, *, keep: bool = False
) -> str | None:
    """Run titled commands in panes, by columns, and local shells in panes that are left.

    Inside tmux they get a window of the present session; else a session of their own, whose name is returned
    once it was left with something running in it. With ``keep`` a pane stays until Enter is pressed in it.
    """
    if len(commands) > sum(columns):
        shown = "+".join(map(str, columns))
        raise UsageError(
            f"geometry {shown} has {sum(columns)} panes for {len(commands)} nodes",
            hint="ask for more, or name fewer nodes",
        )
    process.find_program("tmux")
    before = _STAYING if keep else ()
    ready = {title: _executable((*before, *argv)) for title, argv in commands.items()}
    if os.environ.get("TMUX"):
        first = _new_window(name)
        _furnish(first, ready, columns, undo=("kill-window", "-t", first))
        _tmux("select-window", "-t", first)
        return None
    session = _free_session(name)
    size = os.get_terminal_size()  # of the terminal that tmux gets, whatever COLUMNS says
    words = ("-d", "-P", "-F", "#{pane_id}", "-s", session, "-n", name, "-c", str(Path.cwd()))
    first = _tmux(
        "new-session", *words, "-x", str(size.columns or 80), "-y", str(size.lines or 24), "--", *_NOTHING_YET
    )
    undo = ("kill-session", "-t", f"={session}")
    _furnish(first, ready, columns, undo=undo)
    if process.interact(("tmux", "attach-session", "-t", f"={session}")) != 0 and _is_there(session):
        _tmux(*undo)
        raise PreflightError(
            "tmux cannot use this terminal", hint="look at TERM, or connect to one node at a time"
        )
    return session if _is_there(session) else None


def _furnish(
    first: str, commands: Mapping[str, Sequence[str]], columns: Columns, undo: Sequence[str]
) -> None:
    """Split a window whose first pane waits, then start the commands; nothing stays of it on failure."""
    try:
        panes = _split_window(first, columns)
        for option, value in {
            "pane-border-status": "top",
            "pane-border-format": " #{@nxc} ",
        }.items():
            _tmux("set-option", "-w", "-t", first, option, value)
        for pane, (title, argv) in zip(panes, commands.items(), strict=False):
            _tmux("set-option", "-p", "-t", pane, "@nxc", title)
            _tmux("respawn-pane", "-k", "-t", pane, "--", *argv)
        for pane in panes[len(commands) :]:
            _tmux("set-option", "-p", "-t", pane, "@nxc", "this machine")
            _tmux("respawn-pane", "-k", "-t", pane, "--", os.environ.get("SHELL") or "/bin/sh", "-i")
        _tmux("select-pane", "-t", first)
    except BaseException:
        process.run(("tmux", *undo), check=False, timeout=10)
        raise


def _split_window(first: str, columns: Columns) -> list[str]:
    """Split a pane evenly into columns, and those into panes; returns them by columns, from the top."""
    tops = _split(first, len(columns), "-h", "#{pane_width}")
    return [
        pane
        for top, count in zip(tops, columns, strict=True)
        for pane in _split(top, count, "-v", "#{pane_height}")
    ]


def _split(pane: str, count: int, direction: str, measure: str) -> list[str]:
    panes = [pane]
    for left in range(count, 1, -1):
        size = int(_tmux("display-message", "-p", "-t", panes[-1], measure))
        rest = size - (size - left + 1) // left - 1  # a line is between two panes
        words = (direction, "-l", str(max(1, rest)), "-d", "-P", "-F", "#{pane_id}", "-c", str(Path.cwd()))
        panes.append(_tmux("split-window", *words, "-t", panes[-1], "--", *_NOTHING_YET))
    return panes


def _new_window(name: str) -> str:
    words = ("-d", "-P", "-F", "#{pane_id}", "-n", name, "-c", str(Path.cwd()))
    return _tmux("new-window", *words, "--", *_NOTHING_YET)


def _free_session(name: str) -> str:
    number = 1
    while _is_there(session := name if number == 1 else f"{name}-{number}"):
        number += 1
    return session


def _is_there(session: str) -> bool:
    return process.run(("tmux", "has-session", "-t", f"={session}"), check=False, timeout=10).code == 0


def _executable(argv: Sequence[str]) -> tuple[str, ...]:
    """Spell a command so that tmux starts the program itself: a single word it would give to a shell."""
    program = process.find_program(argv[0])
    return ("/usr/bin/env", program) if len(argv) == 1 else (program, *argv[1:])


def _tmux(*words: str) -> str:
    """Give tmux an order. A word's last semicolon would end the order for tmux unless it is escaped."""
    argv = ("tmux", *(f"{word[:-1]}\\;" if word.endswith(";") else word for word in words))
    try:
        return process.run(argv, timeout=20).text.strip()
    except CommandError as error:
        told = error.stderr.strip() or error.message
        if "no space for" in told or "too small" in told:
            raise UsageError(
                "the terminal has no room for so many panes", hint="make it larger, or name fewer nodes"
            ) from error
        raise ConfigError(f"tmux {words[0]}: {told}", hint="look at `tmux ls`, or unset TMUX") from error
