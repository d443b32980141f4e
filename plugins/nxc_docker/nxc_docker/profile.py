"""What probing an engine said of it, and the least that systemd needs of it to be PID 1. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import frozen

from nxc_docker.wishes import Bind

OLDEST = (20, 10)
"""Docker 20.10 is the first that tells its cgroup version and knows cgroup namespaces."""
OLDEST_API = (1, 41)
WRITABLE_CGROUPS = (28,)
"""Docker 28 can hand a container its own cgroups to write; whether it does is seen when one is created."""
_REMOUNT = (
    "mount -o remount,bind,rw /sys/fs/cgroup || exit; "
    '{ echo "exec docker-default" >/proc/self/attr/exec; } 2>/dev/null; '
    'exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin -- "$@"'
)
"""Takes the right to mount for this alone: systemd has docker's usual rights, and AppArmor's confinement."""
_RUN = ("/run:mode=755", "/run/lock:mode=755")


@frozen(kw_only=True)
class Profile:
    """An engine, as it told of itself.

    ``local``: its files are this machine's, so that bind mounts mean what they say. ``privileged`` is the
    user's wish. ``root`` is where the engine keeps its data; ``processors`` are 0 where it does not tell.
    """

    engine: Literal["docker", "podman"]
    version: tuple[int, ...]
    api: tuple[int, ...]
    cgroup: Literal[1, 2]
    rootless: bool = False
    apparmor: bool = False
    writable_cgroups: bool = False
    local: bool = True
    privileged: bool = False
    root: str = ""
    remapped: bool = False
    processors: int = 0

    @property
    def width(self) -> int:
        """How many containers are started at once: more only get in each other's way."""
        return 2 * self.processors or 4

    @property
    def spelled(self) -> str:
        """What a person is told."""
        words = [self.engine, ".".join(map(str, self.version)), f"cgroup v{self.cgroup}"]
        return ", ".join([" ".join(words[:2]), *words[2:], *(["rootless"] if self.rootless else [])])


@frozen(kw_only=True)
class Flags:
    """What a container is created with so that systemd runs in it.

    ``tmpfs`` are spelled ``target:options``. With ``wrapper`` the command goes through ``wrapped``.
    """

    tmpfs: tuple[str, ...] = ()
    binds: tuple[Bind, ...] = ()
    cap_add: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    cgroupns: Literal["host", "private"] | None = None
    wrapper: bool = False
    privileged: bool = False


def read_profile(
    version: Mapping[str, Any], info: Mapping[str, Any], *, local: bool, privileged: bool = False
) -> Profile:
    """Read what ``GET /version`` and ``GET /info`` answered."""
    components = [str(part.get("Name", "")) for part in version.get("Components") or ()]
    engine: Literal["docker", "podman"] = "podman" if "Podman Engine" in components else "docker"
    number = _number(str(version.get("Version", "")))
    security = [str(line) for line in info.get("SecurityOptions") or ()]
    rootless = any(line.startswith("name=rootless") for line in security)
    cgroup: Literal[1, 2] = 2 if str(info.get("CgroupVersion", "1")).endswith("2") else 1
    return Profile(
        engine=engine,
        version=number,
        api=_number(str(version.get("ApiVersion", ""))),
        cgroup=cgroup,
        rootless=rootless,
        apparmor=any(line.startswith("name=apparmor") for line in security),
        writable_cgroups=engine == "docker" and cgroup == 2 and not rootless and number >= WRITABLE_CGROUPS,
        local=local,
        privileged=privileged,
        root=str(info.get("DockerRootDir") or ""),
        processors=int(info.get("NCPU") or 0),
        remapped=any(line.startswith("name=userns") for line in security),
    )


def _number(text: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def flags(profile: Profile) -> Flags:
    """Return the least that systemd needs on this engine.

    Never a bind of the machine's cgroups together with a private cgroup namespace: systemd would then write
    into the machine's own root cgroup.
    """
    if profile.engine == "podman":  # sees by the command that it is systemd, and does all of it
        return Flags(privileged=profile.privileged)
    if profile.cgroup == 1:
        systemd = "/sys/fs/cgroup/systemd"
        bind = Bind(source=systemd, target=systemd, read_only=False)
        return Flags(tmpfs=_RUN, binds=(bind,), cgroupns="host", privileged=profile.privileged)
    if profile.privileged:
        return Flags(tmpfs=_RUN, cgroupns="private", privileged=True)
    if profile.writable_cgroups:
        return Flags(tmpfs=_RUN, security_opt=("writable-cgroups=true",), cgroupns="private")
    return Flags(
        tmpfs=_RUN,
        cap_add=("SYS_ADMIN",),
        security_opt=("apparmor=unconfined",) if profile.apparmor else (),
        cgroupns="private",
        wrapper=True,
    )


def wrapped(init: Sequence[str]) -> tuple[str, ...]:
    """Return the words that make a container's own cgroups writable, then become ``init``.

    An init in a Nix store brings its shell: there is none elsewhere in such a container.
    """
    folder = init[0].rpartition("/")[0]
    if folder.startswith("/nix/store/"):
        tools = f"{folder}/sw/bin"
        return (f"{tools}/sh", "-c", f"PATH={tools}; {_REMOUNT}", "nxc", *init)
    return ("/bin/sh", "-c", _REMOUNT, "nxc", *init)
