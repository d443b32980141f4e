"""What every verb of the command line shares: global options, settings, session, output."""

from __future__ import annotations

import gc
import inspect
import signal
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from attrs import fields, frozen, has

from nxc_core.errors import Interrupted, UsageError
from nxc_core.output import write

if TYPE_CHECKING:  # a verb imports what it needs: `nxc flavour list` is as quick as typer lets it be
    from queue import SimpleQueue

    from nxc_core.config import Setting, Settings
    from nxc_core.model import Json
    from nxc_core.plugins import Plugins
    from nxc_core.report import Report
    from nxc_core.session import Session


@frozen(kw_only=True)
class Common:
    """Options that every verb takes, before its name or after it."""

    project: Annotated[
        Path | None, typer.Option("--project", "-C", metavar="DIR", help="Act as if nxc was started in DIR.")
    ] = None
    offline: Annotated[
        bool | None, typer.Option("--offline/--online", help="Open no socket off this machine.")
    ] = None
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Say more; twice for all.")
    ] = 0
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only warnings and errors.")] = False
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log-file", metavar="FILE", help="Also write what happens to FILE (*.jsonl: as JSON)."
        ),
    ] = None


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP: the first asks the work to stop, the second stops nxc at once.

    A handler runs between any two steps of the main thread, also while that holds the lock of an event or of
    standard error. So it only puts a word in a queue, which is safe there; a thread does what was asked.
    """

    def __init__(self) -> None:
        self.soften: Callable[[], None] | None = None
        self.asked = False
        self._orders: SimpleQueue[Callable[[], None]] | None = None

    def install(self) -> None:
        """Take over the signals; only the main thread of a program may."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup is kept
                signal.signal(number, self.handle)

    def listen(self, soften: Callable[[], None]) -> None:
        """Call ``soften`` at the first signal from now on."""
        import queue
        import threading

        orders: SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._orders = orders
        threading.Thread(target=lambda: orders.get()(), name="nxc-interrupts", daemon=True).start()
        self.soften = soften

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.soften is None or self._orders is None or self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._orders.put(self.soften)


