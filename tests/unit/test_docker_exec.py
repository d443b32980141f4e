"""A command in a container: what comes over its one connection, and how it ends."""

from __future__ import annotations

import errno
import io
import os
import random
import selectors
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from nxc_core import CommandError, Interrupted
from nxc_core.process import KEPT
from nxc_docker.connection import EngineConnection
from nxc_docker.exec import _END, STDERR, STDOUT, Unheard, _Stream, _Streams, _Talk
from tests.docker_stubs import engine_of


def frames(*parts: tuple[int, bytes]) -> bytes:
    return b"".join(bytes([number, 0, 0, 0]) + len(part).to_bytes(4, "big") + part for number, part in parts)


@pytest.mark.parametrize("seed", range(20))
def test_streams_are_told_apart_however_they_are_cut(seed: int) -> None:
    dice = random.Random(seed)
    body = [(dice.choice((STDOUT, STDERR)), dice.randbytes(dice.randint(0, 300))) for _ in range(30)]
    data = frames((STDOUT, b"42"), (STDOUT, b"\n"), *body)
    streams = _Streams(write=None)
    while data:
        size = dice.randint(1, 200)
        streams.feed(data[:size])
        data = data[size:]
    assert streams.pid == "42"
    for number in (STDOUT, STDERR):
        assert streams.text(number) == b"".join(part for one, part in body if one == number)


def test_an_engines_complaint_is_no_output() -> None:
    streams = _Streams(write=None)
    streams.feed(frames((STDOUT, b"OCI runtime exec failed: "), (STDERR, b"no sh")))
    assert streams.pid == ""
    assert streams.text(STDOUT) == b""
    assert streams.text(STDERR) == b"OCI runtime exec failed: no sh"


def test_output_may_go_to_a_file() -> None:
    sink = io.BytesIO()
    streams = _Streams(write=sink.write)
    streams.feed(frames((STDOUT, b"7\nfirst"), (STDERR, b"aside"), (STDOUT, b" second")))
    assert sink.getvalue() == b"first second"
    assert streams.text(STDERR) == b"aside"


def test_output_may_be_heard_as_it_comes() -> None:
    heard: list[tuple[str, bytes]] = []
    streams = _Streams(write=None, on_data=lambda stream, data: heard.append((stream, data)))
    streams.feed(frames((STDOUT, b"42"), (STDOUT, b"\n"), (STDOUT, b"one"), (STDERR, b"two")))
    assert heard == [("stdout", b"one"), ("stderr", b"two")], "the pid is for nxc"
    streams.feed(frames((STDOUT, b"x" * 100_000)))
    assert streams.text(STDOUT) == b"x" * KEPT, "only the end is kept of what was heard"


def test_who_cannot_hear_is_told_apart_from_a_lost_engine() -> None:
    def fail(stream: str, data: bytes) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    streams = _Streams(write=None, on_data=fail)
    with pytest.raises(Unheard) as caught:
        streams.feed(frames((STDOUT, b"42\nword")))
    assert isinstance(caught.value.__cause__, BrokenPipeError)


def test_what_is_late_is_ended_with_all_it_started() -> None:
    """The script that runs in a container, here: it ends a session, and nothing else."""
    script = "trap '' TERM; sleep 300 & env -i sleep 300 & echo; wait"
    with (
        subprocess.Popen(("sh", "-c", script), start_new_session=True, stdout=subprocess.PIPE) as late,
        subprocess.Popen(("sleep", "300"), start_new_session=True) as other,
    ):
        assert late.stdout is not None
        late.stdout.readline()
        try:
            for name in ("TERM", "KILL"):
                subprocess.run(("/bin/sh", "-c", _END, str(late.pid), name), check=True, timeout=60)
            assert late.wait(timeout=60) == -signal.SIGKILL
            assert _members(late.pid) == []
            assert other.poll() is None, "a stranger's process was ended"
        finally:
            other.kill()
            for pid in _members(late.pid):
                os.kill(pid, signal.SIGKILL)


def test_an_interruption_is_told_whatever_the_engine_does() -> None:
    def hang(*_: object, **__: object) -> None:
        raise requests.exceptions.ReadTimeout("Read timed out.")

    asked = threading.Event()
    asked.set()
    here, there = socket.socketpair()
    with here, there, selectors.DefaultSelector() as selector:
        here.setblocking(False)
        talk = _Talk(
            engine=engine_of(exec_create=hang, exec_inspect=hang),
            container="web-1-a",
            stream=_Stream(id="1", raw=here, early=frames((STDOUT, b"42\n")), response=None),
            source=iter(()),
            streams=_Streams(write=None),
            selector=selector,
        )
        with pytest.raises(Interrupted):
            talk.run(None, asked)


