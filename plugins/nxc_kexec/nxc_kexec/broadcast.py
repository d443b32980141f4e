"""Big files to many machines: one copy leaves here, the machines hand it on to each other.

A relay runs on every machine, over the connection that is there already, and says what it has; ``chain``
decides who takes from whom. Relays talk plain TCP, on a free port each, to callers that know the broadcast's
token; the sum of each file is what counts in the end. What has arrived stays for a later broadcast.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import resource
import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.resources import files as resources
from pathlib import Path
from urllib.parse import quote

from attrs import evolve, field, frozen

from nxc_core import CommandError, Operation
from nxc_core.flows import Flow
from nxc_kexec.chain import STALL, Chain, Member
from nxc_kexec.feeding import Feeds, Run, Sent

STARTS = 3
"""How often a relay is started that ends by itself."""
GATHER = 0.5
"""Seconds after the first relay in which others may take their place in the row as they were given."""
LOOK = 0.25
"""Seconds between two looks at how fast machines receive."""
AWAY = 4.0
"""Seconds without a look after which it is we who were stopped: relays speak every second."""
EACH, MARGIN = 4, 256
"""Files that a relay has open here, and those for all else."""
LIFE, RENEW = 60, 10.0
"""Seconds that a relay lives unless it is told to live on, and how often it is."""
_START = (
    "umask 077; LC_ALL=C; export LC_ALL; "
    'command -v perl >/dev/null 2>&1 && command -v sha256sum >/dev/null 2>&1 && exec perl -e "$1"; '
    'command -v python3 >/dev/null 2>&1 && exec python3 -c "$2"; '
    "echo 'there is neither perl nor python3' >&2; exit 1"
)
_PERL = (
    "sub some{my($n,$b)=(shift,'');while(length$b<$n){sysread(STDIN,$b,$n-length$b,length$b)or exit 9}$b}"
    "my($p,$y)=unpack'A8A8',some(16);my$s=some($p);some($y);eval$s;die$@"
)
# In one line where it travels: not every login shell takes a word of several.
_PYTHON = """import os
def take(n):
    b = b""
    while len(b) < n:
        c = os.read(0, n - len(b))
        c or os._exit(9)
        b += c
    return b
p, y = int(take(8)), int(take(8))
take(p)
exec(compile(take(y), "relay", "exec"), {"__name__": "__main__"})
"""
_MODULES = """import sys, types
for name, source in {sources!r}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
module.main()
"""
_WORD = re.compile(
    r"@((at|fed)( \d+)+|port \d+|lost \S+ \d+( .*)?|bad \S+ \d+|good \S+|foreign \S+|done)", re.ASCII
)
"""What a relay may say."""


@frozen(kw_only=True)
class Target:
    """A machine that is to have the files in ``folder``.

    ``run`` makes the command that runs words there, with its standard input free; ``address`` is what other
    machines reach it by. ``have`` tells the SHA-256 of what is there for sure.
    """

    name: str
    address: str
    folder: str
    run: Run = field(repr=False)
    have: Mapping[str, str] = field(factory=dict)


def broadcast(
    files: Sequence[Path],
    targets: Sequence[Target],
    op: Operation,
    *,
    timeout: float,
    sums: Mapping[Path, str] | None = None,
    fanout: int = 1,
) -> dict[str, str]:
    """Bring files to all machines; answers "" or why not, for each.

    ``sums`` gives the files' SHA-256 where they are known. Raises Interrupted when cancelled; nothing listens
    or runs anywhere after this, however it ends, but what has arrived stays for the next time.
    """
    sent = [
        Sent(path, path.name, path.stat().st_size, (sums or {}).get(path) or digest(path)) for path in files
    ]
    lacking = [
        target for target in targets if any(target.have.get(file.name) != file.sha256 for file in sent)
    ]
    causes = {target.name: "" for target in targets}
    if lacking:
        with contextlib.ExitStack() as stack:
            causes |= Broadcast(sent, lacking, op, timeout, stack, fanout).run()
    return causes


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def allow_files(more: int) -> None:
    """Let this process have so many more files open, as far as it may; the usual limit is low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted, unlimited = more + MARGIN, resource.RLIM_INFINITY
    if soft != unlimited and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == unlimited else min(wanted, hard), hard))


