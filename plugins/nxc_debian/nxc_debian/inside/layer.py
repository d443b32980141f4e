"""Making a layer over the base: kernel, guest or role."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nxc_core.errors import BuildError, CommandError
from nxc_core.process import run
from nxc_debian import tars
from nxc_debian.inside import accounts, placing, realise, scrub
from nxc_debian.inside.root import RUN, chroot, overlay, within

_APT_OPTIONS = (
    *("-y", "-q", "--no-install-recommends", "--allow-downgrades", "-o", "APT::Sandbox::User=root"),
    *("-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Dir::Etc::sourceparts=/dev/null"),
    *("-o", "Dir::Log=/tmp", "-o", "Dir::Cache=/tmp", "-o", "Acquire::AllowUnsizedPackages=true"),
    *("-o", "Dpkg::Options::=--force-unsafe-io", "-o", "Dpkg::Options::=--force-confdef"),
    *("-o", "Dpkg::Use-Pty=0"),
)
SKIPPED = ("run", "tmp", "dev", "proc", "sys")
_POLICY = "#!/bin/sh\nexit 101\n"
_QUIET = {"etc/postgresql-common/createcluster.d/nxc.conf": "create_main_cluster = false\n"}
"""Settings, during the installation only, that keep packages from making a machine's own data."""


def make_layer(
    task: dict[str, Any], job: dict[str, Any], folder: Path, epoch: int, told: dict[str, Any]
) -> list[tars.Entry]:
    """Change a copy of the base as the task says and list what has changed."""
    place = folder / task["layer"]
    base = folder / "base"
    act = {"kernel": _kernel, "guest": _guest, "role": _role}[task["make"]]
    with overlay(place, base) as root:
        act(task, job, root, epoch)
        if task["make"] == "kernel":
            told |= {"release": task["release"], "modules": _module_names(root, task["release"])}
    return tars.difference(place / "upper", base, epoch, skip=SKIPPED)


def _kernel(task: dict[str, Any], job: dict[str, Any], root: Path, epoch: int) -> None:
    """Unpack the kernel; its image goes beside the layer, the modules into it but for those left out."""
    for deb in task["debs"]:
        unpack(Path(deb), root)
    release = task["release"]
    for path in task["without"]:
        shutil.rmtree(root / "usr/lib/modules" / release / "kernel" / path, ignore_errors=True)
    shutil.copyfile(root / f"boot/vmlinuz-{release}", Path(task["out"]) / f"{task['layer']}.vmlinuz")
    for path in (root / "boot").iterdir():
        path.unlink()
    for doc in (root / "usr/share/doc").glob("linux-image-*"):
        shutil.rmtree(doc)
    chroot(root, ("depmod", "-a", release), epoch)


def _module_names(root: Path, release: str) -> list[str]:
    """List the modules that the kernel has, built in or not."""
    folder = root / "usr/lib/modules" / release
    lines = [
        line.partition(":")[0]
        for name in ("modules.dep", "modules.builtin")
        for line in _lines(folder / name)
    ]
    return sorted({Path(line).name.partition(".ko")[0].replace("-", "_") for line in lines})


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def unpack(deb: Path, root: Path, target: Path | None = None) -> None:
    """Unpack a package's files into a root without installing it; /lib stays a link to /usr/lib."""
    pipe = root / RUN / "data.tar"
    pipe.parent.mkdir(parents=True, exist_ok=True)
    run(("dpkg-deb", "--fsys-tarfile", str(deb)), output=pipe, timeout=600)
    run(
        ("tar", "-x", "-p", "--numeric-owner", "--keep-directory-symlink", "-C", str(target or root))
        + ("-f", str(pipe)),
        timeout=600,
    )
    pipe.unlink()