class Slow:
    """An engine that knows more by and by: each of its answers comes once, the last one again and again."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.begun: list[list[str]] = []
        self.here, self.there = socket.socketpair()
        self.here.setblocking(False)

    def _inspect(self, id: str) -> dict[str, Any]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _create(self, container: str, words: list[str]) -> dict[str, str]:
        self.begun.append(words)
        return {"Id": "2"}

    def _say(self, parts: tuple[tuple[float, bytes], ...]) -> None:
        for pause, part in parts:
            time.sleep(pause)
            if part:
                self.there.sendall(part)
            else:
                self.there.shutdown(socket.SHUT_WR)

    def run(self, *parts: tuple[float, bytes], deadline: float | None = None) -> tuple[int | None, bytes]:
        """Run a command that says parts, each after a pause, and ends with an empty one.

        Returns its code, and what was heard of it.
        """
        streams = _Streams(write=None)
        calls: Any = {"exec_create": self._create, "exec_inspect": self._inspect}
        saying = threading.Thread(target=self._say, args=(parts,))
        with self.here, self.there, selectors.DefaultSelector() as selector:
            talk = _Talk(
                engine=engine_of(exec_start=lambda *_, **__: None, **calls),
                container="web-1-a",
                stream=_Stream(id="1", raw=self.here, early=b"", response=None),
                source=iter(()),
                streams=streams,
                selector=selector,
            )
            saying.start()
            code = talk.run(deadline, None)
            saying.join(timeout=60)
        return code, streams.text(STDOUT)


PID = frames((STDOUT, b"42\n"))
RUNS = {"Running": True, "ExitCode": None}
NEVER_RAN = {"Running": False, "ExitCode": 0}
ENDED = {"Running": False, "ExitCode": 3}


def test_what_an_engine_passes_on_after_a_command_s_end_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SETTLING", "GRACE"):
        monkeypatch.setattr(f"nxc_docker.exec.{name}", 60.0)
    words = [(0.8, frames((STDOUT, word))) for word in (b"the ", b"last ", b"words")]
    assert Slow(ENDED).run((0, PID), *words, (0, b"")) == (3, b"the last words")


def test_a_command_that_a_busy_engine_has_not_begun_is_waited_for() -> None:
    """Such an engine says of it that it does not run; podman even, that it ended well."""
    assert Slow(NEVER_RAN).run((1.5, PID + frames((STDOUT, b"word"))), (0, b"")) == (0, b"word")


def test_what_is_late_before_it_has_begun_is_ended_when_it_begins() -> None:
    slow = Slow(ENDED)
    assert slow.run((0.5, PID), deadline=time.monotonic()) == (None, b"")
    assert [words[-2:] for words in slow.begun] == [["42", "TERM"]]


def test_how_a_command_ended_may_be_known_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nxc_docker.exec.GRACE", 0.05)
    assert Slow(*[RUNS] * 9, ENDED).run((0, PID), (0, b""))[0] == 3


def test_a_connection_by_tls_on_which_nothing_came_yet_is_taken() -> None:
    class Silent(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise ssl.SSLWantReadError(2, "The operation did not complete")

    response = SimpleNamespace(raw=SimpleNamespace(_fp=SimpleNamespace(fp=io.BufferedReader(Silent()))))
    here, there = socket.socketpair()
    with here, there:
        held = SimpleNamespace(_sock=here, _response=response)
        assert _Stream.take("1", held).early == b""


def _members(session: int) -> list[int]:
    end = time.monotonic() + 10
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if words[3] == str(session) and words[0] != "Z":
                found.append(int(path.parent.name))
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("the engine was asked")


def _fill(*_: object, **__: object) -> None:
    raise Unheard from OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("place", "execute", "words"),
    [("none/out", None, "No such file"), ("out", _fill, "No space left")],
)
def test_a_file_of_this_machine_that_fails_is_no_lost_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, execute: Any, words: str
) -> None:
    if execute is not None:
        monkeypatch.setattr("nxc_docker.connection.execute", execute)
    with pytest.raises(CommandError) as caught:
        EngineConnection(engine_of(exec_create=_refuse), "web-1-a")._execute(
            ("tar", "-c", "/x"), 60, None, tmp_path / place
        )
    assert caught.value.message.startswith(f"{tmp_path / place}: {words}")


def test_what_cannot_be_written_ends_the_command() -> None:
    def fail(data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Unheard):
        _Streams(write=fail).feed(frames((STDOUT, b"42\nword")))


@pytest.mark.parametrize(("terminal", "option"), [(True, "-it"), (False, "-i")])
def test_a_shell_has_a_terminal_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, option: str
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: terminal))
    argv = EngineConnection(engine_of(), "web-1-a").shell_argv(("id",))
    assert argv == ("docker", "exec", option, "web-1-a", "id")
