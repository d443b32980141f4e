"""Broadcasts of big files: real relays in both languages, on loopback addresses."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from attrs import evolve

from nxc_core.commands import Command
from nxc_core.errors import Interrupted
from nxc_core.model import Event
from nxc_kexec.broadcast import Mailbox, broadcast, digest
from nxc_kexec.chain import Chain, Member
from tests.relaying import LANGUAGES, SLOWLY, Language, Machines, only, operation

NEEDS = {"perl": ("perl", "sha256sum"), "python": ("python3",)}
PATIENCE = 120.0


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Machines of which nothing must be left."""
    made = Machines(tmp_path)
    yield made
    assert await_true(lambda: not made.pids()), "something runs on"
    assert not list((tmp_path / "run").iterdir())


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have machines wait for each other, so that each takes its place in the row."""
    monkeypatch.setattr("nxc_kexec.broadcast.GATHER", PATIENCE)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A kernel and an initrd; sizes fit no block."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "kernel 6.1 é").write_bytes(os.urandom(1_000_001))
    (folder / "initrd").write_bytes(os.urandom(12_345_678))
    return sorted(folder.iterdir(), key=lambda path: path.stat().st_size)


def await_true(probe: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not probe() and time.monotonic() < end:
        time.sleep(0.02)
    return probe()


def speak(machines: Machines, folder: Path, *languages: Language) -> None:
    """Let machines have one interpreter each, in turn."""
    for number, language in enumerate(languages):
        path = only(folder / f"path{number}", *NEEDS[language])
        machines.path[f"n{number}"] = str(path)


def check_all_there(machines: Machines, files: list[Path], count: int) -> None:
    for number in range(count):
        place = machines.folder / f"n{number}"
        assert sorted(path.name for path in place.iterdir()) == sorted(path.name for path in files)
        for file in files:
            assert (place / file.name).read_bytes() == file.read_bytes()
            assert (place / file.name).stat().st_mode & 0o777 == 0o600


# What holds when nothing goes wrong


@pytest.mark.parametrize(
    "languages", [["perl"] * 3, ["python"] * 3, ["perl", "python", "perl"]], ids=["perl", "python", "mixed"]
)
def test_every_machine_has_all_though_one_copy_leaves(
    machines: Machines, files: list[Path], tmp_path: Path, languages: list[Language]
) -> None:
    speak(machines, tmp_path, *languages)
    causes = broadcast(files, machines.targets(3), operation(tmp_path), timeout=PATIENCE)
    assert causes == {"n0": "", "n1": "", "n2": ""}
    check_all_there(machines, files, 3)
    assert sorted(offset for _, offset in machines.fed()) == [0, 0]  # each file once
    assert len({name for name, _ in machines.fed()}) == 1


def test_a_second_time_nothing_is_sent(machines: Machines, files: list[Path], tmp_path: Path) -> None:
    broadcast(files, machines.targets(2), operation(tmp_path), timeout=PATIENCE)
    machines.ran.clear()
    assert not any(broadcast(files, machines.targets(2), operation(tmp_path), timeout=PATIENCE).values())
    assert machines.fed() == []
    check_all_there(machines, files, 2)


def test_a_machine_that_has_all_for_sure_is_left_alone(
    machines: Machines, files: list[Path], tmp_path: Path
) -> None:
    have = {path.name: digest(path) for path in files}
    targets = [machines.target(0, have=have), machines.target(1)]
    assert broadcast(files, targets, operation(tmp_path), timeout=PATIENCE) == {"n0": "", "n1": ""}
    assert {name for name, _ in machines.ran} == {"n1"}


@pytest.mark.usefixtures("in_order")
def test_who_has_all_serves_those_who_lack(machines: Machines, files: list[Path], tmp_path: Path) -> None:
    broadcast(files, machines.targets(3)[2:], operation(tmp_path), timeout=PATIENCE)
    machines.ran.clear()
    assert not any(broadcast(files, machines.targets(3), operation(tmp_path), timeout=PATIENCE).values())
    assert machines.fed() == []
    check_all_there(machines, files, 3)


def test_what_a_login_says_is_no_word_of_a_relay(
    machines: Machines, files: list[Path], tmp_path: Path
) -> None:
    """Nor is what is left of a line whose relay was ended."""
    greeting = "@ at home", "@", "@at x", "@at 1", "@lost 127.0.0.1", "@port", "@bad", "@foreign 192.0.2.1"
    told: list[str] = []

    def run(argv: Sequence[str]) -> Command:
        command = machines.run("n0", argv)
        words = ("sh", "-c", 'printf "%s\\n" "$1" >&2; printf "%s\\n" "$1"; shift; exec "$@"', "sh")
        return evolve(command, argv=(*words, "\n".join(greeting), *command.argv))

    targets = [machines.target(0, run=run), machines.target(1)]
    op = operation(tmp_path, lambda event: told.append(event.message))
    assert broadcast(files, targets, op, timeout=PATIENCE) == {"n0": "", "n1": ""}
    assert told.count("turned away a stranger at 192.0.2.1") == 1, "who calls again and again is told of once"


def test_many_relays_may_have_their_files_open() -> None:
    program = (
        "import resource; from nxc_kexec.broadcast import allow_files; kind = resource.RLIMIT_NOFILE\n"
        "resource.setrlimit(kind, (1024, 4000)); allow_files(100); print(resource.getrlimit(kind)[0])\n"
        "allow_files(2000); print(resource.getrlimit(kind)[0])\n"
        "allow_files(9000); print(resource.getrlimit(kind))"
    )
    told = subprocess.run((sys.executable, "-c", program), capture_output=True, check=True, text=True)
    assert told.stdout.splitlines() == ["1024", "2256", "(4000, 4000)"]


def test_relays_are_told_to_live_on(
    machines: Machines, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bytes] = []
    post = Mailbox.post

    def record(box: Mailbox, data: bytes) -> None:
        told.append(data)
        post(box, data)

    monkeypatch.setattr(Mailbox, "post", record)
    monkeypatch.setattr("nxc_kexec.broadcast.RENEW", 0.0)
    assert not any(broadcast(files, machines.targets(2), operation(tmp_path), timeout=PATIENCE).values())
    assert told.count(b"life 60\n") > 2
    assert not any("\n" in word for _, words in machines.ran for word in words), "a login shell may be csh"


def test_what_a_pipe_did_not_take_is_told_later(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "box")
    fcntl.fcntl(box._fd, fcntl.F_SETPIPE_SZ, 4096)  # as where a user has many pipes
    told = bytes(range(256)) * 40
    with box.path.open("rb", buffering=0) as relay:
        box.post(told)
        heard = b""
        while len(heard) < len(told):
            heard += relay.read(4096)
            box.post(b"")
        assert heard == told
    box.close()
    box.post(b"")


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_empty_file_arrives(machines: Machines, tmp_path: Path, language: Language) -> None:
    (tmp_path / "empty").touch()
    speak(machines, tmp_path, language, language)
    assert not any(
        broadcast([tmp_path / "empty"], machines.targets(2), operation(tmp_path), timeout=PATIENCE).values()
    )
    check_all_there(machines, [tmp_path / "empty"], 2)


def test_more_on_a_machine_than_there_should_be_is_replaced(
    machines: Machines, files: list[Path], tmp_path: Path
) -> None:
    (target,) = machines.targets(1)
    Path(target.folder, "initrd").write_bytes(b"x" * 20_000_000)
    Path(target.folder, "kernel 6.1 é").symlink_to("/etc/hostname")
    broken = broadcast(files, [target], operation(tmp_path), timeout=PATIENCE)
    assert "kernel" in broken["n0"]  # a link is not followed
    Path(target.folder, "kernel 6.1 é.part").unlink()
    assert broadcast(files, [target], operation(tmp_path), timeout=PATIENCE) == {"n0": ""}
    check_all_there(machines, files, 1)


# What goes wrong


@pytest.mark.parametrize("languages", [["perl"] * 3, ["python"] * 3], ids=LANGUAGES)
@pytest.mark.parametrize("killed", ["n0", "n1"])
@pytest.mark.usefixtures("in_order")
def test_a_relay_that_is_killed_goes_on_from_where_it_was(
    machines: Machines, files: list[Path], tmp_path: Path, languages: list[Language], killed: str
) -> None:
    speak(machines, tmp_path, *languages)
    machines.around = (sys.executable, "-c", SLOWLY)
    events: list[Event] = []
    half = 5_000_000
    part = tmp_path / "n2" / "initrd.part"

    def kill() -> None:
        await_true(lambda: part.exists() and part.stat().st_size > half)
        os.kill(machines.relay(killed), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    causes = broadcast(files, machines.targets(3), operation(tmp_path, events.append), timeout=PATIENCE)
    killer.join()
    assert causes == {"n0": "", "n1": "", "n2": ""}
    check_all_there(machines, files, 3)
    assert [event.node for event in events if "again" in event.message] == [killed]
    again = machines.fed()[2:]
    assert all(offset > half for _, offset in again) and len(again) == (1 if killed == "n0" else 0)


def test_after_an_interruption_only_the_rest_is_sent(
    machines: Machines, files: list[Path], tmp_path: Path
) -> None:
    machines.around = (sys.executable, "-c", SLOWLY)
    op = operation(tmp_path)
    part = tmp_path / "n1" / "initrd.part"

    def interrupt() -> None:
        await_true(lambda: part.exists() and part.stat().st_size > 5_000_000)
        op.cancel.set()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted):
        broadcast(files, machines.targets(2), op, timeout=PATIENCE)
    thread.join()
    assert await_true(lambda: not machines.pids())
    machines.ran.clear()
    machines.around = ()
    assert not any(broadcast(files, machines.targets(2), operation(tmp_path), timeout=PATIENCE).values())
    check_all_there(machines, files, 2)
    ((_, offset),) = machines.fed()
    assert offset > 5_000_000


def test_what_is_not_the_image_is_never_taken_for_it(
    machines: Machines, files: list[Path], tmp_path: Path
) -> None:
    sums = {files[1]: hashlib.sha256(b"another").hexdigest()}
    causes = broadcast(files, machines.targets(2), operation(tmp_path), timeout=PATIENCE, sums=sums)
    assert set(causes.values()) == {"received something else than the image 3 times"}
    assert not (tmp_path / "n0" / "initrd").exists()


def test_each_machine_says_what_it_lacks(machines: Machines, files: list[Path], tmp_path: Path) -> None:
    machines.path["n0"] = str(only(tmp_path / "bare"))
    targets = [machines.target(0), machines.target(1, folder="/nowhere/at/all"), machines.target(2)]
    causes = broadcast(files, targets, operation(tmp_path), timeout=PATIENCE)
    assert causes == {
        "n0": "there is neither perl nor python3",
        "n1": "/nowhere/at/all: No such file or directory",
        "n2": "",
    }


def test_a_machine_that_hangs_is_named_at_its_deadline(
    machines: Machines, files: list[Path], tmp_path: Path
) -> None:
    hung = machines.target(0, run=lambda argv: Command(argv=("sleep", "1000")))
    causes = broadcast(files, [hung], operation(tmp_path), timeout=0.5)
    assert causes == {"n0": "not all there after 0.5 s: 0 of 12 MiB"}


def test_a_machine_that_hangs_holds_up_nobody(machines: Machines, files: list[Path], tmp_path: Path) -> None:
    script = 'until [ -e "$1" ]; do sleep 0.1; done; echo "gone at last" >&2; exit 1'
    argv = ("sh", "-c", script, "hung", str(tmp_path / "n1" / "initrd"))
    hung = machines.target(0, run=lambda _: Command(argv=argv))
    causes = broadcast(files, [hung, machines.target(1)], operation(tmp_path), timeout=PATIENCE)
    assert causes == {"n0": "gone at last", "n1": ""}


def test_who_waits_to_be_sent_the_image_is_not_taken_for_slow(
    machines: Machines, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can take from another, one is sent the image at a time, and the first takes nothing."""
    monkeypatch.setattr("nxc_kexec.feeding.AT_ONCE", 1)
    monkeypatch.setattr("nxc_kexec.chain.STALL", 1.5)
    targets = [machines.target(number, address="") for number in range(3)]
    run = targets[0].run
    stuck = Command(argv=("sleep", "1000"))
    targets[0] = evolve(targets[0], run=lambda argv: stuck if machines.is_feed(argv) else run(argv))
    causes = broadcast(files, targets, operation(tmp_path), timeout=PATIENCE)
    assert causes.pop("n0").startswith("no byte came for")
    assert causes == {"n1": "", "n2": ""}


