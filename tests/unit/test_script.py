"""Test scripts: what they find, how they fail, and what they say."""

from __future__ import annotations

import contextlib
import io
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from nxc_core import machine_power, script, script_console
from nxc_core.errors import Interrupted, TestFailed
from nxc_core.running import Running
from nxc_core.script_driver import variable_name
from tests.fake_node import FakeRunning


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRunning:
    monkeypatch.setattr(machine_power, "this_system", lambda: "another")
    return FakeRunning(tmp_path, {"server": 1, "web-client": 2})


def run(running: FakeRunning, text: str, **more: Any) -> None:
    script.run_script(cast("Running", running), text, **more)


def fails(running: FakeRunning, text: str, **more: Any) -> TestFailed:
    with pytest.raises(TestFailed) as caught:
        run(running, text, **more)
    return caught.value


def test_a_script_finds_its_nodes_and_helpers(running: FakeRunning) -> None:
    run(
        running,
        """
start_all()
assert server.name == "server" and web_client1.name == "web-client1"
assert machines == [server, web_client1, web_client2]
assert nodes["web-client2"] is web_client2
assert roles == {"server": [server], "web-client": [web_client1, web_client2]}
assert [m.succeed("echo hi") for m in machines] == ["hi\\n"] * 3
assert driver.machines == machines
with subtest("a part"):
    t.assertEqual(1 + 1, 2)
    log.info("noted")
serial_stdout_off()
serial_stdout_on()
assert isinstance(server, Machine)
assert os.sep == "/"
def helper() -> str:
    return server.succeed("echo from a function")
assert "function" in helper()
""",
    )
    assert running.said("test")[-1] == "testScript holds"
    assert running.said("print") == ["noted"]


def test_a_single_node_is_machine_too(tmp_path: Path) -> None:
    run(FakeRunning(tmp_path, {"foo": 1}), "machine.succeed('true'); assert machine is foo")


def test_a_role_without_nodes_has_an_empty_list(tmp_path: Path) -> None:
    run(FakeRunning(tmp_path, {"foo": 1, "bar": 0}), "assert roles['bar'] == []")


@pytest.mark.parametrize(("name", "variable"), [("a-b.c", "a_b_c"), ("1st", "_st"), ("foo", "foo")])
def test_variables_are_spelt_as_in_nixos(name: str, variable: str) -> None:
    assert variable_name(name) == variable


def test_a_node_wins_over_a_helper_and_a_keyword_stays_reachable(tmp_path: Path) -> None:
    running = FakeRunning(tmp_path, {"log": 1, "lambda": 1})
    run(running, "assert log.succeed('echo x') == 'x\\n'; assert nodes['lambda'].role == 'lambda'")
    assert "log is the node" in running.said("warning")[0]


def test_extra_variables_are_there(running: FakeRunning) -> None:
    run(running, "assert answer == 42", extra={"answer": 42})


def test_print_goes_to_the_report_by_lines(running: FakeRunning) -> None:
    run(
        running,
        "import sys\nprint('one', 'two', sep='-')\nprint('a', end='')\nprint('b\\nc')\nprint('d', end='')",
    )
    assert running.said("print") == ["one-two", "ab", "c", "d"]
    buffer = io.StringIO()
    run(running, "print('aside', file=buffer)", extra={"buffer": buffer})
    assert buffer.getvalue() == "aside\n"


def test_a_failing_script_shows_its_own_frames_and_what_the_node_said(running: FakeRunning) -> None:
    error = fails(
        running,
        """
def check(node):
    node.succeed("echo broken >&2; exit 4")


check(server)
""",
    )
    assert error.message == ("server: `echo broken >&2; exit 4` failed with exit code 4\n  stderr: broken")
    assert error.frames == (
        '  File "testScript", line 6\n    check(server)\n'
        '  File "testScript", line 3, in check\n    node.succeed("echo broken >&2; exit 4")'
    )
    assert error.exit_code == 1


