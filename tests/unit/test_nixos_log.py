"""Nix' progress as events: on what Nix really writes, and on records that are torn or unknown."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from nxc_core.model import Event
from nxc_nixos import log as told
from nxc_nixos.log import KEPT, Log, read_record, rendered, title
from tests.nix_here import Here, nix_in, operation, variables

HASH = "0" * 32


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def log(tmp_path: Path, events: list[Event]) -> Log:
    return Log(operation(tmp_path, events))


def record(**fields: object) -> str:
    return told.PREFIX + json.dumps(fields)


def messages(events: list[Event], topic: str) -> list[str]:
    return [event.message for event in events if event.topic == topic]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    for name, value in variables(tmp_path / "nix").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(told, "PACE", 0.0)
    return nix_in(tmp_path)


def test_a_real_build_tells_what_is_built_and_how_far_it_is(here: Here) -> None:
    inner = '{ name = "inner"; script = "echo hello; echo > $out"; }'
    (path,) = here.derivations(f'{{ name = "outer"; script = "echo ${{make {inner}}} > $out"; }}')
    here.build(path)
    assert here.messages("build")[0] == "building inner (1 of 2)"
    assert "building outer (2 of 2)" in here.messages("build")
    counts = [event.data for event in here.events if event.topic == "build"]
    assert counts[-1]["to_build"] == 2
    begun = [event.data["derivation"] for event in here.events if "derivation" in event.data]
    assert [title(str(one)) for one in begun] == ["inner", "outer"]
    assert not here.messages("warning")


def test_what_is_built_already_is_silent(here: Here) -> None:
    (path,) = here.derivations('{ name = "one"; script = "echo > $out"; }')
    here.build(path)
    here.events.clear()
    here.build(path)
    assert not here.messages("build")


def test_traces_and_warnings_of_a_user_are_shown(here: Here) -> None:
    assert here.evaluate('builtins.trace "here I am" (builtins.trace "warning: old name" 1)') == 1
    assert here.messages("print") == ["here I am"]
    assert here.messages("warning") == ["old name"]


@pytest.mark.parametrize(
    "text",
    ["warning: old", "trace: warning: old", "evaluation warning: old", "warning: evaluation warning: old"],
)
def test_warnings_of_all_versions(log: Log, events: list[Event], text: str) -> None:
    log.line(
        record(action="msg", level=1, msg=f"\x1b[35;1m{text}\x1b[0m", raw_msg=text, file=None, line=None)
    )
    assert messages(events, "warning") == ["old"]


def test_the_last_lines_of_every_builder_are_kept_apart(log: Log) -> None:
    for number, name in ((1, "one"), (2, "two")):
        drv = f"/nix/store/{HASH}-{name}.drv"
        log.line(record(action="start", id=number, type=105, level=3, text="", fields=[drv, "", 1, 1]))
    for line in range(100):
        log.line(record(action="result", id=1 + line % 2, type=101, fields=[f"\x1b[31mline {line}\x1b[0m"]))
    kept = {title(path): list(lines) for path, lines in log.tails.items()}
    assert kept["one"] == [f"line {line}" for line in range(100 - 2 * KEPT, 100, 2)]
    assert kept["two"][-1] == "line 99"


def test_fetching_counts_paths(log: Log, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    log.line(record(action="start", id=1, type=103, level=0, text=""))
    log.line(record(action="result", id=1, type=105, fields=[34, 120, 1, 0]))
    path = f"/nix/store/{HASH}-linux-6.1"
    log.line(record(action="start", id=2, type=108, level=3, text="", fields=[path, "https://cache.x"]))
    assert messages(events, "build") == ["fetching linux-6.1 (34 of 120)"]


def test_progress_is_not_told_at_every_record(log: Log, events: list[Event]) -> None:
    for number in range(1, 500):
        drv = f"/nix/store/{HASH}-x{number}.drv"
        log.line(record(action="start", id=number, type=105, level=3, text="", fields=[drv, "", 1, 1]))
        log.line(record(action="stop", id=number))
    assert len(messages(events, "build")) == 1
    assert len([event for event in events if "derivation" in event.data]) == 499


def test_a_cache_that_does_not_answer_is_one_warning(log: Log, events: list[Event]) -> None:
    for name in ("a", "b"):
        text = f"unable to download 'https://cache.x/{name}': Couldn't resolve host (6); retrying in 9 ms"
        log.line(record(action="msg", level=1, msg=f"warning: error: {text}"))
    assert messages(events, "warning") == ["cache.x does not answer (couldn't resolve host), trying again"]


@pytest.mark.parametrize(
    "line",
    [
        "@nix {",
        "@nix []",
        "@nix null",
        '@nix {"action":"start"}',
        '@nix {"action":"start","id":"x","type":"y"}',
        '@nix {"action":"start","id":1,"type":105}',
        '@nix {"action":"start","id":1,"type":105,"fields":"x"}',
        '@nix {"action":"result","id":7,"type":105,"fields":[1,2]}',
        '@nix {"action":"stop","id":7}',
        '@nix {"action":"msg"}',
        '@nix {"action":"msg","level":"high","msg":7}',
        '@nix {"action":"a thing of tomorrow","id":1}',
        "no record at all",
    ],
)
def test_torn_and_unknown_records_are_left_out(log: Log, line: str) -> None:
    log.line(line)
    rendered(line)


def test_no_record_however_torn_ends_a_build(log: Log) -> None:
    chosen = random.Random(7)
    whole = [
        record(action="start", id=1, type=105, fields=[f"/nix/store/{HASH}-x.drv", "", 1, 1], text="x"),
        record(action="result", id=1, type=105, fields=[1, 2, 0, 0]),
        record(action="result", id=1, type=106, fields=[101, 0]),
        record(action="result", id=1, type=101, fields=["line"]),
        record(action="msg", level=1, msg="warning: x"),
    ]  # fmt: skip
    values = ["null", "7", '"x"', "[]", "{}", "-1", "true"]
    for _ in range(3000):
        line = chosen.choice(whole)
        if chosen.random() < 0.5:
            line = line[: chosen.randrange(len(line))] + chosen.choice(["", "}", "\x00", "é"])
        else:
            fields = json.loads(line.removeprefix(told.PREFIX))
            fields[chosen.choice(list(fields))] = json.loads(chosen.choice(values))
            line = record(**fields)
        log.line(line)


def test_a_log_is_rendered_as_a_person_sees_it() -> None:
    text = "\n".join(
        [
            record(action="msg", level=0, msg="\x1b[31;1merror:\x1b[0m it failed", raw_msg="it failed"),
            record(action="start", id=1, type=105, text="building"),
            record(action="result", id=1, type=101, fields=["a line of the builder"]),
            "plain words",
        ]
    )
    assert rendered(text) == "error: it failed\n  | a line of the builder\nplain words"
    assert read_record("plain words") is None
