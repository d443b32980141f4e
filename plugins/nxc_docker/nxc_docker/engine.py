"""Finding a container engine, talking to it, and asking what it is."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import docker
from attrs import field, frozen
from docker.context import Context, ContextAPI
from docker.context.config import get_current_context_name
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env

from nxc_core import PreflightError
from nxc_docker import failures
from nxc_docker.profile import OLDEST, OLDEST_API, Profile, read_profile

PROBE_TIMEOUT = 10.0
"""Seconds for the first word, more where the user grants more: an engine that takes longer hangs."""
USUAL_TIMEOUT = 60.0
"""What an engine is granted for every other answer, by default."""
POOL = 16
API = ".".join(map(str, OLDEST_API))


class Asked(Protocol):
    """The options that say which engine, and how."""

    @property
    def url(self) -> str | None: ...
    @property
    def privileged(self) -> bool: ...
    @property
    def timeout(self) -> float: ...


@frozen(kw_only=True)
class Engine:
    """An engine that answers. Its client may be used by several threads."""

    url: str
    client: docker.DockerClient = field(repr=False, eq=False)
    profile: Profile

    @property
    def api(self) -> docker.APIClient:
        """The client's calls, one each per request."""
        return self.client.api

    @property
    def program(self) -> tuple[str, ...]:
        """The words of a command line tool that talks to this engine, for people."""
        if self.profile.engine == "podman":
            return ("podman", "--url", self.url)
        return ("docker", "-H", self.url)


_known: dict[tuple[str, bool, float], Engine] = {}
_lock = threading.Lock()


def connect(options: Asked, *, url: str | None = None) -> Engine:
    """Return the engine that the options, or ``url``, name. Raises PreflightError where none answers.

    A process asks each engine once what it is.
    """
    url = url or find_url(options.url)
    key = (url, options.privileged, options.timeout)
    with _lock:
        if key not in _known:
            _known[key] = _probe(url, options)
        return _known[key]


def forget() -> None:
    """Ask engines anew from now on."""
    with _lock:
        for engine in _known.values():
            engine.client.close()
        _known.clear()


def _probe(url: str, options: Asked) -> Engine:
    if url.startswith("ssh://"):
        raise failures.refuse_ssh(url)
    patience = PROBE_TIMEOUT * max(1.0, options.timeout / USUAL_TIMEOUT)
    try:
        _knock(url)
        client = _open(url, API, patience)
    except failures.TROUBLE as error:
        raise _refused(error, url) from error
    try:
        version = client.api.version(api_version=False)
        if (spoken := _choose_api(version)) != API:
            client.close()
            client = _open(url, spoken, patience)
        info = client.api.info()
        profile = read_profile(version, info, local=is_local(url, info), privileged=options.privileged)
    except failures.TROUBLE as error:
        client.close()
        raise _refused(error, url) from error
    except (ValueError, KeyError, AttributeError) as error:
        client.close()
        raise PreflightError(
            f"what listens at {url} is no container engine: {error}",
            hint="correct DOCKER_HOST, or docker.url",
        ) from error
    _check_age(profile, url)
    client.api.timeout = options.timeout  # type: ignore[assignment]
    if profile.engine == "podman":  # its service ends when idle, and with it the connections kept for later
        client.api.headers["Connection"] = "close"
    return Engine(url=url, client=client, profile=profile)


def _open(url: str, api: str, patience: float) -> docker.DockerClient:
    return docker.DockerClient(
        base_url=url,
        version=api,
        timeout=patience,  # type: ignore[arg-type]
        tls=_tls(url),
        max_pool_size=POOL,
    )


def _choose_api(version: Mapping[str, Any]) -> str:
    """Return the API to speak: that of docker 20.10, or the oldest that a later engine still knows."""
    least = str(version.get("MinAPIVersion") or API)
    return max(API, least, key=lambda spelled: tuple(int(part) for part in spelled.split(".")))


def _knock(url: str) -> None:
    """See that somebody listens at a socket: the SDK leaves its own open where nobody does."""
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(PROBE_TIMEOUT)
            door.connect(url.removeprefix("unix://"))


def _check_age(profile: Profile, url: str) -> None:
    if profile.engine == "podman" or (profile.version >= OLDEST and profile.api >= OLDEST_API):
        return
    spelled = ".".join(map(str, profile.version)) or "of unknown version"
    raise PreflightError(
        f"the engine at {url} is docker {spelled}; nxc needs 20.10 or later",
        hint="upgrade it (Debian 11 and later have a newer docker.io), or use podman",
    )


def _refused(error: BaseException, url: str) -> PreflightError:
    return failures.explain_connection(error, url) or PreflightError(
        f"the container engine at {url} does not answer as one: {failures.said(error)}",
        hint="correct DOCKER_HOST, or docker.url; `docker -H URL version` shows what is there",
    )


def is_local(url: str, info: Mapping[str, Any]) -> bool:
    """Whether the engine's files are this machine's: it listens here, and calls its machine by our name.

    Docker Desktop and an engine whose socket was mounted into a container listen here, but live elsewhere.
    """
    return url.startswith("unix://") and info.get("Name") == socket.gethostname()


# Where the engine is


def find_url(wanted: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """Return an address: the one wanted, DOCKER_HOST, the docker context's, or a socket that is there."""
    if wanted or environment.get("DOCKER_HOST"):
        url = (wanted or environment["DOCKER_HOST"]).strip()
        return f"unix://{url}" if url.startswith("/") else url
    context = _context(environment)
    if context is not None:
        return str(context.endpoints["docker"]["Host"])
    places = [Path(place) for place in sockets(environment)]
    usable = [place for place in places if os.access(place, os.R_OK | os.W_OK)]
    there = [place for place in places if _is_there(place)]
    return f"unix://{[*usable, *there, places[0]][0]}"


def sockets(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """List where engines listen by custom, docker before podman, the machine's before the user's own."""
    own = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return (
        failures.DEFAULT_SOCKET,
        f"{own}/docker.sock",
        "/run/podman/podman.sock",
        f"{own}/podman/podman.sock",
    )


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # a folder on the way that is not ours to look into
        return False


def _context(environment: Mapping[str, str]) -> Context | None:
    """Return the docker context in use, unless it is the default one."""
    try:
        name = environment.get("DOCKER_CONTEXT") or get_current_context_name()
        if name == "default":
            return None
        found = ContextAPI.get_context(name)
    except Exception as error:  # noqa: BLE001 - the SDK raises plain Exception for a damaged file
        raise PreflightError(f"the docker context cannot be read: {error}", hint=_CONTEXT) from error
    if found is None or "docker" not in found.endpoints:
        raise PreflightError(f"there is no docker context {name}", hint=_CONTEXT)
    return found


_CONTEXT = "see `docker context ls`, or set DOCKER_HOST or docker.url"


def _tls(url: str) -> TLSConfig | bool:
    """Return the certificates that the environment or the context in use gives for this address."""
    if not url.startswith(("tcp://", "https://")):
        return False
    given = kwargs_from_env()
    if given.get("base_url", url) == url and "tls" in given:
        return given["tls"]
    context = None if os.environ.get("DOCKER_HOST") else _context(os.environ)
    if context is not None and context.endpoints["docker"]["Host"] == url and context.TLSConfig:
        return context.TLSConfig
    return url.startswith("https://")