def test_a_script_of_a_file_shows_that_file(running: FakeRunning) -> None:
    assert 'File "tests/mine.py", line 1' in fails(running, "assert False", name="tests/mine.py").frames


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("assert 1 == 2", "the assertion does not hold"),
        ("assert 1 == 2, 'sums'", "the assertion does not hold: sums"),
        ("t.assertIn('x', 'abc')", "'x' not found in 'abc'"),
        ("{}['key']", "KeyError: 'key'"),
        ("raise Exception('own words')", "Exception: own words"),
        ("server.suceed('true')", "nodes have no verb `suceed`; did you mean succeed"),
        ("server.screenshot('x')", "nodes have no verb `screenshot`"),
        ("servr.succeed('true')", "`servr` is not defined; did you mean server"),
        ("'abc'.nope", "'str' object has no attribute 'nope'"),
        ("import sys; sys.exit('had enough')", "ended itself with 'had enough'"),
        ("exit(3)", "ended itself with 3"),
        ("raise SystemExit(2)", "ended itself with 2"),
        ("server.block(); server.frob = 1; server.succeed(timeout='x')", ""),
    ],
)
def test_every_way_to_fail_is_told(running: FakeRunning, text: str, told: str) -> None:
    if not told:
        run(running, text)
        return
    error = fails(running, text)
    assert told in error.message
    assert error.frames == f'  File "testScript", line 1\n    {text}'


@pytest.mark.parametrize("text", ["exit()", "raise SystemExit(0)", "import sys; sys.exit()"])
def test_a_good_exit_is_a_success(running: FakeRunning, text: str) -> None:
    run(running, text + "\nassert False")


def test_a_syntax_error_names_its_line(running: FakeRunning) -> None:
    error = fails(running, "start_all()\nif server.succeed('true')\n    pass\n")
    assert error.message == "testScript, line 2: expected ':'"
    assert 'File "testScript", line 2' in error.frames
    assert "if server.succeed('true')" in error.frames
    assert "  ^" in error.frames
    assert "line 2" in fails(running, "a = 1\n  b = 2\n").message
    assert "is not Python" in fails(running, "a\0b").message


def test_a_failure_in_a_subtest_names_it(running: FakeRunning) -> None:
    error = fails(
        running, "with subtest('outer'):\n    with subtest('inner'):\n        server.succeed('false')\n"
    )
    assert error.message.startswith("subtest outer / inner: server: `false` failed")
    ends = [(e.message, e.data["ok"]) for e in running.events if e.data.get("phase") == "end"]
    assert ends == [("succeed: false", False), ("subtest: inner", False), ("subtest: outer", False)]


def test_a_failure_that_the_script_caught_is_forgotten(running: FakeRunning) -> None:
    caught = "try:\n  with subtest('tried'):\n    server.succeed('false')\nexcept Exception:\n  pass\n"
    run(running, caught)
    error = fails(running, caught + "assert 0")
    assert "tried" not in error.message


def test_interruption_passes_through(running: FakeRunning) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(running, "with subtest('x'):\n    raise KeyboardInterrupt")
    running.op.cancel.set()
    for text in ("server.succeed('true')", "parallel(*[lambda m=m: m.succeed('true') for m in machines])"):
        with pytest.raises(Interrupted):
            run(running, text)


def test_retry_in_both_manners(running: FakeRunning) -> None:
    run(
        running,
        """
seen = []
def zero():
    seen.append(0)
    return len(seen) > 2
retry(zero, 10)
lasts = []
def one(last):
    lasts.append(last)
    return last
retry(one, timeout=0.2)
assert lasts[0] is False and lasts[-1] is True
retry(lambda _: True, timeout_seconds=1)
""",
    )
    assert "retried never for 0.2 s" in fails(running, "def never(): return False\nretry(never, 0.2)").message


def test_parallel_is_parallel_and_answers_in_order(running: FakeRunning) -> None:
    meeting = threading.Barrier(3, timeout=60)
    script = "assert parallel(*[lambda n=n: (meet(), n)[1] for n in range(3)]) == [0, 1, 2]"
    run(running, script, extra={"meet": meeting.wait})