class Mailbox:
    """A named pipe that is a relay's standard input: what it is told as it runs. Closing ends the relay."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o600)
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""

    def post(self, data: bytes) -> None:
        """Tell the relay something; what a full pipe does not take is told with what follows."""
        self._rest += data
        with contextlib.suppress(BlockingIOError):
            while self._rest and not self.closed:
                self._rest = self._rest[os.write(self._fd, self._rest) :]

    @property
    def closed(self) -> bool:
        """Whether the relay has been told to leave."""
        return self._fd < 0

    def close(self) -> None:
        """Tell the relay to leave."""
        if not self.closed:
            os.close(self._fd)
            self._fd = -1
            self.path.unlink()


class Broadcast:
    """One broadcast under way. All but sending from here happens in the one thread of ``op.flows``."""

    def __init__(
        self,
        files: Sequence[Sent],
        targets: Sequence[Target],
        op: Operation,
        timeout: float,
        stack: contextlib.ExitStack,
        fanout: int,
    ) -> None:
        self.files, self.op, self.timeout = files, op, timeout
        self.targets = {target.name: target for target in targets}
        self.members = {
            target.name: Member(name=target.name, address=target.address, number=number)
            for number, target in enumerate(targets)
        }
        self.chain = Chain(sum(file.size for file in files), fanout=fanout)
        self.token = secrets.token_hex(16)
        self.end = time.monotonic() + timeout
        self.first: float | None = None
        self.settled = False
        self.looked = 0.0
        self.renewed = 0.0
        self.strangers: set[tuple[str, str]] = set()
        self.boxes: dict[str, Mailbox] = {}
        op.runtime.mkdir(parents=True, exist_ok=True)
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=op.runtime, prefix="r")))
        self.feeds = Feeds(files, op, timeout)
        stack.callback(self._close)

    def run(self) -> dict[str, str]:
        """Run all relays until every machine has all, or is given up."""
        allow_files(EACH * len(self.targets))
        flows = [self._flow(target) for target in self.targets.values()]
        answers = self.op.flows(flows, limit=len(flows))
        return {
            name: answer if isinstance(answer, str) else str(answer)
            for name, answer in zip(self.targets, answers, strict=True)
        }

    def _close(self) -> None:
        for box in self.boxes.values():
            box.close()
        self.feeds.close()

    # One machine's relay

    def _flow(self, target: Target) -> Flow[str]:
        member = self.members[target.name]
        try:
            yield from self._keep_relay(target, member)
        except Exception as error:
            member.cause = str(error)  # nobody is to wait for it
            raise
        finally:
            self._go_on()
        return "" if member.done else member.cause

    def _keep_relay(self, target: Target, member: Member) -> Flow[None]:
        for attempt in range(STARTS):
            box = self._open_box(target, attempt)
            command = target.run(("sh", "-c", _START, "relay", _PERL, f"exec({_PYTHON!r})"))
            left = max(1.0, self.end - time.monotonic())
            ended = yield evolve(command, stdin=box.path, timeout=left, on_line=partial(self._hear, member))
            box.close()
            self._forget(member)
            if member.over:
                break
            if isinstance(ended, CommandError) and (ended.code in (None, 1) or attempt == STARTS - 1):
                member.cause = self._explain(member, ended)
                break
            self.op.step("starting the relay again", node=member.name)

    def _open_box(self, target: Target, attempt: int) -> Mailbox:
        number = self.members[target.name].number
        box = self.boxes[target.name] = Mailbox(self.folder / f"{number}.{attempt}")
        perl, python = (source.encode() for source in _programs())
        box.post(b"%8d%8d" % (len(perl), len(python)) + perl + python)
        lines = [f"folder {quote(target.folder)}", f"token {self.token}", self._life()]
        lines += [f"listen {target.address or '0.0.0.0'}"]
        lines += [f"file {quote(file.name)} {file.size} {file.sha256}" for file in self.files]
        self._post(target.name, *lines, "go")
        return box

    def _post(self, name: str, *lines: str) -> None:
        self.boxes[name].post("".join(f"{line}\n" for line in lines).encode())

    def _life(self) -> str:
        """Spell how long a relay lives that is not told to live on: its end of the connection may stay."""
        return f"life {max(1, min(LIFE, int(self.end - time.monotonic()) + 10))}"

    def _forget(self, member: Member) -> None:
        self.feeds.stop(member.name)
        self.chain.leave(member)

    def _explain(self, member: Member, error: CommandError) -> str:
        if error.code is None:
            return f"not all there after {self.timeout:g} s: {self._progress(member)}"
        said = [line for line in error.stderr.strip().splitlines() if line.strip()]
        return said[-1].strip() if said else f"the relay ended with exit code {error.code}"

    def _progress(self, member: Member) -> str:
        return f"{member.have >> 20} of {self.chain.total >> 20} MiB"

    # What relays tell

    def _hear(self, member: Member, line: str) -> None:
        if not _WORD.fullmatch(line):
            return  # what ssh or a login says, or the beginning of a line of a relay that was ended
        verb, *words = line[1:].split()
        if verb in ("at", "fed") and len(words) != len(self.files):
            return
        now = time.monotonic()
        if verb in ("at", "fed"):
            self.chain.note(member, tuple(map(int, words)), now)
        if verb == "port":
            member.port = int(words[0])
            self.chain.join(member)
            self.first = self.first or now
        elif verb == "fed" and member.linked and not member.source:
            target = self.targets[member.name]
            self.feeds.start(member.name, target.run, target.folder, member.sizes)
        elif verb == "lost":
            self._lose(member, words[0], words[1], " ".join(words[2:]))
        elif verb == "bad" and int(words[1]) == member.drops:
            self._spoil(member, words[0])
        elif verb == "foreign" and (member.name, words[0]) not in self.strangers:
            self.strangers.add((member.name, words[0]))  # who calls again and again is told of once
            self.op.step(f"turned away a stranger at {words[0]}", node=member.name)
        elif verb == "done":
            member.done = True
        if verb != "at" or now > self.looked + LOOK:  # many say every second how far they are
            self._go_on()

    def _lose(self, member: Member, address: str, port: str, why: str) -> None:
        source = self.members.get(member.source)
        if member.linked and source and (source.address, str(source.port)) == (address, port):
            self.op.step(f"lost the link to {source.name}: {why}", node=member.name)
            self.chain.lose(member)

    def _spoil(self, member: Member, name: str) -> None:
        whence = member.source or "here"
        self.op.step(f"received something else than {name} from {whence}: beginning again", node=member.name)
        for other in self.chain.spoil(member):
            self.feeds.stop(other.name)
            self._post(other.name, f"drop {name}")

    # What follows

    def _go_on(self) -> None:
        """Tell every relay what follows from what is known now; end where nothing is left to do."""
        now = time.monotonic()
        if now > self.looked + AWAY:  # what they told meanwhile is heard only now
            for member in self.chain.order:
                member.since = now
        self.looked = now
        for fed in self.feeds.take_ended():
            self._feeding_ended(self.members[fed.name], fed.trouble)
        if self._is_gathered(now):
            for member in self.chain.order:
                if not member.source and not self.feeds.is_sending(member.name):
                    member.since = now  # it waits for its turn, and not for bytes
            slow = self.chain.judge(now)
            if slow is not None:
                self._demote(slow)
            self._arrange(now)
        renewing = now > self.renewed + RENEW
        self.renewed = now if renewing else self.renewed
        for member in self.members.values():
            box = self.boxes.get(member.name)
            if box is not None:  # what its pipe did not take before goes there, too
                box.post(f"{self._life()}\n".encode() if renewing else b"")
            if member.cause and box is not None and not box.closed:
                self._drop_out(member)
        if all(member.over for member in self.members.values()):
            for box in self.boxes.values():
                box.close()

    def _is_gathered(self, now: float) -> bool:
        if not self.settled and self.first is not None:
            everyone = all(member.port or member.over for member in self.members.values())
            if everyone or now > self.first + GATHER:
                self.chain.sort()
                self.settled = True
        return self.settled

    def _arrange(self, now: float) -> None:
        for member, source in self.chain.arrange():
            self.feeds.stop(member.name)
            self.chain.start_link(member, now)
            if source is not None:
                self._post(member.name, f"pull {source.address} {source.port}")
                continue
            if any(of and to == member.name for of, to in self.chain.bad):
                self.op.step(
                    "cannot take the image from other machines: sending it over ssh", node=member.name
                )
            self._post(member.name, "feed")

    def _demote(self, member: Member) -> None:
        whence = f"from {member.source}" if member.source else "over ssh"
        self.op.step(
            f"receives little {whence} ({self._progress(member)}): others go first", node=member.name
        )
        if member.stalls >= STARTS:
            member.cause = f"no byte came for {STALL:g} s, {member.stalls} times: {self._progress(member)}"

    def _feeding_ended(self, member: Member, trouble: str) -> None:
        if not trouble:
            return
        member.stalls += 1
        member.linked = False
        if "No space left" in trouble:
            member.cause = f"no space left in {self.targets[member.name].folder}"
        elif member.stalls >= STARTS:
            member.cause = f"sending over ssh failed: {trouble}"

    def _drop_out(self, member: Member) -> None:
        self.boxes[member.name].close()
        self._forget(member)
        self._arrange(time.monotonic())


@cache
def _programs() -> tuple[str, str]:
    """Return the relay in Perl and in Python, each as one text."""
    folder = resources("nxc_kexec")
    names = ("relay_parts", "relay")
    sources = [(f"nxc_kexec.{name}", (folder / f"{name}.py").read_text()) for name in names]
    return (folder / "relay.pl").read_text(), _MODULES.format(sources=sources)
