"""The vocabulary as a table: each verb once in success and once in time-out, for any node of any flavour.

``late`` must raise TestFailed. ``needs`` says what a flavour must give: systemd, console, power, links.
Cases that stop a node come last, and leave it running.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from nxc_core.errors import TestFailed
from nxc_core.flavour import Console, Links, Power
from nxc_core.machine import NodeHandle
from nxc_core.script import run_script
from nxc_core.script_driver import Driver
from tests.on_nodes import has_systemd, late_port, listener, neighbour, scratch, unit

BOOT = 300.0


@frozen(kw_only=True)
class Case:
    """A verb: a use that holds, and one that is late."""

    name: str
    ok: Callable[[NodeHandle], None]
    late: Callable[[NodeHandle], None] | None = None
    needs: frozenset[str] = frozenset()

    def serves(self, node: NodeHandle) -> bool:
        """Whether the node's flavour can do what the verb asks."""
        flavour = node.running.flavour
        given = {
            "console": isinstance(flavour, Console),
            "power": isinstance(flavour, Power),
            "links": isinstance(flavour, Links),
        }
        if "systemd" in self.needs:
            given["systemd"] = has_systemd(node)
        return all(given[need] for need in self.needs)


# Commands


def execute(node: NodeHandle) -> None:
    assert node.execute("echo out; echo err >&2; exit 3") == (3, "out\n")
    assert node.execute("echo out", check_return=False) == (-1, "out\n")
    assert node.execute("false | true")[0] == 1, "pipefail is set"
    name = f"/tmp/nxc-{secrets.token_hex(4)}"
    start = time.monotonic()
    assert node.execute(f"sleep 2; touch {name}", check_output=False) == (-2, "")
    node.wait_for_file(name, timeout=60)
    assert time.monotonic() - start > 1
    node.succeed(f"rm {name}")


def execute_late(node: NodeHandle) -> None:
    """Like NixOS, execute says that it was late by 124; the command is ended on the node."""
    mark = f"7{secrets.randbelow(10**6):06}"
    start = time.monotonic()
    status, output = node.execute(f"echo begun; sleep {mark}", timeout=5)
    assert (status, output) == (124, "begun\n")
    assert time.monotonic() - start < 60
    still = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null || :; echo; done"
    assert f"sleep {mark} \n" not in node.succeed(still)
    raise TestFailed("late, as 124 says")


def succeed(node: NodeHandle) -> None:
    assert node.succeed("echo one", "echo two") == "one\ntwo\n"
    assert node.succeed("echo \"a'b\" '$HOME' | cat") == "a'b $HOME\n"
    assert node.succeed("for i in 1 2; do\n  echo $i\ndone") == "1\n2\n"
    assert len(node.succeed("head -c 3000000 /dev/zero | tr '\\0' x")) == 3000000
    node.succeed("command -v ip || command -v env")


def fail(node: NodeHandle) -> None:
    assert node.fail("echo gone; false") == "gone\n"
    with contextlib.suppress(TestFailed):
        node.fail("true")
        raise AssertionError("a command that succeeds was taken for one that fails")


def fail_late(node: NodeHandle) -> None:
    """Like NixOS, a late command has not succeeded."""
    node.fail("sleep 600", timeout=0.5)
    raise TestFailed("late, and so not a success")


def wait_until_succeeds(node: NodeHandle) -> None:
    with scratch(node) as folder:
        told = node.wait_until_succeeds(
            f"echo x >> {folder}/n; [ $(wc -l < {folder}/n) -ge 3 ] && echo 3", 60
        )
        assert told == "3\n"


def wait_until_fails(node: NodeHandle) -> None:
    with scratch(node) as folder:
        node.wait_until_fails(f"echo x >> {folder}/n; [ $(wc -l < {folder}/n) -lt 3 ]", timeout=60)


def sleep(node: NodeHandle) -> None:
    start = time.monotonic()
    node.sleep(1)
    assert time.monotonic() - start > 0.5


# Files and ports


def wait_for_file(node: NodeHandle) -> None:
    with scratch(node) as folder:
        node.execute(f"sleep 0.3; touch '{folder}/a b'", check_output=False)
        node.wait_for_file(f"{folder}/a b", timeout=60)
        node.wait_for_file(f"{folder}/a*", timeout=60)


def wait_for_open_port(node: NodeHandle) -> None:
    with listener(node, pause=0.5) as port:
        node.wait_for_open_port(port, timeout=60)
        node.wait_for_open_port(port, addr="127.0.0.1", timeout=60)


def wait_for_closed_port(node: NodeHandle) -> None:
    with listener(node) as port:
        node.wait_for_open_port(port, timeout=60)
    node.wait_for_closed_port(port, timeout=60)


