"""Running programs: ends, deadlines, cancelling, many at once, and processes that outlive us."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nxc_core import process, spawned
from nxc_core.errors import CommandError, Interrupted, PreflightError
from nxc_core.process import Command, Completed

TOKEN = f"test-process-{os.getpid()}"


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    for pid in spawned.find_all_spawned(TOKEN):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # before, or while it is read
        return False


def wait_dead(pid: int, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid)


def wait_for(probe: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_is_heard_as_it_comes_is_kept_in_part() -> None:
    heard: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def hear(stream: str, data: bytes) -> None:
        heard[stream] += data

    script = "head -c 300000 /dev/zero | tr '\\0' x; printf end; printf wrong >&2; exit 3"
    done = process.run(("sh", "-c", script), check=False, timeout=60, on_data=hear)
    assert (len(heard["stdout"]), heard["stdout"][-3:], heard["stderr"]) == (300_003, b"end", b"wrong")
    assert done.stdout == heard["stdout"][-process.KEPT :]
    assert (done.code, done.stderr) == (3, b"wrong")


def test_a_command_answers_its_end() -> None:
    done = process.run(("sh", "-c", "echo out; echo err >&2; exit 3"), check=False)
    assert (done.code, done.text, done.error_text) == (3, "out\n", "err\n")


def test_words_are_not_split() -> None:
    assert process.run(("printf", "%s|", "a b", "$HOME", "*", "")).text == "a b|$HOME|*||"


def test_a_failure_tells_command_code_and_what_it_said() -> None:
    with pytest.raises(CommandError) as told:
        process.run(("sh", "-c", "echo quietly; echo 'no such thing' >&2; exit 4"))
    assert told.value.code == 4
    assert "failed with exit code 4" in told.value.message
    assert told.value.message.endswith("no such thing")
    with pytest.raises(CommandError, match="was ended by signal 9"):
        process.run(("sh", "-c", "kill -9 $$"))


def test_a_missing_program_names_its_package() -> None:
    with pytest.raises(PreflightError) as told:
        process.run(("no-such-program-anywhere",))
    assert "no-such-program-anywhere is not installed" in told.value.message
    with pytest.raises(PreflightError) as told:
        process.find_program("no-such-program-anywhere", package="some-package")
    assert "some-package" in told.value.hint


def test_standard_input_from_bytes_and_from_a_file(tmp_path: Path) -> None:
    assert process.run(("cat",), stdin=b"\x00\xff").stdout == b"\x00\xff"
    (tmp_path / "in").write_bytes(b"from a file")
    assert process.run(("cat",), stdin=tmp_path / "in").stdout == b"from a file"
    assert process.run(("cat",)).stdout == b"", "without input there is none, not the terminal's"


def test_large_output_on_both_streams_and_large_input() -> None:
    size = 4 << 20
    done = process.run(("sh", "-c", f"head -c {size} /dev/zero; head -c {size} /dev/zero >&2"), timeout=60)
    assert (len(done.stdout), len(done.stderr)) == (size, size)
    assert len(process.run(("cat",), stdin=b"x" * size, timeout=60).stdout) == size


def test_very_large_input_is_not_copied_for_each_piece() -> None:
    size = 200 << 20
    assert int(process.run(("wc", "-c"), stdin=bytes(size), timeout=100).text) == size  # once 150 s


def test_a_command_may_leave_its_input_unread() -> None:
    assert process.run(("head", "-c", "1"), stdin=b"x" * (1 << 20), timeout=20).stdout == b"x"


def test_output_goes_to_a_file(tmp_path: Path) -> None:
    done = process.run(("echo", "hello"), output=tmp_path / "out")
    assert (done.stdout, (tmp_path / "out").read_text()) == (b"", "hello\n")


def test_lines_are_told_as_they_come_the_last_one_too() -> None:
    lines: list[str] = []
    process.run(("sh", "-c", r"printf 'one\ntwo\rthree\n\nlast'; printf 'wrong' >&2"), on_line=lines.append)
    assert sorted(lines) == sorted(["one", "two", "three", "last", "wrong"])


def test_a_late_command_is_ended_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; echo busy >&2; wait"
    for timeout in (0.3, 3, 30):
        with pytest.raises(CommandError, match=f"was not done after {timeout} s") as told:
            process.run(("sh", "-c", script), timeout=timeout)
        assert told.value.code is None
        if "busy" in told.value.message:  # so far it came in that time
            break
    assert "busy" in told.value.message
    assert wait_dead(int((tmp_path / "pid").read_text()))


def test_a_command_that_ended_while_we_were_stopped_was_not_late() -> None:
    with process.Loop(timeout=0.2) as loop:
        loop.open(0, Command(argv=("echo", "done")))
        assert wait_dead(loop.children[0].process.pid)
        time.sleep(0.3)
        while not (found := list(loop.turn())):
            pass
    ((_, done),) = found
    assert isinstance(done, Completed) and done.text == "done\n"


def test_a_command_that_ignores_the_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    with pytest.raises(CommandError, match="was not done"):
        process.run(("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"), timeout=0.2)


def test_a_grandchild_that_holds_the_pipes_is_not_waited_for(tmp_path: Path) -> None:
    start = time.monotonic()
    done = process.run(("sh", "-c", f"sleep 30 & echo $! > {tmp_path}/pid; echo done"), timeout=20)
    assert (done.text, time.monotonic() - start < 25) == ("done\n", True)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_cancelling_ends_the_command_at_once() -> None:
    cancelled, heard = threading.Event(), []

    def hear(line: str) -> None:
        heard.append(line)
        cancelled.set()

    start = time.monotonic()
    with pytest.raises(Interrupted):
        process.run(("sh", "-c", "echo $$; exec sleep 600"), cancelled=cancelled, on_line=hear)
    assert time.monotonic() - start < 300
    assert wait_dead(int(heard[0]))


def test_many_commands_answer_in_the_order_asked() -> None:
    threads = threading.active_count()
    commands = [Command(argv=("sh", "-c", f"sleep 0.0{9 - n % 10}; exit {n}")) for n in range(60)]
    commands.insert(30, Command(argv=("sleep", "600"), timeout=3))
    ended = process.run_all(commands, limit=16, timeout=300)
    late = ended.pop(30)
    assert isinstance(late, CommandError)
    assert late.code is None
    assert [done.code for done in ended if isinstance(done, Completed)] == list(range(60))
    assert threading.active_count() <= threads  # those of earlier tests may end


def test_at_most_limit_commands_run_at_a_time(tmp_path: Path) -> None:
    script = f"touch {tmp_path}/$$; ls {tmp_path} | wc -l; sleep 0.1; rm {tmp_path}/$$"
    ended = process.run_all([Command(argv=("sh", "-c", script)) for _ in range(12)], limit=3)
    assert max(int(done.text) for done in ended if isinstance(done, Completed)) <= 3


def test_a_missing_program_among_many_ends_the_others(tmp_path: Path) -> None:
    commands = [
        Command(argv=("sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60")),
        Command(argv=("nowhere-x",)),
    ]
    with pytest.raises(PreflightError):
        process.run_all(commands)


def test_what_we_run_dies_with_us(tmp_path: Path) -> None:
    script = (
        f"from nxc_core import process; process.run(('sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 60'))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen((sys.executable, "-c", script), env=environment) as nxc:
        end = time.monotonic() + 60
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
            assert time.monotonic() < end
            time.sleep(0.02)
        nxc.kill()
        nxc.wait(60)
    assert wait_dead(int((tmp_path / "pid").read_text()))


def test_a_spawned_process_outlives_us_and_is_found(tmp_path: Path) -> None:
    token = f"{TOKEN}/one"
    script = (
        "import sys; from pathlib import Path; from nxc_core import process;"
        "argv = ('sh', '-c', 'echo hello; sleep 60 & wait');"
        f"print(process.spawn(argv, token={token!r}, log=Path(sys.argv[1])))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    argv = (sys.executable, "-c", script, str(tmp_path / "log"))
    pid = int(subprocess.run(argv, env=environment, capture_output=True, check=True, timeout=120).stdout)
    end = time.monotonic() + 60
    while len(spawned.find_spawned(token)) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    assert pid in spawned.find_spawned(token)
    assert len(spawned.find_spawned(token)) == 2, "children are found as well"
    assert spawned.find_all_spawned(f"{TOKEN}/") == dict.fromkeys(spawned.find_spawned(token), token)
    assert spawned.find_spawned(f"{TOKEN}/on") == [], "a token is compared whole"
    assert spawned.stop_spawned(token)
    assert spawned.find_spawned(token) == []
    assert (tmp_path / "log").read_text() == "hello\n"


def test_a_spawned_process_is_found_as_soon_as_it_is_there(tmp_path: Path) -> None:
    token = f"{TOKEN}/prompt"
    for _ in range(50):  # right after execve(2) most programs show an empty environment
        pid = process.spawn(("sleep", "60"), token=token, log=tmp_path / "log")
        assert spawned.is_spawned(pid, token)
    assert spawned.stop_spawned(token)


def test_stopping_twice_and_stopping_nothing_is_success() -> None:
    assert spawned.stop_spawned(f"{TOKEN}/never")


def test_a_spawned_process_that_ignores_the_end_is_killed(tmp_path: Path) -> None:
    token = f"{TOKEN}/deaf"
    log = tmp_path / "log"
    process.spawn(("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done"), token=token, log=log)
    end = time.monotonic() + 60
    while not log.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    assert spawned.stop_spawned(token, grace=0.3)


HOLDING = """
import mmap, pathlib, socket, sys, time
memory = mmap.mmap(-1, 256 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
link = socket.create_server(("127.0.0.1", 0))
print(link.getsockname()[1], flush=True)
time.sleep(60)
"""


def test_what_a_stopped_process_held_is_free(tmp_path: Path) -> None:
    """A process that gives back its memory is not gone: it has no environment, but its ports still."""
    token, log = f"{TOKEN}/holding", tmp_path / "log"
    process.spawn((sys.executable, "-c", HOLDING), token=token, log=log)
    wait_for(lambda: log.read_text().endswith("\n"))
    assert spawned.stop_spawned(token)
    socket.create_server(("127.0.0.1", int(log.read_text()))).close()


def test_a_process_whose_first_thread_has_ended_is_found(tmp_path: Path) -> None:
    token = f"{TOKEN}/headless"
    script = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
    pid = process.spawn(
        (sys.executable, "-c", f"{script}; ctypes.CDLL(None).syscall(60, 0)"),
        token=token,
        log=tmp_path / "log",
    )
    wait_for(lambda: not is_alive(pid))
    assert spawned.is_spawned(pid, token)
    assert spawned.stop_spawned(token)


def test_what_is_started_at_the_last_moment_is_stopped_too(tmp_path: Path) -> None:
    token, log = f"{TOKEN}/late", tmp_path / "log"
    argv = ("sh", "-c", "trap 'sleep 60 & exit' TERM; echo there; while :; do sleep 0.05; done")
    process.spawn(argv, token=token, log=log)
    wait_for(lambda: bool(log.read_text()))
    start = time.monotonic()
    assert spawned.stop_spawned(token, grace=30)
    assert time.monotonic() - start < 25, "it was not asked to end"
