"""The verbs that look at nodes and act on them."""

from __future__ import annotations

import copy
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxc_core.cli_complete import complete_deployments, complete_nodes, complete_targets
from nxc_core.cli_context import Invocation
from nxc_core.errors import ConfigError, NxcError, StateError, UsageError
from nxc_core.output import write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nxc_core.model import Composition
    from nxc_core.operation import Operation
    from nxc_core.process import Completed
    from nxc_core.running import Running
from nxc_core.session import Session

Which = Annotated[
    str | None,
    typer.Option(
        "--deployment", "-d", metavar="ID", help="Which deployment, if several live.",
        autocompletion=complete_deployments,
    ),
]  # fmt: skip
PATIENCE = 4.0
"""Seconds of silence after which ``exec`` says that it still runs."""
LOST = 255
"""Exit code of ``exec`` for a node that cannot be reached, as ssh's own."""


def choose_nodes(running: Running, text: str) -> list[str]:
    """Return the nodes meant by ``all`` or by names of nodes and roles with commas between."""
    if text == "all":
        return list(running)
    roles = {spec.role for spec in running.deployment.specs}
    chosen: list[str] = []
    for word in text.split(","):
        if word in list(running):
            chosen.append(word)
        elif word in roles:
            chosen += [spec.name for spec in running.deployment.specs if spec.role == word]
        else:
            raise ConfigError(
                f"there is no node or role {word} in {running.id}",
                hint=f"nodes: {', '.join(running)}; roles: {', '.join(sorted(roles))}; or all",
            )
    return list(dict.fromkeys(chosen))


def execute(
    nxc: Invocation,
    target: Annotated[
        str,
        typer.Argument(
            metavar="NODE|ROLE|all", help="Several with commas between.", autocompletion=complete_targets
        ),
    ],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", show_default=False, help="After --; a single word is given to sh."),
    ] = None,
    deployment: Which = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds that it may take.")] = 3600.0,
    stdin: Annotated[
        bool, typer.Option("--stdin", "-i", help="Hand on standard input (to one node).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what each node answered as JSON.")] = False,
) -> int:
    """Run a command on nodes, without a terminal.

    Exits with its exit code, the highest of several.
    """
    from nxc_core.connect import Copying

    if not (command or nxc.rest):
        raise UsageError("missing argument 'COMMAND'", hint="as in: nxc exec NODE -- COMMAND")
    running = nxc.session(configured=False).attach(deployment)
    names = choose_nodes(running, target)
    words = _read_command(running, target, command or (), nxc.rest)
    if stdin and len(names) != 1:
        raise UsageError("standard input can go to one node only", hint="name one node, or leave out --stdin")
    argv = words if len(words) > 1 else ("sh", "-c", words[0])
    source = sys.stdin.buffer.read() if stdin else None

    live = _Live(nxc) if len(names) == 1 and not as_json else None

    def run(name: str) -> Completed | NxcError:
        waiting = threading.Timer(PATIENCE, _tell_patience, (running.op, name, argv[0], live))
        waiting.daemon = True
        waiting.start()
        try:
            connection = running.connection(name)
            if live is not None and isinstance(connection, Copying):
                connection = copy.copy(connection)
                connection.on_data = live
            return connection.run(argv, check=False, timeout=timeout, stdin=source)
        except NxcError as error:
            return error
        finally:
            waiting.cancel()

    try:
        with nxc.abrupt():
            answers = dict(zip(names, running.op.map(run, names), strict=True))
    except BrokenPipeError:  # the reader of what it shows has gone, which ends it: main() knows the rest
        return 0
    if as_json:
        nxc.tell_json({name: _spell_answer(answer) for name, answer in answers.items()})
    elif live is not None and live.begun:
        live.end()
        if isinstance(answer := answers[names[0]], NxcError):
            _show_answer(nxc, "", answer)
    else:
        for name, answer in answers.items():
            _show_answer(nxc, f"{name}: " if len(names) > 1 else "", answer)
    return max(_code(answer) for answer in answers.values())


def _read_command(
    running: Running, target: str, before: Sequence[str], rest: Sequence[str]
) -> tuple[str, ...]:
    """Return the command, from the words before and after ``--``."""
    known = {*running, *(running.spec(name).role for name in running)}
    if rest and before and known.issuperset(before):
        raise UsageError(
            f"{' and '.join(before)} would be the command, not nodes",
            hint=f"put commas between nodes: {','.join((target, *before))}",
        )
    return (*before, *rest)


class _Live:
    """Shows what a node says as it comes: bytes as they are to a file, printable lines to a terminal."""

    def __init__(self, nxc: Invocation) -> None:
        self.begun = False
        self._nxc = nxc
        self._rest = {"stdout": b"", "stderr": b""}

    def __call__(self, stream: str, data: bytes) -> None:
        if not self.begun:
            self._nxc.pause()
            self.begun = True
        sink = sys.stdout if stream == "stdout" else sys.stderr
        if not sink.isatty():
            _write_bytes(sink, data)
            return
        *lines, self._rest[stream] = re.split(rb"\r*\n|\r+(?=[^\r\n])", self._rest[stream] + data)
        for line in lines:
            _write_line(sink, "", line.decode("utf-8", "replace"))

    def end(self) -> None:
        """Show what had no end of line."""
        for sink, rest in ((sys.stdout, self._rest["stdout"]), (sys.stderr, self._rest["stderr"])):
            if rest:
                _write_line(sink, "", rest.decode("utf-8", "replace"))


