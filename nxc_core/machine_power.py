"""A node's power, links and console: verbs that ask the flavour, not the system inside."""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from pathlib import Path

from nxc_core.connect import LOST, answers
from nxc_core.errors import CommandError, ConfigError
from nxc_core.flavour import Console, Links, Power, Rebooting
from nxc_core.machine_shell import BARE, TIMEOUT, ShellVerbs, late, said, timed, unanswered
from nxc_core.model import NodeState, Outcome, SshEndpoint
from nxc_core.output import printable

STOPPING = 300.0
SILENCE = 60.0
"""Seconds that a node may take to stop answering once it was told to reboot; the boot id decides anyway."""
MARKER = "/run/nxc-before-reboot"
"""Shows that a node without a boot id of its own, as a container, has not rebooted yet."""
BOOT_ID = "/proc/sys/kernel/random/boot_id"
SPARED = 97
"""Exit code of an order that was not carried out, since it would have hit the machine that nxc runs on."""


class PowerVerbs(ShellVerbs):
    """Stopping, starting, cutting off and watching a node."""

    _console_read = 0

    def is_up(self) -> bool:
        """Whether the node is there, as the flavour sees it from outside."""
        if self.running.outcome(self.name).state is NodeState.STOPPED:
            return False
        return self.running.flavour.observe(self.running.node(self.name), self.running.op).alive

    def start(self) -> None:
        """Boot a node that was shut down or crashed, and wait until it is ready; else do nothing."""
        if self.is_up():
            return
        flavour = self.running.flavour
        if not isinstance(flavour, Power):
            raise self._cannot("start a node again")
        with self.nested("start"):
            former = self.running.outcome(self.name).boot_id
            self.running.close(self.name)
            flavour.restart(self.running.node(self.name), self.running.plan(), self.running.op)
            self._reach(former)

    def shutdown(self, timeout: float = STOPPING) -> None:
        """Power the node off in good order, and wait until it is gone."""
        if not self.is_up():
            return
        with self.nested("shutdown"):
            self._order("systemctl --no-block poweroff")
            self.running.close(self.name)
            self.wait_for_shutdown(timeout)

    def wait_for_shutdown(self, timeout: float = TIMEOUT) -> None:
        """Wait until the node is gone, whoever shut it down."""
        node = self.running.node(self.name)

        def probe(_: float) -> str | None:
            seen = self.running.flavour.observe(node, self.running.op)
            return f"it still runs {seen.detail}".strip() if seen.alive else None

        self.until("shutdown", probe, timeout)
        self._stopped()

    def reboot(self) -> None:
        """Reboot the node in good order, and wait until it is ready again.

        It may take as long as the flavour allows for a boot.
        """
        flavour = self.running.flavour
        if not self.is_up():
            raise self.failed("cannot reboot: it is off", "start() boots it")
        with self.nested("reboot"):
            if isinstance(flavour, Rebooting):
                flavour.reboot(self.running.node(self.name), self.running.op)
                self.running.close(self.name)
                self._reach("")  # the flavour itself says that the former boot is gone
                return
            former = self._boot_id()
            self._order(f"{'' if former else f'touch {MARKER}; '}systemctl --no-block reboot")
            self.running.close(self.name)
            if former:
                self._wait_for_silence()
            else:
                self._wait_for_another_boot()
            self._reach(former)

    def crash(self) -> None:
        """Stop the node at once, as if its power were cut."""
        flavour = self.running.flavour
        if not isinstance(flavour, Power):
            raise self._cannot("crash a node")
        with self.nested("crash"):
            flavour.crash(self.running.node(self.name), self.running.op)
            self.running.close(self.name)
            self._stopped()

    def block(self) -> None:
        """Cut the node off the networks between nodes. nxc still reaches it."""
        flavour = self.running.flavour
        if not isinstance(flavour, Links):
            raise self._cannot("block a node's links")
        with self.nested("block"):
            flavour.block(self.running.node(self.name), self.running.op)

    def unblock(self) -> None:
        """Join the node to the networks again."""
        flavour = self.running.flavour
        if not isinstance(flavour, Links):
            raise self._cannot("unblock a node's links")
        with self.nested("unblock"):
            flavour.unblock(self.running.node(self.name), self.running.op)

    def get_console_log(self) -> str:
        """Return all that the node wrote to its console."""
        return "\n".join(printable(line) for line in self._console().splitlines())

    def wait_for_console_text(self, regex: str, timeout: float = TIMEOUT) -> None:
        """Wait until a line of the console fits the pattern; a second wait looks only at newer lines."""
        pattern = re.compile(regex)

        def probe(_: float) -> str | None:
            lines = self._console().splitlines()
            start = self._console_read if self._console_read <= len(lines) else 0
            for number, line in enumerate(lines[start:], start + 1):
                if pattern.search(printable(line)):
                    self._console_read = number
                    return None
            return f"last line: {printable(lines[-1])}" if lines else "nothing on its console yet"

        self.until(f"console text {regex}", probe, timeout)

    def _console(self) -> str:
        flavour = self.running.flavour
        if not isinstance(flavour, Console):
            raise self._cannot("show a node's console")
        path = flavour.console(self.name, self.running.op)
        return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""

    def _cannot(self, what: str) -> ConfigError:
        return ConfigError(
            f"flavour {self.running.flavour.name} cannot {what}",
            hint="`nxc flavour show` lists what a flavour can do",
        )

    def _order(self, command: str) -> None:
        """Give an order that may cost us the connection, unless it would hit the machine that nxc runs on.

        A flavour's nodes may be plain processes: there ``systemctl poweroff`` would be the user's own.
        """
        here = shlex.quote(this_system())
        guard = f'[ "$(cat {BOOT_ID} && readlink /proc/self/ns/pid)" != {here} ] || exit {SPARED}'
        try:
            done = self.running.connection(self.name).run(
                timed(f"{guard}; {command}", 30, BARE), check=False, timeout=60
            )
        except CommandError as error:
            if not error.message.startswith(LOST):
                raise self.failed(f"`{command}` has no answer", unanswered(error)) from error
        else:
            if done.code == SPARED:
                raise self._cannot("shut down or reboot a node, which shares the system of this machine")
            # A shell that the shutdown itself ended (by SIGTERM, or as a container's last) has done its work.
            if done.code not in (0, 143, 255) and (done.code != 137 or late(done, 30)):
                raise self.failed(f"`{command}` failed with exit code {done.code}", said(done))

    def _boot_id(self) -> str:
        """Return the present boot id; nothing where the node has none of its own."""
        if not self.running.outcome(self.name).boot_id:
            return ""
        return self.succeed(f"cat {BOOT_ID}", timeout=60).strip()

    def _wait_for_silence(self) -> None:
        """Wait until the old ssh server is gone: a login to it would hang as the node goes down."""
        endpoint = self.running.node(self.name).endpoint
        end = time.monotonic() + SILENCE
        while isinstance(endpoint, SshEndpoint) and not endpoint.gateway and time.monotonic() < end:
            self.running.op.check_cancelled()
            if not answers(endpoint):
                return
            self.running.op.cancel.wait(0.1)

    def _wait_for_another_boot(self) -> None:
        def probe(left: float) -> str | None:
            gone = self.look(f"[ ! -e {MARKER} ]", min(left, 10)).code == 0
            self.running.close(self.name)
            return None if gone else "it has not rebooted yet"

        self.until("reboot", probe, self.running.flavour.deadline(self.running.op))

    def _reach(self, former: str) -> None:
        self.off = False
        self.running.reach(self.name, former)
        outcome = self.running.outcome(self.name)
        if outcome.state is not NodeState.READY:
            last = f"last line: {outcome.last_line}" if outcome.last_line else ""
            raise self.failed(f"did not come up again: {outcome.cause or outcome.state.value}", last)

    def _stopped(self) -> None:
        self.off = True
        known = self.running.outcome(self.name)
        if known.state is not NodeState.STOPPED:
            self.running.op.outcome(Outcome(node=self.name, state=NodeState.STOPPED, boot_id=known.boot_id))
        with contextlib.suppress(CommandError):
            self.running.close(self.name)


def this_system() -> str:
    """Tell the system that nxc itself runs in: its boot, and its space of processes."""
    return f"{Path(BOOT_ID).read_text()}{Path('/proc/self/ns/pid').readlink()}"
