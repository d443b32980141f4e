"""The vocabulary over plain bash: every verb in success, late, and against a node that is gone."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from nxc_core import machine_power, machine_shell, process
from nxc_core.errors import ConfigError, Interrupted, TestFailed
from nxc_core.machine import NodeHandle
from nxc_core.model import NodeState
from tests.fake_node import Able, Blunt, FakeRunning, NoOptions, Rebooter, node, running
from tests.vocabulary import VERBS, Case

__all__ = ["node", "running"]  # fixtures

CASES = [case for case in VERBS if "systemd" not in case.needs and case.name != "block"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_verb_in_success(case: Case, node: NodeHandle) -> None:
    case.ok(node)


@pytest.mark.parametrize("case", [case for case in CASES if case.late], ids=lambda case: case.name)
def test_every_verb_in_time_out(case: Case, node: NodeHandle) -> None:
    assert case.late is not None
    start = time.monotonic()
    with pytest.raises(TestFailed) as caught:
        case.late(node)
    assert time.monotonic() - start < 20
    assert str(caught.value)


def test_a_failure_names_node_command_code_and_what_was_said(node: NodeHandle) -> None:
    with pytest.raises(TestFailed) as caught:
        node.succeed("echo to out; echo to err >&2; exit 9")
    assert caught.value.message == (
        "server: `echo to out; echo to err >&2; exit 9` failed with exit code 9\n"
        "  stderr: to err\n  stdout: to out"
    )


def test_a_time_out_says_so_with_what_was_written_before_it(node: NodeHandle) -> None:
    with pytest.raises(TestFailed, match=r"was not done after 2 s\n  stdout: halfway"):
        node.succeed("echo halfway; sleep 60", timeout=2)


def test_an_unexpected_success_shows_its_output(node: NodeHandle) -> None:
    with pytest.raises(TestFailed, match=r"server: `echo hm` unexpectedly succeeded\n  stdout: hm"):
        node.fail("echo hm")


def test_a_wait_tells_what_was_seen_last(node: NodeHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_shell, "SHORTEST_TRY", 60)
    with pytest.raises(TestFailed) as caught:
        node.wait_until_succeeds("echo not yet >&2; exit 4", timeout=0.3)
    assert "waited 0.3 s for success of `echo not yet >&2; exit 4`" in caught.value.message
    assert "last seen: exit code 4" in caught.value.message
    assert "stderr: not yet" in caught.value.message


def test_a_wait_takes_its_time_into_each_try(node: NodeHandle) -> None:
    start = time.monotonic()
    with pytest.raises(TestFailed, match="not done after"):
        node.wait_until_succeeds("sleep 60", timeout=0.5)
    assert time.monotonic() - start < 30


def test_waits_begin_fast(running: FakeRunning, node: NodeHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            node.execute("touch there")

    monkeypatch.setattr(running.op.cancel, "wait", pause)
    node.wait_for_file("there", timeout=60)
    assert sum(pauses) < 0.2


def test_control_characters_of_a_node_are_dropped(node: NodeHandle) -> None:
    with pytest.raises(TestFailed) as caught:
        node.succeed(r"printf '\033[31mred\033[0m\a\n' >&2; false")
    assert "stderr: red" in caught.value.message
    assert "\x1b" not in caught.value.message


def test_long_commands_and_outputs_are_cut(node: NodeHandle) -> None:
    with pytest.raises(TestFailed) as caught:
        node.succeed("seq 5000\n" + ": " + "x" * 500 + "\nfalse")
    assert len(caught.value.message) < 2000
    assert "stdout: 5000" in caught.value.message


def test_standard_error_is_shown_and_not_returned(running: FakeRunning, node: NodeHandle) -> None:
    assert node.succeed("echo aside >&2; echo answer") == "answer\n"
    assert running.said("stderr") == ["aside"]


def test_steps_are_events_with_durations(running: FakeRunning, node: NodeHandle) -> None:
    node.succeed("true")
    with pytest.raises(TestFailed):
        node.succeed("false")
    steps = [(e.message, e.node, e.data["phase"], e.data.get("ok")) for e in running.events]
    assert steps == [
        ("succeed: true", "server", "begin", None),
        ("succeed: true", "server", "end", True),
        ("succeed: false", "server", "begin", None),
        ("succeed: false", "server", "end", False),
    ]
    assert isinstance(running.events[-1].data["seconds"], float)


def test_tries_of_a_wait_are_not_reported(running: FakeRunning, node: NodeHandle) -> None:
    with pytest.raises(TestFailed):
        node.wait_until_succeeds("echo noise >&2; false", timeout=0.3)
    assert len(running.events) == 2


def test_a_pipe_and_an_unset_variable_fail(node: NodeHandle) -> None:
    node.fail("false | cat")
    node.fail("echo $NXC_NO_SUCH_VARIABLE")
    node.fail("false; true")


def test_sbin_is_in_the_path() -> None:
    told = process.run(machine_shell.timed("echo $PATH", 30), env={"PATH": "/usr/bin:/bin"}).text
    assert {"/usr/sbin", "/sbin", "/bin"} <= set(told.strip().split(":"))


def test_a_node_that_is_gone_is_an_error_even_for_fail(running: FakeRunning, node: NodeHandle) -> None:
    (running.folder("server") / "off").touch()
    for verb in (node.succeed, node.fail, node.execute):
        with pytest.raises(TestFailed, match="has no answer\n  the connection was lost: Connection refused"):
            verb("true")
    with pytest.raises(TestFailed, match="could not be begun"):
        node.execute("true", check_output=False)


def test_a_wait_outlives_a_node_that_is_away_for_a_while(running: FakeRunning, node: NodeHandle) -> None:
    off = running.folder("server") / "off"
    off.touch()
    timer = threading.Timer(0.4, off.unlink)
    timer.start()
    assert node.wait_until_succeeds("echo back", timeout=30) == "back\n"
    timer.join()


def test_a_wait_for_a_closed_port_is_not_served_by_a_lost_node(
    running: FakeRunning, node: NodeHandle
) -> None:
    (running.folder("server") / "off").touch()
    with pytest.raises(TestFailed, match="last seen: the connection was lost"):
        node.wait_for_closed_port(1, timeout=0.3)


def test_output_held_open_by_the_background_is_named(
    running: FakeRunning, node: NodeHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_shell, "SLACK", -4.0)
    monkeypatch.setattr(machine_shell, "timed", lambda *_: ("sleep", "3"))
    with pytest.raises(TestFailed, match="left in the background"):
        node.succeed("true", timeout=0.1)


def test_cancelling_ends_a_wait(running: FakeRunning, node: NodeHandle) -> None:
    threading.Timer(0.3, running.op.cancel.set).start()
    start = time.monotonic()
    with pytest.raises(Interrupted):
        node.wait_until_succeeds("false", timeout=60)
    assert time.monotonic() - start < 30
    with pytest.raises(Interrupted):
        node.succeed("true")


# Power, links, console


def test_shutdown_waits_until_the_node_is_gone(running: FakeRunning, node: NodeHandle) -> None:
    node.shutdown(timeout=30)
    assert not node.is_up()
    assert running.outcome("server").state is NodeState.STOPPED
    node.shutdown()


def test_an_order_never_hits_the_machine_that_nxc_runs_on(tmp_path: Path) -> None:
    running = FakeRunning(tmp_path, {"server": 1})
    for verb in (running["server"].shutdown, running["server"].reboot):
        with pytest.raises(ConfigError, match="shares the system of this machine"):
            verb()
    assert not (running.folder("server") / "orders").exists()


def test_a_node_that_does_not_go_down_is_late(running: FakeRunning, node: NodeHandle) -> None:
    (running.folder("server") / "systemctl").write_text("#!/bin/sh\n")
    with pytest.raises(TestFailed, match="waited 0.2 s for shutdown\n  last seen: it still runs as ever"):
        node.shutdown(timeout=0.2)


def test_start_boots_what_is_off_and_passes_the_former_boot(running: FakeRunning, node: NodeHandle) -> None:
    node.start()
    assert running.formers == []
    running.with_boot_id("server", "first")
    node.crash()
    node.start()
    assert running.formers == ["first"]
    assert node.is_up()


def test_a_node_that_does_not_come_up_again_says_why(running: FakeRunning, node: NodeHandle) -> None:
    node.crash()
    running.comes_up = False
    with pytest.raises(TestFailed) as caught:
        node.start()
    assert caught.value.message == "server: did not come up again: not ready after 2 s\n  last line: panic!"


def test_reboot_names_the_boot_that_must_not_be_seen_again(running: FakeRunning, node: NodeHandle) -> None:
    running.with_boot_id("server", "old")
    node.reboot()
    assert running.formers == [Path(machine_power.BOOT_ID).read_text().strip()]
    assert (running.folder("server") / "rebooted").exists()


def test_reboot_of_a_node_without_a_boot_id_goes_by_a_marker(
    running: FakeRunning, node: NodeHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = running.folder("server") / "marker"
    monkeypatch.setattr(machine_power, "MARKER", str(marker))
    with pytest.raises(TestFailed, match="waited 0.7 s for reboot\n  last seen: it has not rebooted yet"):
        node.reboot()
    threading.Timer(0.5, marker.unlink).start()
    node.reboot()
    assert running.formers == [""]


def test_a_flavour_may_reboot_what_cannot_come_back_by_itself(tmp_path: Path) -> None:
    running = FakeRunning(tmp_path, {"server": 1}, Rebooter(NoOptions()))
    running.with_boot_id("server", "old")
    running["server"].reboot()
    assert (running.folder("server") / "rebooted-from-outside").exists()
    assert not (running.folder("server") / "orders").exists(), "the node itself was told to reboot as well"
    assert running.formers == [""]
    running.comes_up = False
    with pytest.raises(TestFailed, match="did not come up again: not ready after 2 s"):
        running["server"].reboot()


def test_a_refused_order_is_told(running: FakeRunning, node: NodeHandle) -> None:
    running.with_boot_id("server", "old")
    (running.folder("server") / "refuse").touch()
    with pytest.raises(TestFailed, match="exit code 4\n  stderr: refused"):
        node.reboot()


def test_links_are_cut_and_joined(running: FakeRunning, node: NodeHandle) -> None:
    node.block()
    assert (running.folder("server") / "blocked").exists()
    node.unblock()
    assert not (running.folder("server") / "blocked").exists()


def test_a_flavour_without_a_protocol_says_so(tmp_path: Path) -> None:
    running = FakeRunning(tmp_path, {"server": 1}, Blunt(NoOptions()))
    node = running["server"]
    for verb in (node.crash, node.block, node.unblock, node.get_console_log):
        with pytest.raises(ConfigError, match="flavour blunt cannot"):
            verb()
    (running.folder("server") / "off").touch()
    with pytest.raises(ConfigError, match="flavour blunt cannot start a node again"):
        node.start()


def test_console_text_is_found_once(running: FakeRunning, node: NodeHandle) -> None:
    assert node.get_console_log() == "Linux version 6.1\nbooted"
    node.wait_for_console_text("^booted$", timeout=5)
    with pytest.raises(TestFailed, match="last line: booted"):
        node.wait_for_console_text("^booted$", timeout=0.2)
    console = running.folder("server") / "console"
    threading.Timer(0.3, console.write_text, [console.read_text() + "booted\n"]).start()
    node.wait_for_console_text("^booted$", timeout=30)


# Copies


def test_copies_tell_why_they_fail(node: NodeHandle, tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text("x")
    with pytest.raises(TestFailed, match="it does not exist on this machine"):
        node.copy_from_host("/nonexistent", "/tmp/x")
    with pytest.raises(TestFailed, match="not an absolute path on the node"):
        node.copy_from_host(note, "relative")
    with pytest.raises(TestFailed, match=r"server: cannot copy /nonexistent from the node"):
        node.copy_from_vm("/nonexistent")


def test_a_handle_shows_itself(node: NodeHandle) -> None:
    assert (repr(node), node.name, node.role) == ("<node server (server)>", "server", "server")
    assert isinstance(node.running.flavour, Able)
