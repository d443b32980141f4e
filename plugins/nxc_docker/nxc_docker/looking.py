"""What an engine knows of a container: whether it runs, how it ended, what it wrote to its console."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from docker import errors as sdk

from nxc_core.model import Observation
from nxc_core.output import printable
from nxc_docker import failures
from nxc_docker.compose import DEPLOYMENT
from nxc_docker.engine import Engine
from nxc_docker.wishes import Port

CONSOLE_LINES = 20_000
"""So many of a console are kept."""
LAST_WORDS = 3
"""So many lines are told of a container that ended."""
_CHATTER = re.compile(
    r"Exiting |Freezing |Shutting down|Powering off|Sending SIG|Syncing |\[  OK  \]"
    r"|All (file|swap|loop|MD|DM)|(Starting|Stopping|Mounting|Unmounting|Detaching|Deactivating) "
)
"""What systemd writes as it ends, whatever the reason."""


def name_of(told: Mapping[str, Any]) -> str:
    """Return a container's name as a list of containers has it; its id where it has lost its name already.

    Other containers' links to it are names with two slashes.
    """
    own = [str(name) for name in told.get("Names") or () if str(name).count("/") < 2]
    return own[0].removeprefix("/") if own else str(told["Id"])


def look(name: str, engine: Engine) -> Observation:
    """Say whether a container runs and, where not, how it ended."""
    with failures.translated("asking the engine for a node", url=engine.url):
        try:
            state = engine.api.inspect_container(name)["State"]
        except sdk.NotFound:
            return Observation(alive=False, detail="its container is gone")
    if state.get("Running") and not state.get("Paused"):
        return Observation(alive=True)
    return Observation(alive=False, detail=tell_end(state, lambda: last_words(name, engine)))


def tell_end(state: Mapping[str, Any], last: Callable[[], str]) -> str:
    """Say how a container ended, from what the engine knows of it."""
    if state.get("Paused"):
        return "its container is paused"
    if str(state.get("Status", "")).lower() in ("created", "configured", "initialized"):
        return f"its container was never started{_behind(str(state.get('Error') or ''))}"
    code = state.get("ExitCode")
    if state.get("OOMKilled"):
        return f"its container took more memory than it may (exit code {code})"
    if code == 0:
        return f"its systemd ended in good order{_behind(last())}"
    if code == 137:
        return "its container was killed (exit code 137)"
    return f"its systemd ended with exit code {code}{_behind(last())}"


def _behind(words: str) -> str:
    return f": {words}" if words else ""


def logs(name: str, engine: Engine, *, tail: int | str = "all", since: float | None = None) -> bytes:
    """Return what a container wrote to its console, which is a terminal: one stream, as it came."""
    api: Any = engine.api
    given = {"stdout": 1, "stderr": 1, "tail": tail, **({"since": f"{since:.3f}"} if since else {})}
    # The SDK's own call asks first whether there is a terminal.
    with api._get(api._url("/containers/{0}/logs", name), params=given) as answer:  # noqa: SLF001
        api._raise_for_status(answer)  # noqa: SLF001
        content: bytes = answer.content
        return content


def last_words(name: str, engine: Engine) -> str:
    """Return the last lines of a container's console that say why it ended."""
    try:
        text = logs(name, engine, tail=100).decode("utf-8", "replace")
    except failures.TROUBLE:
        return ""
    said = [clean for line in text.splitlines() if (clean := printable(line).strip())]
    telling = [line for line in said if not _CHATTER.match(line)]
    return " | ".join((telling or said)[-LAST_WORDS:])


def find_holders(ports: Iterable[Port], engine: Engine) -> str:
    """Say which containers have ports of the machine that others ask for; empty where none has."""
    asked = {(port.host, port.protocol) for port in ports if port.host is not None}
    told = []
    try:
        for one in engine.api.containers():
            had = {(port.get("PublicPort"), port.get("Type")) for port in one.get("Ports") or ()}
            deployment = (one.get("Labels") or {}).get(DEPLOYMENT)
            way = f" (`nxc down {deployment}` removes it)" if deployment else ""
            told += [f"{name_of(one)} has {port}{way}" for port, _ in sorted(asked & had)]
    except failures.TROUBLE:
        return ""
    return "; ".join(told)


def find_chosen(name: str, ports: Iterable[Port], engine: Engine) -> dict[str, list[str]]:
    """Map the ports of a container that were to be given free ones of the machine to these."""
    asked = [f"{port.inside}/{port.protocol}" for port in ports if port.host is None]
    if not asked:
        return {}
    with failures.translated("asking the engine for a node's ports", url=engine.url):
        given = engine.api.inspect_container(name)["NetworkSettings"].get("Ports") or {}
    return {port: sorted({one["HostPort"] for one in given.get(port) or ()}) for port in asked}


def clean_console(content: bytes) -> bytes:
    """Drop the returns that a terminal adds to those that systemd writes itself."""
    return re.sub(rb"\r+\n", b"\n", content)