def wait_for_closed_port_late(node: NodeHandle) -> None:
    with listener(node) as port:
        node.wait_for_open_port(port, timeout=60)
        node.wait_for_closed_port(port, timeout=0.5)


def copy_from_host(node: NodeHandle) -> None:
    with scratch(node) as folder, tempfile.TemporaryDirectory(prefix="nxc-copy-") as here:
        tree = Path(here) / "tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "sub" / "note").write_bytes(b"\x00note\n")
        (tree / "run").write_text("#!/bin/sh\necho ran\n")
        (tree / "run").chmod(0o755)
        node.copy_from_host(tree, f"{folder}/deep/copy")
        assert node.succeed(f"{folder}/deep/copy/run") == "ran\n"
        assert node.succeed(f"od -An -c {folder}/deep/copy/sub/note | tr -d ' '") == "\\0note\\n\n"
        node.copy_from_host(str(tree / "run"), f"{folder}/")
        assert node.succeed(f"{folder}/run") == "ran\n"


def copy_from_vm(node: NodeHandle) -> None:
    with scratch(node) as folder, tempfile.TemporaryDirectory(prefix="nxc-copy-") as here:
        node.succeed(f"mkdir {folder}/tree && echo told > {folder}/tree/note")
        node.copy_from_vm(f"{folder}/tree", Path(here) / "results")
        assert (Path(here) / "results" / "tree" / "note").read_text() == "told\n"
        with contextlib.chdir(here):
            node.copy_from_vm(f"{folder}/tree/note")
        assert (Path(here) / "note").read_text() == "told\n"


def copy_of_nothing_from_host(node: NodeHandle) -> None:
    node.copy_from_host("/nonexistent/file", "/tmp/nothing")


def copy_of_nothing_from_vm(node: NodeHandle) -> None:
    with tempfile.TemporaryDirectory(prefix="nxc-copy-") as here:
        node.copy_from_vm("/nonexistent/file", here)


# Units


def wait_for_unit(node: NodeHandle) -> None:
    node.wait_for_unit("basic.target", timeout=BOOT)
    with unit(node, "sleep 600", kind="exec") as name:
        node.wait_for_unit(name, timeout=60)


def wait_for_unit_late(node: NodeHandle) -> None:
    with unit(node, "sleep 600", kind="oneshot") as name:
        node.wait_for_unit(name, timeout=2)


def a_failed_unit_fails_at_once(node: NodeHandle) -> None:
    with unit(node, "echo the last words >&2; exit 3", kind="oneshot") as name:
        start = time.monotonic()
        try:
            node.wait_for_unit(name, timeout=600)
        except TestFailed as error:
            assert "failed" in error.message, error.message
            assert "the last words" in error.message, error.message
        else:
            raise AssertionError("a failed unit was waited for")
        assert time.monotonic() - start < 60


def a_unit_that_is_not_there_fails_soon(node: NodeHandle) -> None:
    try:
        node.wait_for_unit("nxc-no-such.service", timeout=600)
    except TestFailed as error:
        assert "no unit nxc-no-such" in error.message, error.message
    else:
        raise AssertionError("a unit that is not there was waited for")


def get_unit_info(node: NodeHandle) -> None:
    assert node.get_unit_info("basic.target")["ActiveState"] == "active"
    assert node.get_unit_property("basic.target", "ActiveState") == "active"
    node.require_unit_state("basic.target")


def require_unit_state_late(node: NodeHandle) -> None:
    with unit(node, "sleep 600", kind="oneshot") as name:
        node.require_unit_state(name)


def systemctl(node: NodeHandle) -> None:
    status, output = node.systemctl("is-active basic.target")
    assert (status, output) == (0, "active\n")
    with unit(node, "sleep 600", kind="exec") as name:
        assert node.stop_job(name)[0] == 0
        assert node.systemctl(f"is-active {name}")[0] != 0


# Driver


def subtest(node: NodeHandle) -> None:
    variable = node.name.replace("-", "_")
    run_script(node.running, f"with subtest('a part'):\n    {variable}.succeed('true')\n")


def subtest_late(node: NodeHandle) -> None:
    variable = node.name.replace("-", "_")
    run_script(
        node.running, f"with subtest('a part'):\n    {variable}.wait_until_succeeds('false', timeout=0.5)\n"
    )


# Console, links, power


def console(node: NodeHandle) -> None:
    assert node.get_console_log().strip()
    node.wait_for_console_text(r"\S", timeout=60)


def block(node: NodeHandle) -> None:
    with neighbour(node) as (name, port):
        node.wait_for_open_port(port, addr=name, timeout=60)
        node.block()
        try:
            node.wait_for_closed_port(port, addr=name, timeout=60)
            node.succeed("true")
        finally:
            node.unblock()
        node.wait_for_open_port(port, addr=name, timeout=60)


