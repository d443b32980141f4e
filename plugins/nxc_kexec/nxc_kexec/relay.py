"""The relay: takes big files from one machine while it hands them on to others. Runs on the machines.

Its source travels there by ssh, with ``relay_parts`` and nothing else of nxc, and keeps to Python 3.7.
``relay.pl`` is the same in Perl and is preferred, since every Debian has it. It is told by lines of input:

    folder PATH, token WORD, life SECONDS, listen ADDRESS, file NAME SIZE SHA256, go   once, in this order
    pull ADDRESS PORT   take what is missing from that relay
    feed                another command will append what is missing here
    drop NAME           begin this file again
    life SECONDS        live on

and tells by lines of output: ``@port N``, ``@at BYTES...`` (of each file, every second),
``@fed BYTES...`` (it waits for that command), ``@good NAME``, ``@bad NAME DROPS``, ``@foreign ADDRESS``,
``@lost ADDRESS PORT WHY``, ``@done``. It leaves when its input ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import time
from urllib.parse import unquote

from nxc_kexec.relay_parts import CHUNK, Caller, Part, give_up, tell

BITE = 1 << 16
"""Bytes that must have arrived to be worth waking up for: packets come one by one."""
CONNECT, UNKNOWN = 5.0, 10.0
"""Seconds for a connection to come about, and for one who calls to say the token."""
CALLERS = 64


class Relay:
    """All that one relay does, from one loop."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.callers: dict[int, Caller] = {}
        self.told = b""
        self.folder = self.token = ""
        self.listener: socket.socket | None = None
        self.source: socket.socket | None = None
        self.taking: Part | None = None
        self.peer = ("", 0)
        self.ask = b""
        self.give_up_at = 0.0
        self.fed = self.finished = False
        self.beat = 0.0
        self.drops = 0

    # What it is told

    def hear(self) -> None:
        """Take what is on standard input."""
        data = os.read(0, CHUNK)
        if not data:
            os._exit(0)
        *lines, self.told = (self.told + data).split(b"\n")
        for line in lines:
            self.obey(line.decode().split())

    def obey(self, words: list[str]) -> None:
        """Do what one line says."""
        verb, rest = words[0], words[1:]
        if verb == "folder":
            self.folder = unquote(rest[0])
            self.lock()
        elif verb == "token":
            self.token = rest[0]
        elif verb == "life":
            signal.alarm(int(rest[0]))
        elif verb == "listen":
            self.listen(rest[0])
        elif verb == "file":
            self.parts.append(Part(self.folder, rest[0], int(rest[1]), rest[2]))
        elif verb == "go":
            assert self.listener is not None
            tell("at", *self.sizes())
            tell("port", self.listener.getsockname()[1])
        elif verb == "pull":
            self.connect(rest[0], int(rest[1]))
        elif verb == "feed":
            self.close_source()
            self.fed = True
            tell("fed", *self.sizes())
        elif verb == "drop":
            self.drops += 1
            for part in self.parts:
                if part.name == rest[0] and not part.good:
                    self.begin(part)

    def lock(self) -> None:
        """Have the folder alone: two relays would write the same file.

        One that nobody tells anything any more, as after its connection was lost, ends soon.
        """
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            give_up(f"{self.folder}: {error.strerror}")
        for _ in range(900):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.1)
        give_up(f"another broadcast is at work in {self.folder}")

    def listen(self, address: str) -> None:
        """Listen on a free port of that address; of any, where it is not this machine's own."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.listener.bind((address, 0))
        except OSError:
            self.listener.bind(("", 0))
        self.listener.listen(CALLERS)
        self.listener.setblocking(False)

    # What it takes

    def connect(self, address: str, port: int) -> None:
        """Turn to another relay for what is missing."""
        self.close_source()
        self.fed = False
        self.peer = (address, port)
        if self.missing() is None:
            return
        self.source = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        self.source.setblocking(False)
        self.give_up_at = time.monotonic() + CONNECT
        code = self.source.connect_ex((address, port))
        if code not in (0, errno.EINPROGRESS):
            self.lose(os.strerror(code))
        else:
            self.request()
            self.set_bite()

    def missing(self) -> Part | None:
        """Return the first file that is not all here."""
        return next((part for part in self.parts if part.have < part.size), None)

    def sizes(self) -> list[int]:
        """Return how many bytes of each file are here."""
        return [part.have for part in self.parts]

    def request(self) -> None:
        """Ask for the next file that is not all here, from where it ends."""
        self.taking = self.missing()
        if self.taking is None:
            self.close_source()
        else:
            self.ask = f"{self.token} {self.taking.name} {self.taking.have}\n".encode()

    def send_request(self) -> None:
        """Say what is wanted, once the connection is there."""
        assert self.source is not None
        code = self.source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.lose(os.strerror(code))
            return
        self.give_up_at = 0.0
        try:
            self.ask = self.ask[self.source.send(self.ask) :]
        except OSError as error:
            self.lose(error.strerror or str(error))

    def take(self) -> None:
        """Take what has arrived."""
        assert self.source is not None and self.taking is not None
        try:
            data = self.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self.lose(error.strerror or str(error))
            return
        if not data:
            self.lose("it closed the connection")
            return
        self.taking.write(data)
        if self.taking.have >= self.taking.size:
            self.request()
        self.set_bite()

    def set_bite(self) -> None:
        """Sleep until there is enough to take, or all that is missing."""
        if self.source is not None and self.taking is not None:
            enough = max(1, min(BITE, self.taking.size - self.taking.have))
            self.source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, enough)

    def follow(self) -> None:
        """See how far another command has written."""
        for part in self.parts:
            if part.have < part.size:
                part.have = min(part.size, os.fstat(part.fd).st_size)

    def lose(self, why: str) -> None:
        """Say that nothing more comes from there."""
        self.close_source()
        tell("lost", *self.peer, why)

    def close_source(self) -> None:
        """Let go of the relay that this one takes from."""
        if self.source is not None:
            self.source.close()
        self.source = self.taking = None
        self.give_up_at = 0.0

    def begin(self, part: Part) -> None:
        """Begin a file again, and send nobody what was in it."""
        part.begin()
        self.close_source()
        for caller in list(self.callers.values()):
            if caller.part is part:
                self.close(caller)

    # What it gives

    def accept(self) -> None:
        """Let somebody in who will have to know the token."""
        assert self.listener is not None
        try:
            sock, address = self.listener.accept()
        except OSError:
            return
        if len(self.callers) >= CALLERS:
            sock.close()
            return
        sock.setblocking(False)
        self.callers[sock.fileno()] = Caller(sock, address[0])

    def close(self, caller: Caller) -> None:
        """Let go of somebody who took from here."""
        self.callers.pop(caller.sock.fileno(), None)
        caller.sock.close()

    def read_request(self, caller: Caller) -> None:
        """Read what a caller wants: the token, a file and where to begin."""
        try:
            data = caller.sock.recv(1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        caller.line += data
        if not data or len(caller.line) > 1024:
            self.turn_away(caller)
            return
        if b"\n" in caller.line:
            words, caller.line = caller.line.split(b"\n", 1)
            self.grant(caller, words.decode("ascii", "replace").split())

    def turn_away(self, caller: Caller) -> None:
        """Close a connection, and tell of one that said something else than the token."""
        if caller.line and not caller.known:
            tell("foreign", caller.address)
        self.close(caller)

    def grant(self, caller: Caller, words: list[str]) -> None:
        """Begin to send a file to somebody who knows the token."""
        caller.known = len(words) == 3 and words[0] == self.token and words[2].isdigit()
        wanted = [part for part in self.parts if caller.known and part.name == words[1]]
        if not wanted:
            caller.line = b"?"
            self.turn_away(caller)
            return
        caller.part, caller.at, caller.rest = wanted[0], int(words[2]), b""

    def give(self, caller: Caller) -> None:
        """Send a caller some more."""
        if not caller.rest and caller.part is not None:
            part = caller.part
            caller.rest = os.pread(part.fd, min(CHUNK, max(0, part.have - caller.at)), caller.at)
            caller.at += len(caller.rest)
        try:
            caller.rest = caller.rest[caller.sock.send(caller.rest) :]
        except BlockingIOError:
            return
        except OSError:
            self.close(caller)

    # The loop

    def watched(self) -> dict[int, int]:
        """Return what to wait for on which descriptor."""
        found = {0: select.POLLIN}
        if self.listener is not None:
            found[self.listener.fileno()] = select.POLLIN
        for number, caller in self.callers.items():
            found[number] = select.POLLIN | (select.POLLOUT if caller.has_work() else 0)
        if self.source is not None:
            found[self.source.fileno()] = select.POLLOUT if self.ask else select.POLLIN
        return found

    def turn(self) -> None:
        """Wait a moment, and do what there is to do."""
        behind = any(part.behind() and not part.good for part in self.parts)
        poller = select.poll()
        for number, events in self.watched().items():
            poller.register(number, events)
        for number, happened in poller.poll(0 if behind else 20 if self.fed else 250):
            self.attend(number, bool(happened & ~select.POLLOUT), bool(happened & select.POLLOUT))
        if self.fed:
            self.follow()
        self.report()
        self.look_at_clock()

    def attend(self, number: int, readable: bool, writable: bool) -> None:
        """Do what one descriptor is ready for."""
        if number == 0:
            self.hear()
        elif self.listener is not None and number == self.listener.fileno():
            self.accept()
        elif self.source is not None and number == self.source.fileno():
            if self.ask:
                self.send_request()
            else:
                self.take()
        elif number in self.callers:
            caller = self.callers[number]
            if readable:
                self.read_request(caller)
            if writable and number in self.callers:
                self.give(caller)

    def report(self) -> None:
        """Take more of the sums, and tell what is known of whole files."""
        for part in self.parts:
            if part.check():
                if part.good:
                    tell("good", part.name)
                else:
                    tell("bad", part.name, self.drops)
                    self.begin(part)
        if self.parts and not self.finished and all(part.good for part in self.parts):
            self.finished = True
            tell("done")

    def look_at_clock(self) -> None:
        """Tell how far it is every second, and end what takes too long to begin."""
        now = time.monotonic()
        if self.source is not None and self.give_up_at and now > self.give_up_at:
            self.lose(f"no answer after {CONNECT:g} s")
        for caller in list(self.callers.values()):
            if not caller.known and now > caller.since + UNKNOWN:
                self.turn_away(caller)
        if now > self.beat + 1:
            self.beat = now
            tell("at", *self.sizes())


def main() -> None:
    """Relay until told to leave."""
    os.umask(0o077)
    relay = Relay()
    while True:
        relay.turn()


if __name__ == "__main__":
    main()
