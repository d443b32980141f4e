"""Progress: plain lines with a heartbeat, live lines, files; whatever the terminal can take."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nxc_core.model import Event, Json
from nxc_core.output import write
from nxc_core.report import FileSink, JsonlSink, LiveSink, PlainSink, Report, choose_sink

NOON = 1_700_000_000.0


def event(message: str, topic: str = "step", node: str | None = None, **data: Json) -> Event:
    return Event(time=NOON, topic=topic, message=message, node=node, data=data)


def wait_for(done: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_plain_line_has_time_node_and_message() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream)
    sink(event("starting", node="server"))
    sink(event("two\nlines"))
    sink.close()
    stamp = time.strftime("%H:%M:%S", time.localtime(NOON))
    assert stream.getvalue() == f"{stamp} server  starting\n{stamp}         two\n         lines\n"


def test_a_silence_is_filled_with_what_is_going_on() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream, beat=0.05)
    sink(event("building the base layer"))
    wait_for(lambda: stream.getvalue().count("still: building the base layer, 0 s") >= 2)
    sink(event("booting", node="server"))
    wait_for(lambda: "still: server: booting, 0 s" in stream.getvalue())
    sink.close()


def test_nothing_is_repeated_after_the_end() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream, beat=0.01)
    sink(event("one"))
    wait_for(lambda: "still" in stream.getvalue())
    sink.close()
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == "nxc-beat"])
    length = len(stream.getvalue())
    time.sleep(0.05)
    assert len(stream.getvalue()) == length
    sink(event("two"))  # a sink may go on after a pause
    assert "two" in stream.getvalue()
    sink.close()


def test_a_beat_comes_before_thirty_seconds_of_silence() -> None:
    assert PlainSink(io.StringIO()).beat < 30


def test_a_warning_is_told_once() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream)
    for _ in range(3):
        sink(event("old syntax", topic="warning"))
    sink(event("old syntax", topic="warning", node="server"))
    sink.close()
    assert stream.getvalue().count("warning: old syntax") == 2


def test_quiet_leaves_warnings() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream, quiet=True, beat=0.01)
    sink(event("building"))
    sink(event("beware", topic="warning"))
    time.sleep(0.05)
    sink.close()
    assert [line[8:].strip() for line in stream.getvalue().splitlines()] == ["warning: beware"]


def test_details_are_for_those_who_ask() -> None:
    for verbose, lines in ((0, 0), (1, 1), (2, 2)):
        stream = io.StringIO()
        sink = PlainSink(stream, verbose=verbose)
        sink(event("ran a command", topic="detail", seconds=1))
        sink.close()
        assert len(stream.getvalue().splitlines()) == lines


def test_what_a_node_says_cannot_steer_the_terminal() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream)
    sink(
        event("failed: \x1b]0;title\x07\x1b[2Jgone\x9b1m", topic="outcome", node="n", last_line="\x1b[31mred")
    )
    sink.close()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", stream.getvalue())
    assert "last line: red" in stream.getvalue()


def test_the_end_of_a_step_says_something_new_or_nothing() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream)
    for message, seconds, ok in (("quick", 0.1, True), ("slow", 12.34, True), ("bad", 0.1, False)):
        sink(event(message, topic="test", node="n", phase="begin"))
        sink(event(message, topic="test", node="n", phase="end", seconds=seconds, ok=ok))
    sink(event("never begun", topic="test", phase="end", seconds=0.1, ok=True))
    sink.close()
    told = [line.split("  ")[-1] for line in stream.getvalue().splitlines()]
    assert told == [
        "quick", "slow", "done after 12.3 s: slow", "bad", "failed after 0.1 s: bad", "never begun",
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stream_that_lacks_characters_gets_what_it_can_show(encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    sink = PlainSink(stream)
    sink(event("höher → besser"))
    sink.close()
    told = raw.getvalue().decode(encoding)
    assert "besser" in told
    assert ("→" in told) == (encoding == "utf-8")


def test_a_reader_that_has_gone_is_no_failure() -> None:
    stream = io.StringIO()
    stream.close()
    write(stream, "nobody reads this")


def test_the_sink_fits_the_stream() -> None:
    able = {"TERM": "xterm"}
    assert isinstance(choose_sink(Terminal(), environ=able), LiveSink)
    assert isinstance(choose_sink(io.StringIO(), environ=able), PlainSink)
    assert isinstance(choose_sink(Terminal(), environ={"TERM": "dumb"}), PlainSink)
    assert isinstance(choose_sink(Terminal(), environ={}), PlainSink)
    assert isinstance(choose_sink(Terminal(), environ={**able, "CI": "true"}), PlainSink)
    assert isinstance(choose_sink(Terminal(), verbose=1, environ=able), PlainSink)
    assert isinstance(choose_sink(Terminal(), quiet=True, environ=able), PlainSink)


def make_live(monkeypatch: pytest.MonkeyPatch, stream: Any, **environ: str) -> LiveSink:
    for name, value in {"TERM": "xterm", "COLUMNS": "60", "LINES": "20", **environ}.items():
        monkeypatch.setenv(name, value)
    return LiveSink(stream)


def deploy(sink: LiveSink) -> None:
    sink(event("starting 2 nodes", topic="deploy"))
    for node in ("server", "client"):
        sink(event("booting", topic="node", node=node))
    sink(event("ready", topic="outcome", node="client"))
    sink(event("failed: it burnt", topic="outcome", node="server", last_line="smoke"))


def test_live_lines_stay_as_the_nodes_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    sink = make_live(monkeypatch, stream)
    deploy(sink)
    sink.close()
    tail = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "server: last line: smoke" in tail
    assert tail.rstrip().endswith("client  ready  0 s\n  server  failed: it burnt  0 s")


def test_a_live_line_moves_in_every_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    sink = make_live(monkeypatch, stream)
    sink(event("building the base layer"))
    shown: set[str] = set()

    def turned() -> bool:
        shown.update(re.findall(r"([|/\\-]) building", stream.getvalue()))
        return len(shown) > 1

    wait_for(turned, 5.0)
    sink.close()


def test_layers_have_lines_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    sink = make_live(monkeypatch, stream)
    sink(event("installing 3 packages", topic="build", layer="role server"))
    wait_for(lambda: "role server  installing 3 packages" in stream.getvalue())
    sink(event("built role server", topic="build", layer="role server", done=True))
    sink(event("built", topic="built"))
    assert not sink._rows
    sink.close()
    assert "built role server" in stream.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        stream = Terminal()
        sink = make_live(monkeypatch, stream, **environ)
        sink(event("building"))
        sink(event("beware", topic="warning"))
        sink.close()
        assert ("\x1b[33m" in stream.getvalue()) == coloured


def test_live_lines_on_a_terminal_without_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()

    class Ascii(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    stream = Ascii(raw, encoding="ascii", errors="backslashreplace")
    sink = make_live(monkeypatch, stream)
    sink(event("höher", node="server"))
    sink(event("→", topic="print"))
    sink.close()
    assert rb"h\xf6her" in raw.getvalue()
    assert rb"\u2192" in raw.getvalue()


def test_more_nodes_than_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    sink = make_live(monkeypatch, stream, LINES="10")
    for number in range(50):
        sink(event("booting", topic="node", node=f"node{number:02}"))
    wait_for(lambda: "and 43 more" in stream.getvalue())
    sink.close()


def test_events_of_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = make_live(monkeypatch, Terminal())

    def work(number: int) -> None:
        for _ in range(50):
            sink(event("booting", topic="node", node=f"n{number}"))
            sink(event("said", topic="print", node=f"n{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    sink.close()
    assert not any(thread.is_alive() for thread in threads)


def test_rendering_waits_for_nobody_who_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes waits for rich, which renders: if that waited for who writes, both would for ever."""
    sink = make_live(monkeypatch, Terminal())
    sink(event("booting", topic="node", node="server"))
    rendered: list[list[str]] = []
    thread = threading.Thread(target=lambda: rendered.append(sink._render()), daemon=True)
    with sink._lock:
        thread.start()
        thread.join(60)
    assert rendered and "server  booting" in rendered[0][0]
    sink.close()


def test_a_log_file_is_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "nxc.log"
    sink = FileSink(path)
    sink(event("starting", node="server"))
    sink(event("detail", topic="detail"))
    sink.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().splitlines() == [
        "2023-11-14T22:13:20Z step     server starting",
        "2023-11-14T22:13:20Z detail   - detail",
    ]


def test_a_log_file_may_be_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "nxc.jsonl"
    sink = FileSink(path)
    sink(event("starting", node="server", pid=3))
    sink.close()
    assert json.loads(path.read_text()) == {
        "time": NOON, "topic": "step", "node": "server", "message": "starting", "data": {"pid": 3},
    }  # fmt: skip


def test_a_report_is_several_sinks() -> None:
    one, two = io.StringIO(), io.StringIO()
    with Report(PlainSink(one), JsonlSink(two)) as report:
        report(event("starting"))
    assert "starting" in one.getvalue()
    assert json.loads(two.getvalue())["message"] == "starting"
