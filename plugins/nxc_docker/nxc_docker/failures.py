"""One clear error for whatever an engine, or the way to it, does wrong."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import requests.exceptions
import urllib3.exceptions
from docker import errors as sdk

from nxc_core import DeployError, NxcError, PreflightError

TROUBLE = (
    sdk.DockerException,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)
"""All that a call of the SDK may raise."""
DEFAULT_SOCKET = "/var/run/docker.sock"


class EngineLost(DeployError):
    """The engine cannot be reached any more: whatever comes next would fail the same."""


@contextlib.contextmanager
def translated(what: str, *, url: str = "") -> Iterator[None]:
    """Turn what the SDK raises into one error that says what was done, why it failed, and the way out."""
    try:
        yield
    except NxcError:
        raise
    except TROUBLE as error:
        raise explain(error, what, url) from error


def explain(error: BaseException, what: str, url: str = "") -> NxcError:
    """Return the error that a person is told."""
    if isinstance(error, sdk.APIError) and error.response is not None:
        return _explain_answer(error, what)
    for one in _causes(error):
        if isinstance(one, OSError) and one.filename:  # which a socket's has not
            told = f"{what}: {one.filename}: {one.strerror}"
            return DeployError(told, hint="see that this file of this machine is there and may be used")
    lost = explain_connection(error, url)
    if lost is None:
        return DeployError(f"{what}: {said(error)}", hint="see the engine's own log")
    return EngineLost(
        lost.message, hint=f"{lost.hint}; then `nxc start` goes on, `nxc down` takes away what is left"
    )


def said(error: BaseException) -> str:
    """What the engine itself said, on one line."""
    told = getattr(error, "explanation", None) or str(error)
    if isinstance(told, bytes):
        told = told.decode("utf-8", "replace")
    told = re.sub(r"\s+", " ", str(told)).strip()
    for noise in _NOISE:
        told = re.sub(noise, "", told)
    return told or type(error).__name__


_NOISE = (
    r"^Error response from daemon: ",
    r"^driver failed programming external connectivity on endpoint \S+ \([0-9a-f]+\): ",
    r"^failed to create shim(?: task)?: ",
    r"^OCI runtime create failed: ",
    r"^(?:runc|crun) create failed: ",
    r"^unable to start container process: ",
    r": unknown$",
)
"""What engines put around the reason."""


def is_gone(error: BaseException) -> bool:
    """Whether the engine says that a container or image is not there. Not for networks: see below.

    Exhausted address pools are a 404, too.
    """
    return isinstance(error, sdk.NotFound) and re.search("no such|not found", said(error), re.I) is not None


# The way to the engine


def explain_connection(error: BaseException, url: str) -> PreflightError | None:
    """Say why an engine cannot be reached; None when it is not about the way to it."""
    place = url.removeprefix("unix://") or DEFAULT_SOCKET
    is_socket = place.startswith("/")
    chain = list(_causes(error))
    text = " ".join(str(one) for one in chain)
    if _has(chain, FileNotFoundError):
        return PreflightError(
            f"no container engine is at {place}: there is no such socket", hint=_advise(url)
        )
    if _has(chain, PermissionError):
        return PreflightError(f"{place} may not be opened: permission denied", hint=advise_permission(place))
    if _has(chain, ConnectionRefusedError):
        told = "its socket is there, but no engine listens" if is_socket else "the connection is refused"
        return PreflightError(f"the container engine at {place} is not running: {told}", hint=_advise(url))
    if _has(chain, socket.gaierror) or "Failed to resolve" in text or "Name or service" in text:
        return PreflightError(f"the host of {url} is not known", hint=f"correct {_origin(url)}")
    if _has(chain, TimeoutError) or "timed out" in text:
        return PreflightError(
            f"the container engine at {place} does not answer in time",
            hint="see whether it hangs (systemctl status docker), or give it longer: -o docker.timeout=300",
        )
    if (
        "Invalid bind address" in text
        or "Invalid URL" in text
        or "Invalid host" in text
        or _has(chain, sdk.TLSParameterError)
    ):
        return PreflightError(f"{url!r} is no engine's address: {said(error)}", hint=_SPELLING)
    if _has(chain, requests.exceptions.SSLError):
        return PreflightError(
            f"{url}: TLS fails: {said(error)}", hint="see DOCKER_TLS_VERIFY and DOCKER_CERT_PATH"
        )
    if "AF_UNIX path too long" in text:
        return PreflightError(
            f"{place} is too long for a socket's path", hint="link a shorter path to it: 107 bytes at most"
        )
    if _has(chain, requests.exceptions.InvalidJSONError):  # which is an OSError, too
        return PreflightError(
            f"what listens at {place} is no container engine: it answers in no JSON",
            hint=f"correct {_origin(url)}",
        )
    answers = [one.response for one in chain if isinstance(one, requests.exceptions.HTTPError)]
    if answers:
        code = getattr(answers[-1], "status_code", "an error")
        return PreflightError(
            f"what listens at {place} does not answer as a container engine does, but with {code}",
            hint=f"correct {_origin(url)}",
        )
    if re.search(r"\[Errno 1(?:01|13)\]", text):  # no route to network or host
        return PreflightError(
            f"the container engine at {place} cannot be reached: no way leads to its machine",
            hint=f"check the network, or correct {_origin(url)}",
        )
    lost = (requests.exceptions.ConnectionError, urllib3.exceptions.ProtocolError, ConnectionError, OSError)
    if _has(chain, *lost):
        return PreflightError(
            f"the container engine at {place} went away while it was asked", hint=_advise(url)
        )
    return None


def refuse_ssh(url: str) -> PreflightError:
    """Refuse an address that the SDK takes, but with a pipe for a socket: no deadline, no end of input."""
    return PreflightError(
        f"nxc does not speak to an engine by ssh itself: {url}",
        hint=f"forward its socket: ssh -nNT -L ~/docker.sock:/var/run/docker.sock {url.rstrip('/')} (leave it"
        " running), and set DOCKER_HOST=unix://$HOME/docker.sock",
    )


_SPELLING = "set DOCKER_HOST (or docker.url) as unix:///var/run/docker.sock or tcp://HOST:2375"


def _origin(url: str) -> str:
    return "DOCKER_HOST" if os.environ.get("DOCKER_HOST") == url else "docker.url or DOCKER_HOST"


def _advise(url: str) -> str:
    given = os.environ.get("DOCKER_HOST") == url
    says = ", or correct DOCKER_HOST, which names it" if given else ""
    if "podman" in url:
        return f"start it: systemctl start podman.socket, or --user for your own{says}"
    if given and url != f"unix://{DEFAULT_SOCKET}":
        return f"start it{says}"
    user = "--user " if os.getuid() else ""
    return (
        f"start it: systemctl start docker (Debian's docker.io), or systemctl {user}start podman.socket{says}"
    )


def advise_permission(place: str) -> str:
    """Say how to be let in."""
    with contextlib.suppress(OSError, KeyError):
        import grp

        group = grp.getgrgid(Path(place).stat().st_gid).gr_name
        if group != "root":
            return f"join the group {group} (adduser USER {group}, then log in again), or use rootless podman"
    return "run nxc as root, or use rootless podman (systemctl --user start podman.socket)"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that it wraps: requests and urllib3 hide them in arguments."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]


def _has(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(one, kinds) for one in chain)


# What the engine answers

PORT_IN_USE = "a published port is in use"
_NO_PRIVILEGE = "leave out docker.privileged: nxc asks for the least that works by itself"
_ANSWERS: tuple[tuple[str, str, str], ...] = (
    (
        r"no such container|no container with name or ID",
        "its container is gone",
        "`nxc start` makes it again",
    ),
    (
        r"container .* is not running|container state improper|can only create exec sessions on running",
        "its container is not running",
        "`nxc status` says why; `nxc start` starts it again",
    ),
    (
        r"port is already allocated|\b(?:bind|listen)\b.*address already in use",
        PORT_IN_USE,
        'free it, or leave out the host port, as in ports = [ "80" ]: the engine then takes a free one',
    ),
    (
        r"could not find an available.*address pool|all predefined address pools",
        "the engine has no subnet left for another network",
        "remove networks that nobody uses: `nxc clean`, then `docker network prune`",
    ),
    (
        r"pool overlaps|already used on the host|already being used by|subnet .* is already (?:being )?used",
        "its subnet overlaps another network's",
        "`nxc start --new` takes another subnet, `nxc down` takes this one away",
    ),
    (
        r"no available IPv4 addresses",
        "the network has no free address",
        "start a new deployment (`nxc start --new`): its subnet fits its nodes",
    ),
    (
        r"address already in use|requested ip address \S+ is already allocated",
        "its address is another container's in the deployment's network",
        "take that out (`docker network inspect` says which it is), or `nxc down`, then start anew",
    ),
    (
        r"bind source path does not exist|statfs .*no such file|mounts denied",
        "a folder or file to be mounted does not exist on the engine's machine",
        "make it, or correct the role's volumes",
    ),
    (
        r"No space left on device",
        "the engine's disk is full",
        "free some: `nxc clean`, `docker system prune`",
    ),
    (
        r"unable to apply caps|operation not permitted.*privileged",
        "this machine does not have the rights that --privileged asks for",
        _NO_PRIVILEGE,
    ),
    (
        r"active endpoints|network is being used|has associated containers",
        "containers are still in the network",
        "remove them, or run `nxc down` again",
    ),
    (
        r"is ambiguous",
        "there are several networks of that name",
        "remove the strange one: docker network ls",
    ),
    (
        r"invalid --security-opt",
        "the engine does not know a security option",
        "upgrade it, or report this",
    ),
    (
        r"invalid diffID|invalid tar header|Some layer tarfiles are missing|error processing tar"
        r"|layer\.tar: no such file",
        "the image is damaged",
        "remove it from nxc's cache (`nxc clean --all`) and build again",
    ),
    (
        r'(?:slirp4netns|pasta|fuse-overlayfs|conmon|crun|runc|newuidmap)"?: (?:executable file )?not found',
        "the engine lacks a program",
        "install it, as the package of that name, and restart the engine",
    ),
    (
        r"cgroups in hybrid mode",
        "the engine's crun cannot work with control groups of versions 1 and 2 at once",
        "boot with systemd.unified_cgroup_hierarchy=1, or use docker, or another flavour",
    ),
    (
        r"starting container process caused|executable file not found|exec: .*no such file",
        "its first program cannot be started",
        "look at the image: does it hold the system that was built?",
    ),
    (
        r"sysctl .*not (?:in a separate|allowed|whitelisted)|sysctl .*no such file",
        "a sysctl cannot be set for a container",
        "leave it out, or choose the flavour vm",
    ),
    (
        r"memory limit|Minimum memory|NanoCPUs|Range of CPUs|cpus? .*greater than|no CPU CFS",
        "a resource limit cannot be held",
        "correct memory, cpus or pids of the role",
    ),
)


def _explain_answer(error: sdk.APIError, what: str) -> DeployError:
    told = said(error)
    for pattern, meaning, hint in _ANSWERS:
        if re.search(pattern, told, re.I | re.S):
            return DeployError(f"{what}: {meaning} ({told})", hint=hint)
    code = error.response.status_code if error.response is not None else "no status"
    return DeployError(f"{what}: the engine refuses ({code}): {told}", hint="see the engine's own log")