def _guest(task: dict[str, Any], job: dict[str, Any], root: Path, epoch: int) -> None:
    """Put nxc's own files into the system."""
    for deb in task["debs"]:
        unpack(Path(deb), root)
    _keep_only(root / "usr/lib/firmware", task["firmware"])
    if task["busybox"] is not None:
        _add_busybox(Path(task["busybox"]), root)

    def place() -> None:
        for path, spec in sorted(task["files"].items()):
            placing.place_text(path, spec["text"], spec["mode"])
        for name, mode in sorted(task["folders"].items()):
            Path("/", name).mkdir(parents=True, exist_ok=True)
            Path("/", name).chmod(int(mode, 8))
        placing.place_units({"wants": task["wants"], "mask": task["mask"]})
        for name in task["without_generators"]:
            placing.make_way(f"etc/systemd/system-generators/{name}").symlink_to("/dev/null")

    within(root, place)


def _keep_only(folder: Path, patterns: Sequence[str]) -> None:
    """Remove the files below a folder that no pattern names: itself, or a folder above it."""
    kept = {path for pattern in patterns for path in folder.glob(pattern)}
    for path in folder.rglob("*"):
        if not path.is_dir() and not kept & {path, *path.parents}:
            path.unlink()


def _add_busybox(deb: Path, root: Path) -> None:
    """Put the one program of a package where no role's own is."""
    place = root / RUN / "busybox"
    place.mkdir(parents=True)
    unpack(deb, root, place)
    target = root / "usr/lib/nxc/busybox"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(next(path for path in place.glob("**/bin/busybox")), target)
    target.chmod(0o755)
    shutil.rmtree(place)


def _systemctl_enable(root: Path, units: list[str], epoch: int) -> None:
    try:
        chroot(root, ("systemctl", "enable", "--quiet", "--", *units), epoch)
    except CommandError as error:
        said = error.stderr.strip().splitlines()
        raise BuildError(f"units could not be enabled: {said[-1] if said else error.message}") from error


def _role(task: dict[str, Any], job: dict[str, Any], root: Path, epoch: int) -> None:
    system = task["system"]
    before = scrub.enabled_links(root)
    if task["install"]:
        _install(Path(job["debs"]), task["install"], root, epoch)
    realise.copy_sources(Path(job["store"]), system.get("sources", []), root, epoch)
    realise.realise(task["derivations"], root, epoch)
    within(root, lambda: scrub.scrub(Path("/"), mounted=True))
    scrub.disable(root, scrub.enabled_links(root) - before)

    def populate() -> None:
        accounts.add(system.get("groups", []), system.get("users", []), epoch)
        placing.place_files(system.get("files", {}))
        placing.link_path(system.get("path", []))
        placing.place_units(system.get("units", {}))
        accounts.make_homes(system.get("users", []))

    within(root, populate)
    enabled = system.get("units", {}).get("enable", [])
    if enabled:
        _systemctl_enable(root, enabled, epoch)


def _install(cache: Path, debs: list[str], root: Path, epoch: int) -> None:
    """Install packages: apt orders them, nothing is started, nothing is fetched."""
    # copied, not mounted: what a package's script removes is then never the cache's
    place = root / RUN / "debs"
    place.mkdir(parents=True)
    for deb in debs:
        shutil.copyfile(cache / deb, place / Path(deb).name)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(_POLICY)
    policy.chmod(0o755)
    argv = ("apt-get", "install", *_APT_OPTIONS)
    try:
        with _quiet(root):
            chroot(root, (*argv, *(f"/{RUN}/debs/{Path(deb).name}" for deb in debs)), epoch)
    except CommandError as error:
        said = [line for line in error.stderr.splitlines() if line.strip()] or error.message.splitlines()
        raise BuildError(
            "packages were not installed:\n" + "\n".join(f"  {line}" for line in said[-12:])
        ) from error
    shutil.rmtree(place)


@contextlib.contextmanager
def _quiet(root: Path) -> Iterator[None]:
    made = []
    for name, text in _QUIET.items():
        path = root / name
        made += [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    yield
    for name in _QUIET:
        (root / name).unlink()
    for folder in made:
        with contextlib.suppress(OSError):  # a package has put something there
            folder.rmdir()
