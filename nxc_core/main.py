"""The entry point; the only place that exits."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nxc_core import __version__

CRASHED = 70
_DISK = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM")


def main(argv: Sequence[str] | None = None, *, extra: Sequence[object] = ()) -> None:
    """Run the command line and exit with its code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words == ["--version"]:
        sys.stdout.write(f"nxc {__version__}\n")
        raise SystemExit(0)
    raise SystemExit(_run(words, extra))


def _run(argv: Sequence[str], extra: Sequence[object]) -> int:
    import gc

    gc.disable()  # until there is a session: importing makes no garbage, looking for it takes a tenth of it
    from nxc_core.cli import run
    from nxc_core.cli_context import Interrupts

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    interrupts = Interrupts()
    interrupts.install()
    try:
        code = run(argv, interrupts=interrupts, extra=extra)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_output()
        return 0
    except KeyboardInterrupt:
        return _tell("interrupted", "", 130)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the last resort
        return _tell_any(error, argv)


def _discard_output() -> None:
    """The reader of our output has gone: let Python's own flush at exit not complain."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(message: str, hint: str, code: int) -> int:
    from nxc_core.output import write

    write(sys.stderr, f"error: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    return code


def _tell_any(error: BaseException, argv: Sequence[str]) -> int:
    import errno

    from nxc_core.errors import NxcError, TestFailed

    if isinstance(error, BaseExceptionGroup):
        return _tell_group(error, argv)
    if isinstance(error, TestFailed) and error.frames:
        return _tell(f"{_clean(error.message)}\n{_clean(error.frames.rstrip())}", error.hint, error.exit_code)
    if isinstance(error, NxcError):
        return _tell(_clean(error.message), _clean(error.hint), error.exit_code)
    if isinstance(error, OSError) and errno.errorcode.get(error.errno or 0) in _DISK:
        from nxc_core.errors import StateError

        hint = "free some space (`nxc clean` shows what nxc keeps)"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "check whose it is: run nxc as that user, or in a folder of yours"
        return _tell(f"{error.filename or 'a file'}: {error.strerror}", hint, StateError.exit_code)
    return _tell_crash(error, argv)


def _tell_group(group: BaseExceptionGroup[BaseException], argv: Sequence[str]) -> int:
    """Several failed at once: tell each; what is a bug among them decides."""
    from nxc_core.errors import NxcError

    _, bugs = group.split(NxcError)
    if bugs is not None:
        return _tell_crash(group, argv)
    return max([_tell_any(error, argv) for error in _leaves(group)], default=CRASHED)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _clean(text: str) -> str:
    from nxc_core.output import printable

    return "\n".join(printable(line) for line in text.split("\n"))


def _tell_crash(error: BaseException, argv: Sequence[str]) -> int:
    import traceback

    trace = "".join(traceback.format_exception(error))
    first = f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        path = _save_crash(trace, argv)
    except Exception:  # noqa: BLE001 - then the screen is all that is left
        return _tell(
            f"nxc failed, which is a bug: {first}\n{trace}", "report it with the lines above", CRASHED
        )
    return _tell(
        f"nxc failed, which is a bug: {first}",
        f"report it with {path}, after a look at what it holds",
        CRASHED,
    )


def _save_crash(trace: str, argv: Sequence[str]) -> str:
    import os
    import platform
    import shlex
    import time

    from nxc_core.paths import cache_dir

    folder = cache_dir() / "crash"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.txt"
    head = f"nxc {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
    head += f"{shlex.join(['nxc', *argv])}\n\n"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as sink:
        sink.write(head + trace)
    return str(path)


if __name__ == "__main__":
    main()
