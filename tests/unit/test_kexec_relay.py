"""One relay of a broadcast, spoken to directly: whom it serves, when it leaves, what it keeps."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.relaying import LANGUAGES, Language


class Relay:
    """One relay, spoken to directly."""

    def __init__(self, language: Language, folder: Path, content: bytes, *more: str) -> None:
        programs = Path(__file__).parents[2] / "plugins/nxc_kexec/nxc_kexec"
        here: dict[Language, tuple[str, ...]] = {
            "perl": ("perl", *more, str(programs / "relay.pl")),
            "python": (sys.executable, str(programs / "relay.py")),
        }
        argv = here[language]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        sum = hashlib.sha256(content).hexdigest()
        self.say(f"folder {quote(str(folder))}", "token secret", "life 60", "listen 127.0.42.9")
        self.say(f"file image {len(content)} {sum}", "go")
        self.port = int(self.hear("port")[0])

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def say(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())

    def hear(self, verb: str) -> list[str]:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline().decode():
            if line.startswith(f"@{verb}"):
                return line.split()[1:]
        raise AssertionError(f"it ended before it said {verb}")

    def ask(self, line: bytes) -> bytes:
        with socket.create_connection(("127.0.42.9", self.port), timeout=30) as caller:
            caller.sendall(line)
            answer = b""
            while data := caller.recv(1 << 16):
                answer += data
                if len(answer) >= 1000:
                    break
            return answer


@pytest.fixture(params=LANGUAGES)
def relay(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Relay]:
    (tmp_path / "image").write_bytes(b"0123456789" * 100)
    made = Relay(request.param, tmp_path, b"0123456789" * 100)
    yield made
    made.end()


def test_a_stranger_gets_nothing_and_is_told_of(relay: Relay) -> None:
    for line in (b"wrong image 0\n", b"GET / HTTP/1.1\r\n\r\n", b"secret\n", b"secret image -1\n"):
        assert relay.ask(line) == b""
        assert relay.hear("foreign") == ["127.0.0.1"]
    assert relay.ask(b"secret image 0\n") == b"0123456789" * 100


def test_a_relay_leaves_when_nobody_tells_it_anything_any_more(relay: Relay) -> None:
    assert relay.process.stdin is not None
    relay.process.stdin.close()
    assert relay.process.wait(30) == 0
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        relay.ask(b"secret image 0\n")


def test_a_relay_leaves_when_it_is_not_told_to_live_on(relay: Relay) -> None:
    """Its end of a connection that was lost may stay for long."""
    relay.say("life 1")
    assert relay.process.wait(30) == -signal.SIGALRM


def test_a_relay_leaves_when_nobody_hears_it_any_more(relay: Relay) -> None:
    assert relay.process.stdout is not None
    relay.process.stdout.close()
    assert relay.process.wait(30) != 0


def test_what_is_whole_is_not_dropped(relay: Relay) -> None:
    relay.hear("good")
    relay.say("drop image")
    relay.say("pull 127.0.42.9 1")  # nothing is missing
    assert relay.ask(b"secret image 0\n") == b"0123456789" * 100


def test_a_clock_that_is_set_back_silences_no_relay(tmp_path: Path) -> None:
    (tmp_path / "Back.pm").write_text(
        "package Back; my $now = time; BEGIN { *CORE::GLOBAL::time = sub () { $now -= 100 } } 1;\n"
    )
    made = Relay("perl", tmp_path, b"0123456789" * 100, f"-I{tmp_path}", "-MBack")
    try:
        assert [made.hear("at") for _ in range(3)] == [["0"]] * 3
    finally:
        made.end()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_relay_says_why_it_cannot_take(language: Language, tmp_path: Path) -> None:
    made = Relay(language, tmp_path, b"0123456789" * 100)
    try:
        made.say("pull 127.0.42.9 1")
        assert made.hear("lost") == ["127.0.42.9", "1", "Connection", "refused"]
        made.say("pull 127.0.42.9 2")
        assert made.hear("lost")[:2] == ["127.0.42.9", "2"]
    finally:
        made.end()