class Invocation:
    """One run of the command line. ``extra`` plugins serve programs that embed it."""

    def __init__(self, interrupts: Interrupts | None = None, extra: Sequence[object] = ()) -> None:
        self.interrupts = interrupts or Interrupts()
        self.extra = extra
        self.common = Common()
        self.rest: tuple[str, ...] = ()
        """The command that follows --, where it is kept apart."""
        self.overrides: dict[str, Setting] = {}
        self._report: Report | None = None
        self._plugins: Plugins | None = None
        self._session: Session | None = None
        self._settings: Settings | None = None

    def merge(self, common: Common) -> None:
        """Take over what was given; later ones win, and ``-v`` adds up."""
        mine = self.common
        self.common = Common(
            project=common.project or mine.project,
            offline=mine.offline if common.offline is None else common.offline,
            verbose=common.verbose + mine.verbose,
            quiet=common.quiet or mine.quiet,
            log_file=common.log_file or mine.log_file,
        )

    # Where

    @property
    def start(self) -> Path:
        """The folder that relative paths are meant from."""
        folder = self.common.project or Path()
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", hint="give an existing one to -C")
        return folder.resolve()

    def path(self, given: Path) -> Path:
        """Return a path as it was meant."""
        return self.start / given.expanduser()

    # What

    def override(self, key: str, value: Json, origin: str) -> None:
        """Set a value from the command line; nothing else stands above it."""
        from nxc_core.config import Setting

        self.overrides[key] = Setting(value=value, origin=origin)

    @property
    def settings(self) -> Settings:
        """All settings; raises ConfigError."""
        from nxc_core.config import load_settings

        if self._settings is None:
            if self.common.offline is not None:
                self.override(
                    "offline", self.common.offline, "--offline" if self.common.offline else "--online"
                )
            self._settings = load_settings(self.start, overrides=self.overrides)
        return self._settings

    @property
    def plugins(self) -> Plugins:
        """The plugins, found once."""
        if self._plugins is None:
            from nxc_core.plugins import Plugins

            self._plugins = Plugins.discover(extra=self.extra)
        return self._plugins

    def check_options(self) -> None:
        """Raise ConfigError for an option of any driver that a file sets wrongly."""
        if any(key.startswith("options.") for key in self.settings.values):
            from nxc_core.options import check_written

            check_written(self.settings, self.plugins)

    def session(self, *, configured: bool = True) -> Session:
        """Return the project's session. What only looks or removes works with a broken configuration too."""
        if self._session is None:
            from nxc_core.config import find_root
            from nxc_core.report import Report
            from nxc_core.session import Session

            if configured:
                self.check_options()
            offline = bool(self.settings.get("offline")[0]) if configured else bool(self.common.offline)
            root = self.settings.root if configured else find_root(self.start)
            self._report = Report(*self._sinks())
            self._session = Session.open(root, sinks=[self._report], offline=offline, plugins=self.plugins)
            self.interrupts.listen(self._soften)
            gc.enable()
        return self._session

    def _sinks(self) -> list[Any]:
        from nxc_core.report import FileSink, choose_sink

        sinks: list[Any] = [choose_sink(sys.stderr, verbose=self.common.verbose, quiet=self.common.quiet)]
        if self.common.log_file is not None:
            path = self.path(self.common.log_file)
            try:
                sinks.append(FileSink(path))
            except OSError as error:
                raise UsageError(
                    f"{path} cannot be written: {error.strerror}", hint="give another --log-file"
                ) from error
        if self.common.verbose > 1:
            import logging

            logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="%(name)s: %(message)s")
        return sinks

    def _soften(self) -> None:
        assert self._session is not None
        self._session.interrupt()
        write(sys.__stderr__ or sys.stderr, "\nstopping (once more: at once)\n")

    @contextmanager
    def abrupt(self) -> Iterator[None]:
        """Let the first signal end what runs here: code that nxc did not write does not look for it."""
        self.interrupts.soften, former = None, self.interrupts.soften
        try:
            yield
        finally:
            self.interrupts.soften = former

    # Saying

    def pause(self) -> None:
        """Let progress leave the terminal to what comes now."""
        if self._report is not None:
            self._report.close()

    def tell(self, text: str) -> None:
        """Write a result to standard output."""
        self.pause()
        write(sys.stdout, text + "\n")

    def tell_json(self, value: Any) -> None:
        """Write a result for a program."""
        import json

        self.tell(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=not _is_utf8(), default=str))

    def tell_table(self, rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
        """Write aligned columns."""
        widths = [
            max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows), default=0))
        ]
        for row in rows:
            cells = [cell.ljust(widths[i]) for i, cell in enumerate(row)]
            self.tell(indent + "  ".join(cells).rstrip())

    def note(self, text: str) -> None:
        """Write a remark to standard error, unless asked to be quiet."""
        if not self.common.quiet:
            self.pause()
            write(sys.stderr, text + "\n")

    def warn(self, text: str) -> None:
        """Write a warning to standard error."""
        self.pause()
        write(sys.stderr, f"warning: {text}\n")


def _is_utf8() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


def verb(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Make a typer command of ``function(nxc, ...)``.

    ``nxc`` is the Invocation; parameters whose type is an attrs class become that class's options.
    The common options are added. What the function returns is the exit code.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    own = list(inspect.signature(function).parameters.values())[1:]
    packs = {p.name: hints[p.name] for p in own if has(hints[p.name])}
    packs["common"] = Common
    parameters = [inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for one in own:
        if one.name not in packs:
            parameters.append(one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[one.name]))
    for pack in packs.values():
        parameters += list(_expand(pack))

    def run(**given: Any) -> int | None:
        invocation: Invocation = given.pop("ctx").find_object(Invocation)
        for name, pack in packs.items():
            given[name] = pack(**{f.name: given.pop(f.name) for f in fields(pack)})
        invocation.merge(given.pop("common"))
        try:
            return function(invocation, **given)
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None
        finally:
            invocation.pause()

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    # what inspect.signature looks at first (PEP 362), though no function is typed to have it
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _expand(pack: type[Any]) -> Iterator[inspect.Parameter]:
    hints = typing.get_type_hints(pack, include_extras=True)
    for one in fields(pack):
        yield inspect.Parameter(
            one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name]
        )


def pick(mapping: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return some entries of a mapping."""
    return {name: mapping[name] for name in names}