def block_late(node: NodeHandle) -> None:
    with neighbour(node) as (name, port):
        node.block()
        try:
            node.wait_for_open_port(port, addr=name, timeout=2)
        finally:
            node.unblock()


def reboot(node: NodeHandle) -> None:
    node.succeed("touch /run/nxc-rebooted")
    former = node.running.outcome(node.name).boot_id
    node.reboot()
    node.fail("test -e /run/nxc-rebooted")
    assert not former or node.running.outcome(node.name).boot_id != former


def shutdown(node: NodeHandle) -> None:
    node.shutdown()
    assert not node.is_up()
    node.shutdown()  # it is off already
    node.start()
    node.start()  # it is up already
    node.succeed("true")


def shutdown_late(node: NodeHandle) -> None:
    # Without a unit that takes its time a container is gone before anyone looks.
    slow = "systemd-run --unit=nxc-slow-to-stop -p RemainAfterExit=yes -p ExecStop="
    node.succeed(f'{slow}"$(command -v sleep) 3" "$(command -v true)"')
    try:
        node.shutdown(timeout=0.05)
    finally:
        node.wait_for_shutdown(BOOT)
        node.start()


def crash(node: NodeHandle) -> None:
    node.crash()
    assert not node.is_up()
    try:
        node.reboot()
    except TestFailed as error:
        assert "cannot reboot: it is off" in str(error)  # noqa: PT017 - used outside of pytest, too
    else:
        raise AssertionError("a node that is off was rebooted")
    assert not node.is_up(), "a reboot is no switch"
    Driver(node.running).start_all()
    node.succeed("true")


def crash_late(node: NodeHandle) -> None:
    """A node without power answers nothing, and soon."""
    node.crash()
    try:
        node.wait_until_succeeds("true", timeout=1)
    finally:
        node.start()


SYSTEMD = frozenset({"systemd"})

VERBS: list[Case] = [
    Case(name="execute", ok=execute, late=execute_late),
    Case(name="succeed", ok=succeed, late=lambda node: void(node.succeed("sleep 600", timeout=0.5))),
    Case(name="fail", ok=fail, late=fail_late),
    Case(
        name="wait_until_succeeds",
        ok=wait_until_succeeds,
        late=lambda node: void(node.wait_until_succeeds("echo no; false", timeout=0.5)),
    ),
    Case(
        name="wait_until_fails",
        ok=wait_until_fails,
        late=lambda node: void(node.wait_until_fails("true", timeout=0.5)),
    ),
    Case(name="sleep", ok=sleep),
    Case(
        name="wait_for_file",
        ok=wait_for_file,
        late=lambda node: node.wait_for_file("/nonexistent", timeout=0.5),
    ),
    Case(
        name="wait_for_open_port",
        ok=wait_for_open_port,
        late=lambda node: node.wait_for_open_port(late_port(), timeout=0.5),
    ),
    Case(name="wait_for_closed_port", ok=wait_for_closed_port, late=wait_for_closed_port_late),
    Case(name="copy_from_host", ok=copy_from_host, late=copy_of_nothing_from_host),
    Case(name="copy_from_vm", ok=copy_from_vm, late=copy_of_nothing_from_vm),
    Case(name="subtest", ok=subtest, late=subtest_late),
    Case(name="wait_for_unit", ok=wait_for_unit, late=wait_for_unit_late, needs=SYSTEMD),
    Case(name="wait_for_unit-failed", ok=a_failed_unit_fails_at_once, needs=SYSTEMD),
    Case(name="wait_for_unit-missing", ok=a_unit_that_is_not_there_fails_soon, needs=SYSTEMD),
    Case(
        name="get_unit_info",
        ok=get_unit_info,
        late=require_unit_state_late,
        needs=SYSTEMD,
    ),
    Case(
        name="systemctl",
        ok=systemctl,
        late=lambda node: void(node.get_unit_property("basic.target", "NoSuchProperty")),
        needs=SYSTEMD,
    ),
    Case(
        name="wait_for_console_text",
        ok=console,
        late=lambda node: node.wait_for_console_text("no such text anywhere", timeout=0.5),
        needs=frozenset({"console"}),
    ),
    Case(name="block", ok=block, late=block_late, needs=frozenset({"links"})),
    Case(name="reboot", ok=reboot, needs=SYSTEMD),
    Case(name="shutdown", ok=shutdown, late=shutdown_late, needs=frozenset({"systemd", "power"})),
    Case(name="crash", ok=crash, late=crash_late, needs=frozenset({"power"})),
]


def void(_: object) -> None:
    """Drop an answer."""