def _tell_patience(op: Operation, node: str, program: str, live: _Live | None) -> None:
    if live is None or not live.begun:
        op.step(f"running {program}", node=node)


def _write_line(sink: Any, prefix: str, line: str) -> None:
    from nxc_core.output import printable

    write(sink, f"{prefix}{printable(line)}\n")


def _code(answer: Completed | NxcError) -> int:
    if isinstance(answer, NxcError):
        return LOST
    return answer.code if answer.code >= 0 else 128 - answer.code


def _spell_answer(answer: Completed | NxcError) -> dict[str, Any]:
    if isinstance(answer, NxcError):
        return {"code": None, "error": answer.message, "stdout": "", "stderr": getattr(answer, "stderr", "")}
    return {"code": answer.code, "error": None, "stdout": answer.text, "stderr": answer.error_text}


def _show_answer(nxc: Invocation, prefix: str, answer: Completed | NxcError) -> None:
    """Show bytes as they are from one node to a file, else lines that cannot steer the terminal."""
    nxc.pause()
    if isinstance(answer, NxcError):
        hint = f"{prefix}hint: {answer.hint}\n" if answer.hint else ""
        write(sys.stderr, f"{prefix}error: {answer.message}\n{hint}")
        return
    for stream, content in ((sys.stdout, answer.stdout), (sys.stderr, answer.stderr)):
        text = content.decode("utf-8", "replace")
        if not prefix and not stream.isatty():
            _write_bytes(stream, content)
        else:
            for line in text.splitlines():
                _write_line(stream, prefix, line)


def _write_bytes(stream: Any, content: bytes) -> None:
    raw = getattr(stream, "buffer", None)
    stream.flush()
    if raw is None:
        write(stream, content.decode("utf-8", "replace"))
    else:
        raw.write(content)
        raw.flush()


def driver(
    nxc: Invocation,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", show_default=False, help="Run this Python script instead."),
    ] = None,
    test: Annotated[bool, typer.Option("--test", "-t", help="Run the composition's test script.")] = False,
    deployment: Which = None,
) -> None:
    """Drive nodes with the NixOS test vocabulary.

    At a Python prompt, by the test script (-t), or by a script of yours (FILE, or standard input).
    """
    from nxc_core import script

    session = nxc.session(configured=False)
    running = session.attach(deployment)
    if file is None and not test and sys.stdin.isatty():
        nxc.pause()
        with nxc.abrupt():
            script.interact(running, nxc.pause)
        return
    if file is not None:
        try:
            text, name = nxc.path(file).read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}", hint="give a Python file") from error
    elif not test:
        text, name = sys.stdin.read(), "<stdin>"
    else:
        composition = current_composition(session, running)
        text, name, running.files = composition.test_script or "", "testScript", composition.files
    with nxc.abrupt():
        script.run_script(running, text, name=name)


def current_composition(session: Session, running: Running) -> Composition:
    """Return the composition with its test script as it is now; as it was at the start where it is gone."""
    from nxc_core import state
    from nxc_core.model import Build

    composition = running.deployment.composition
    if composition.source.exists():
        build = state.load(session.workspace.deployment_dir(running.id) / "build.json", Build)
        composition = session.plugins.base(build.base, build.options).read(composition.source, running.op)
    if composition.test_script is None:
        raise ConfigError(f"{composition.source} has no testScript", hint="write one, or give a FILE")
    return composition


def logs(
    nxc: Invocation,
    node: Annotated[str, typer.Argument(metavar="NODE", autocompletion=complete_nodes)],
    lines: Annotated[int, typer.Option("--lines", "-n", help="The last so many only; 0 is all.")] = 0,
    deployment: Which = None,
) -> None:
    """Show a node's console."""
    from nxc_core.output import printable, settle

    session = nxc.session(configured=False)
    running = session.attach(session.find(deployment, stopped=deployment is not None))
    spec = running.spec(node)
    path = _console(session, running, spec.name)
    try:
        content = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise StateError(f"{node} has no console yet ({path})", hint="it was not booted") from error
    shown = settle(printable(line) for line in re.split(r"\r*\n|\r+", content))
    while shown and not shown[-1]:
        shown.pop()
    for line in shown[-lines:] if lines > 0 else shown:
        nxc.tell(line)


def _console(session: Session, running: Running, node: str) -> Path:
    from nxc_core.flavour import Console

    try:
        if isinstance(running.flavour, Console):
            return running.flavour.console(node, running.op)
    except NxcError:
        pass  # without its plugin, look where consoles are kept
    path = session.workspace.deployment_dir(running.id) / "log" / f"{node}.log"
    if not path.exists():
        raise ConfigError(
            f"{running.deployment.groups[0].flavour} keeps no console",
            hint="`nxc exec NODE -- journalctl` may tell",
        )
    return path