def test_parallel_tells_every_failure(running: FakeRunning) -> None:
    error = fails(
        running,
        "def bad(m):\n    m.succeed('exit 7')\nparallel(*[lambda m=m: bad(m) for m in machines[:2]])",
    )
    assert "server: `exit 7`" in error.message
    assert "web-client1: `exit 7`" in error.message
    assert "line 2, in bad" in error.frames
    assert "concurrent" not in error.frames
    one = fails(running, "parallel(lambda: server.succeed('exit 8'), lambda: None)")
    assert one.message.startswith("server: `exit 8`")


def test_start_all_boots_what_is_off(running: FakeRunning) -> None:
    run(running, "server.crash()\nweb_client2.shutdown()\nstart_all()\nfor m in machines: m.succeed('true')")
    assert len(running.formers) == 2


def test_join_all_waits_for_all_to_go(running: FakeRunning) -> None:
    run(
        running,
        "for m in machines: m.execute('sleep 0.2; systemctl poweroff', check_output=False)\njoin_all()",
    )


def test_threads_are_waited_for_and_their_failures_count(running: FakeRunning) -> None:
    run(
        running,
        "import threading\nthreading.Thread(target=lambda: server.succeed('sleep 0.5; touch late')).start()",
    )
    assert (running.folder("server") / "late").exists()
    error = fails(
        running, "import threading\nthreading.Thread(target=lambda: server.succeed('false')).start()"
    )
    assert error.message.startswith("server: `false` failed")
    assert "line 2, in <lambda>" in error.frames


def test_a_thread_without_end_is_named(running: FakeRunning, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "THREADS_TIMEOUT", 0.2)
    end = threading.Event()
    text = "import threading\nthreading.Thread(target=end.wait, name='endless').start()"
    error = fails(running, text, extra={"end": end})
    end.set()
    assert "thread endless of the script is still running" in error.message


def test_what_a_flavour_cannot_do_fails_the_script_with_its_hint(tmp_path: Path) -> None:
    from tests.fake_node import Blunt, NoOptions

    error = fails(FakeRunning(tmp_path, {"foo": 1}, Blunt(NoOptions())), "foo.block()")
    assert "flavour blunt cannot block" in error.message
    assert error.hint


def test_odd_escapes_do_not_warn(running: FakeRunning) -> None:
    run(running, r"assert '\d'")


class _Session:
    def __init__(self, root: Path) -> None:
        self.workspace = self
        self.root = root


def test_the_prompt_runs_lines_and_shows_what_nodes_said(
    running: FakeRunning, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = iter(
        [
            "print(server.succeed('echo from the node').strip())",
            "server.succeed('echo why >&2; exit 5')",
            "raise KeyboardInterrupt",
            "1 / 0",
            "exit()",
            "never",
        ]
    )
    monkeypatch.setattr(script_console._Prompt, "raw_input", lambda self, prompt="": next(lines))
    running.session = _Session(tmp_path)  # type: ignore[attr-defined]
    with contextlib.suppress(StopIteration):
        script.interact(cast("Running", running))
    told = capsys.readouterr()
    assert "from the node" in told.out
    assert "server: `echo why >&2; exit 5` failed with exit code 5" in told.err
    assert "machine_shell" not in told.err
    assert "interrupted" in told.err
    assert "ZeroDivisionError" in told.err
    assert next(lines) == "never"
    history = tmp_path / "driver_history"
    assert not history.exists() or history.stat().st_mode & 0o077 == 0


def test_progress_leaves_the_terminal_before_every_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def answer(prompt: str = "") -> str:
        told.append("prompt")
        if told.count("prompt") == 2:
            raise EOFError
        return "x = 1"

    monkeypatch.setattr("builtins.input", answer)
    script_console._Prompt({}, lambda: told.append("pause")).interact(banner="", exitmsg="")
    assert told == ["pause", "prompt"] * 2