@pytest.mark.usefixtures("in_order")
def test_who_is_not_listened_to_for_a_while_is_not_taken_for_slow(
    machines: Machines, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where nxc itself is stopped: it hears one machine before the others again."""
    monkeypatch.setattr("nxc_kexec.broadcast.AWAY", 2.0)
    for name in ("STALL", "WINDOW"):
        monkeypatch.setattr(f"nxc_kexec.chain.{name}", 3.0)
    machines.around = (sys.executable, "-c", SLOWLY)
    told: list[str] = []
    note, part = Chain.note, tmp_path / "n2" / "initrd.part"
    stopped: list[str] = []

    def stop_once(chain: Chain, member: Member, sizes: tuple[int, ...], now: float) -> None:
        note(chain, member, sizes, now)
        if not stopped and part.exists() and part.stat().st_size > 2_000_000:
            stopped.append(member.name)
            time.sleep(4)

    monkeypatch.setattr(Chain, "note", stop_once)
    op = operation(tmp_path, lambda event: told.append(event.message))
    assert not any(broadcast(files, machines.targets(3), op, timeout=PATIENCE).values())
    assert stopped and not [words for words in told if "receives little" in words]


def test_one_folder_is_for_one_broadcast_at_a_time(
    machines: Machines, files: list[Path], tmp_path: Path
) -> None:
    machines.around = (sys.executable, "-c", SLOWLY)
    first: dict[str, str] = {}
    thread = threading.Thread(
        target=lambda: first.update(
            broadcast(files, machines.targets(1), operation(tmp_path), timeout=PATIENCE)
        )
    )
    thread.start()
    assert await_true(lambda: (tmp_path / "n0" / "initrd.part").exists())
    assert broadcast(files, machines.targets(1), operation(tmp_path), timeout=PATIENCE) == {"n0": ""}
    thread.join()
    assert first == {"n0": ""}
    check_all_there(machines, files, 1)
    assert len(machines.fed()) == 2  # the second waited, and found all there
