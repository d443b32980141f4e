"""Store paths inside a role's root: copied sources, and what the four kinds of derivation make."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nxc_core.errors import BuildError, CommandError
from nxc_debian.inside.root import RUN, chroot, within

STORE = Path("/nix/store")
COMMANDS = ("/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/games/")
SHARED = ("lib", "share", "etc", "include")
_UNSET = ("builder", "system", "out", "nxcKind", "buildCommand", "buildInputs", "name", "args")


def copy_sources(store: Path, sources: Sequence[str], root: Path, epoch: int) -> None:
    """Copy plain store paths from the user's own store."""
    inside = root / "nix" / "store"
    if inside.is_symlink() or inside.parent.is_symlink():
        raise BuildError("a package of the role brings a link in place of /nix")
    for source in sources:
        _copy_source(store / Path(source).name, inside / Path(source).name, epoch)


def _copy_source(source: Path, target: Path, epoch: int) -> None:
    if not os.path.lexists(source):
        raise BuildError(
            f"{source} is not there", hint="build again: it is copied when the composition is read"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copyfile(source, target, follow_symlinks=False)
        if not target.is_symlink() and source.stat().st_mode & 0o100:
            target.chmod(0o555)
    settle(target, epoch)
    _settle_store(target.parent, epoch)


def realise(derivations: Sequence[Mapping[str, Any]], root: Path, epoch: int) -> None:
    """Make every store path of a role, in the order given; each is root's, read-only, and of one time."""
    if not derivations:
        return
    within(root, lambda: STORE.mkdir(parents=True, exist_ok=True))
    for found in derivations:
        if found["kind"] == "command":
            _run_command(found, found["env"].get("buildCommand", ""), root, epoch)
        elif found["kind"] == "join":
            within(root, partial(_join, found))
            if found["env"].get("postBuild"):
                _run_command(found, found["env"]["postBuild"], root, epoch)
        else:
            within(root, partial(_make_simple, found))
        within(root, partial(settle, Path(found["out"]), epoch))
    within(root, lambda: _settle_store(STORE, epoch))


def settle(path: Path, epoch: int) -> None:
    """Give a store path to root, read-only, at one time."""
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            settle(child, epoch)
    os.chown(path, 0, 0, follow_symlinks=False)
    if not path.is_symlink():
        executable = path.is_dir() or path.stat().st_mode & 0o111
        path.chmod(0o555 if executable else 0o444)
    os.utime(path, (epoch, epoch), follow_symlinks=False)


def _settle_store(store: Path, epoch: int) -> None:
    for folder in (store, store.parent):
        folder.chmod(0o755)
        os.utime(folder, (epoch, epoch))


def _make_simple(found: Mapping[str, Any]) -> None:
    out, env = Path(found["out"]), found["env"]
    if found["kind"] == "package":
        _link_package(out, env["debian"].split())
    elif found["kind"] == "text":
        target = Path(f"{out}{env.get('destination', '')}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(env["text"], errors="surrogateescape")
        target.chmod(0o555 if env.get("executable") else 0o444)
    else:
        raise BuildError(
            f"{out}: a derivation of unknown kind {found['kind']}", hint="nix/ is newer than this nxc"
        )


def _link_package(out: Path, names: Sequence[str]) -> None:
    """Make ``$out/bin`` hold links to every command of these Debian packages."""
    (out / "bin").mkdir(parents=True)
    for name in names:
        lists = [
            *Path("/var/lib/dpkg/info").glob(f"{name}.list"),
            *Path("/var/lib/dpkg/info").glob(f"{name}:*.list"),
        ]
        for line in lists[0].read_text().splitlines() if lists else ():
            path = Path(line)
            if line.startswith(COMMANDS) and path.parent.as_posix() + "/" in COMMANDS and not path.is_dir():
                link = out / "bin" / path.name
                if not link.is_symlink():
                    link.symlink_to(path)
    for name in SHARED:
        source = Path("/etc") if name == "etc" else Path("/usr") / name
        if source.is_dir():
            (out / name).symlink_to(source)


def _join(found: Mapping[str, Any]) -> None:
    out = Path(found["out"])
    out.mkdir(parents=True)
    for path in found["env"].get("paths", "").split():
        if Path(path).is_dir():
            _link_farm(Path(path), out)


def _link_farm(source: Path, target: Path) -> None:
    """Link what is in ``source`` into ``target``; folders are merged, the first file wins."""
    for child in sorted(source.iterdir()):
        place = target / child.name
        if not os.path.lexists(place):
            place.symlink_to(child)
        elif place.is_dir() and child.is_dir():
            if place.is_symlink():
                before = place.resolve()
                place.unlink()
                place.mkdir()
                _link_farm(before, place)
            _link_farm(child, place)


def _run_command(found: Mapping[str, Any], script: str, root: Path, epoch: int) -> None:
    """Run a build command in the root, without network; only ``$out`` is kept."""
    env = {name: value for name, value in found["env"].items() if name not in _UNSET}
    inputs = [path for path in found["env"].get("buildInputs", "").split() if path]
    work = f"/tmp/nxc-{Path(found['out']).name}"
    search = [f"{path}/bin" for path in inputs] + ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    env |= {
        "out": found["out"],
        "name": found["env"]["name"],
        "PATH": ":".join(search),
        "HOME": work,
        "TMPDIR": work,
    }
    env |= {"NIX_BUILD_TOP": work, "buildInputs": " ".join(inputs)}
    (root / RUN).mkdir(parents=True, exist_ok=True)
    (root / RUN / "script").write_text(f"mkdir -p {work} && cd {work}\n{script}\n")
    try:
        chroot(root, ("/bin/bash", "-e", f"/{RUN}/script"), epoch, env=env)
    except CommandError as error:
        said = (error.stderr.strip() or error.message.partition(":\n")[2]).splitlines()[-12:]
        code = "was ended by a deadline or signal" if (error.code or -1) < 0 else f"exit code {error.code}"
        tail = "\n".join(f"  {line}" for line in said)
        raise BuildError(f"runCommand `{found['env']['name']}' failed ({code}):\n{tail}") from error
    if not os.path.lexists(root / found["out"].lstrip("/")):
        raise BuildError(
            f"runCommand `{found['env']['name']}' made nothing at $out", hint="its script must create $out"
        )
