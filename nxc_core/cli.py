"""The command line: from words to a verb, and from what it raises to an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from nxc_core import __version__
from nxc_core.cli_context import Interrupts, Invocation, verb
from nxc_core.errors import Interrupted, UsageError

VERBS: Mapping[str, str] = {
    "init": "cli_init:init",
    "build": "cli_work:build",
    "start": "cli_work:start",
    "up": "cli_work:up",
    "export": "cli_work:export",
    "status": "cli_status:status",
    "connect": "cli_connect:connect",
    "exec": "cli_nodes:execute",
    "driver": "cli_nodes:driver",
    "logs": "cli_nodes:logs",
    "ssh-config": "cli_connect:ssh_config",
    "stop": "cli_work:stop",
    "down": "cli_work:stop",
    "doctor": "cli_tools:doctor",
    "config": "cli_tools:config",
    "clean": "cli_tools:clean",
}
GROUPS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "flavour": (
        "Where compositions can run.",
        {"list": "cli_tools:flavour_list", "show": "cli_tools:flavour_show"},
    ),
    "base": ("How systems can be built.", {"list": "cli_tools:base_list", "show": "cli_tools:base_show"}),
}
COMMAND_FOLLOWS = ("connect", "exec")
"""Verbs with any number of words, after which -- begins a command: to typer it would be more of them."""
_HELP = {"context_settings": {"help_option_names": ["-h", "--help"]}}


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"nxc {__version__}")
        raise typer.Exit


@verb
def nxc(
    invocation: Invocation,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One composition, every platform.

    Builds, starts, tests and takes down distributed systems.
    """


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return verb(getattr(import_module(f"nxc_core.{module}"), name))


def make_app(only: str | None = None) -> typer.Typer:
    """Return the typer application; with ``only`` that one verb, so that nothing else is imported."""
    settings: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False, **_HELP}
    app = typer.Typer(no_args_is_help=True, **settings)
    app.callback()(nxc)
    for name, target in VERBS.items():
        if only in (None, name):
            app.command(name, no_args_is_help=False)(_load(target))
    for name, (help_text, verbs) in GROUPS.items():
        if only in (None, name):
            group = typer.Typer(
                name=name, help=help_text, no_args_is_help=True, add_completion=False, **settings
            )
            for inner, target in verbs.items():
                group.command(inner)(_load(target))
            app.add_typer(group)
    return app


def find_verb(argv: Sequence[str]) -> str | None:
    """Return the verb among the words if it comes where only a verb can; else None, and all are loaded."""
    takes_value = {"-C", "--project", "--log-file"}
    words = iter(argv)
    for word in words:
        if word in takes_value:
            next(words, None)
        elif not word.startswith("-"):
            return word if word in VERBS or word in GROUPS else None
    return None


def run(
    argv: Sequence[str],
    *,
    interrupts: Interrupts | None = None,
    extra: Sequence[object] = (),
    only: str | None = None,
) -> int:
    """Carry out a command line and return its exit code; raises NxcError for the caller to tell."""
    invocation = Invocation(interrupts, extra)
    command = typer.main.get_command(make_app(only or find_verb(argv)))
    words = list(argv)
    if find_verb(argv) in COMMAND_FOLLOWS and "--" in words:
        at = words.index("--")
        words, invocation.rest = words[:at], tuple(words[at + 1 :])
    try:
        answer = command.main(args=words, prog_name="nxc", standalone_mode=False, obj=invocation)
    except typer.Abort:
        raise Interrupted("interrupted") from None
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            invocation.note(str(error))
            return UsageError.exit_code
        if hasattr(error, "format_message"):  # click's own, wherever this typer keeps it
            raise _usage(error, argv) from error
        raise
    finally:
        invocation.pause()
    return answer if isinstance(answer, int) else 0


def _usage(error: Any, argv: Sequence[str]) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "nxc"
    message = str(error.format_message()).strip().rstrip(".")
    hint = f"`{path} --help` says what there is"
    if "no such option" in message.lower() and path.split()[-1] in ("exec", "connect") and "--" not in argv:
        hint = "put -- before the command, as in `nxc exec NODE -- ls -l`"
    return UsageError(message[:1].lower() + message[1:] if message else "nothing to do", hint=hint)
