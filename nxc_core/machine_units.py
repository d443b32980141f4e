"""systemd units of a node."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping

from attrs import define

from nxc_core.errors import CommandError, TestFailed
from nxc_core.machine_shell import TIMEOUT, ShellVerbs, said, tail
from nxc_core.process import Completed

IDLE_SIGHTINGS = 4
IDLE_SECONDS = 3.0
"""How often, and for how long at least, a unit is seen idle with nothing queued before it is given up."""
SHORT = 60.0


@define
class _Watch:
    """What is remembered between two looks at a unit."""

    sightings: int = 0
    since: float = 0.0

    def idle(self) -> bool:
        """Count one more look at an idle unit; True when it will not start by itself any more."""
        now = time.monotonic()
        self.since = self.since if self.sightings else now
        self.sightings += 1
        return self.sightings >= IDLE_SIGHTINGS and now - self.since >= IDLE_SECONDS


class UnitVerbs(ShellVerbs):
    """Looking at units, and changing them. With ``user`` they are that user's own units."""

    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """Run ``systemctl`` with the words ``q``; returns its exit code and output."""
        return self.execute(_systemctl(q, user))

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """Return all properties of a unit."""
        done = self._show(unit, user, "")
        if done.code != 0:
            raise self.failed(f"unit {unit} cannot be read (exit code {done.code})", said(done))
        return _properties(done.text)

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        """Return one property of a unit; raises TestFailed when there is none of that name."""
        done = self._show(unit, user, f"--property={shlex.quote(property)} ")
        found = _properties(done.text)
        if done.code != 0 or property not in found:
            raise self.failed(f"unit {unit} has no property {property}", said(done))
        return found[property]

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Raise TestFailed unless the unit is in the state now."""
        with self.nested(f"require {unit} to be {require_state}"):
            info = self.get_unit_info(unit)
            if info.get("ActiveState") != require_state:
                raise self.failed(
                    f"unit {unit} is {_state(info)}, not {require_state}", self._journal(unit, None)
                )

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: float = TIMEOUT) -> None:
        """Wait until a unit is active. Fails at once when it failed, and soon when nothing will start it."""
        watch = _Watch()
        whose = f" of {user}" if user else ""

        def probe(left: float) -> str | None:
            done = self._show(unit, user, _WAITED, left)
            info = _properties(done.text)
            if done.code == 127 or (done.code == 0 and "ActiveState" not in info):
                raise self.failed(f"unit {unit}{whose} cannot be watched: there is no systemd", said(done))
            if done.code != 0:
                return f"systemctl: exit code {done.code}\n{said(done)}"
            state = info["ActiveState"]
            if state == "active":
                return None
            if state == "failed":
                told = f"unit {unit}{whose} failed (result: {info.get('Result', 'unknown')})"
                raise self.failed(told, self._journal(unit, user))
            if state == "inactive" and not self._jobs(user, left):
                if watch.idle():
                    raise self._never(unit, whose, info, user)
            else:
                watch.sightings = 0
            return _state(info)

        self.until(f"unit {unit}{whose}", probe, timeout)

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Start a unit."""
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Stop a unit."""
        return self.systemctl(f"stop {jobname}", user)

    def restart_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Restart a unit."""
        return self.systemctl(f"restart {jobname}", user)

    def _show(self, unit: str, user: str | None, words: str, limit: float = SHORT) -> Completed:
        return self.look(_systemctl(f"--no-pager show {words}-- {shlex.quote(unit)}", user), limit)

    def _jobs(self, user: str | None, left: float) -> bool:
        """Whether anything is queued: it may yet start the unit."""
        done = self.look(_systemctl("--no-pager list-jobs --full 2>&1", user), left)
        return done.code != 0 or "No jobs" not in done.text

    def _journal(self, unit: str, user: str | None) -> str:
        """Return the last words of a unit; where there is no journal, nothing."""
        kind = "--user-unit" if user else "--unit"
        try:
            read = f"journalctl --no-pager -n 12 -o cat {kind}={shlex.quote(unit)}"
            done = self.look(f"sleep 0.3; {read}", SHORT)  # journald is a little behind
        except CommandError:
            return ""
        return "\n".join(tail(done.text)) if done.code == 0 else ""

    def _never(self, unit: str, whose: str, info: Mapping[str, str], user: str | None) -> TestFailed:
        if info.get("LoadState") == "not-found":
            return self.failed(f"there is no unit {unit}{whose}")
        message = f"unit {unit}{whose} is inactive and nothing is queued that would start it"
        if info.get("Type") == "oneshot" and info.get("ExecMainStartTimestampMonotonic", "0") != "0":
            message += "; it ran and ended (set RemainAfterExit to keep it active)"
        elif info.get("ConditionResult") == "no":
            message += "; a condition of it does not hold, or it was never started"
        return self.failed(message, self._journal(unit, user))


_WAITED = (
    "--property=ActiveState,SubState,LoadState,Result,Type,ConditionResult,ExecMainStartTimestampMonotonic "
)


def _systemctl(q: str, user: str | None) -> str:
    if user is None:
        return f"systemctl {q}"
    inner = f"XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user {q}"
    return f"su -l {shlex.quote(user)} --shell /bin/sh -c {shlex.quote(inner)}"


def _properties(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, mark, value in pairs if mark}


def _state(info: Mapping[str, str]) -> str:
    return f"{info.get('ActiveState', 'unknown')} ({info.get('SubState', 'unknown')})"
