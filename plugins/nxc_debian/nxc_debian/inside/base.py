"""Making the base layer: mmdebstrap from a frozen repository, then what is common to all systems."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nxc_core.errors import BuildError, CommandError
from nxc_core.process import run
from nxc_debian.inside.root import environment
from nxc_debian.inside.scrub import disable, enabled_links, scrub

TIMEOUT = 3600.0
EXCLUDED = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/linda/*",
)
STARTED = ("remote-fs.target",)
"""Units of the base system that start by themselves; all others a composition asks for."""
_MERGED = 'for d in bin sbin lib lib32 lib64 libx32; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d"; done'
_KEYS = 'mkdir -p "$1/etc/ssh" && for k in rsa ecdsa ed25519; do : > "$1/etc/ssh/ssh_host_${k}_key"; done'
"""With keys there, openssh-server does not spend seconds on making some that are removed again."""


def make_base(task: dict[str, Any], folder: Path, epoch: int) -> Path:
    """Install the base system into a folder below ``folder`` and return it."""
    root = folder / "base"
    env = {**environment(epoch), "TMPDIR": str(folder)}
    argv = ["mmdebstrap", "--mode=root", "--variant=essential", "--format=directory", "--skip=output/dev"]
    argv += [f"--include={','.join(task['packages'])}", f"--architectures={task['architecture']}"]
    argv += [f"--setup-hook={_MERGED}", f"--setup-hook={_KEYS}", "--dpkgopt=force-unsafe-io"]
    argv += [f"--dpkgopt={line}" for line in EXCLUDED]
    argv += ["", str(root), f"deb [trusted=yes] copy:{task['repository']} ./"]
    try:
        run(argv, env=env, timeout=TIMEOUT, cwd=folder)
    except CommandError as error:
        raise BuildError(f"the base system was not installed:\n{_reason(error)}") from error
    finish(root, epoch)
    return root


def _reason(error: CommandError) -> str:
    lines = [line for line in error.stderr.splitlines() if line.strip() and not line.startswith("I:")]
    return "\n".join(f"  {line}" for line in lines[-12:]) or error.message


def finish(root: Path, epoch: int) -> None:
    """Say once for all systems what apt and systemd are to do."""
    disable(root, {name for name in enabled_links(root) if Path(name).name not in STARTED})
    options = root / "etc/dpkg/dpkg.cfg.d"
    for path in options.glob("*mmdebstrap*"):
        path.unlink()
    _write(options / "nxc", "".join(f"{line}\n" for line in EXCLUDED))
    for path in (root / "etc/apt/sources.list.d").glob("*"):
        path.unlink()
    _write(root / "etc/apt/sources.list", "")
    _write(root / "etc/default/locale", "LANG=C.UTF-8\n")
    _write(root / "etc/systemd/system.conf.d/nxc.conf", "[Manager]\nDefaultEnvironment=LANG=C.UTF-8\n")
    scrub(root)
    for name in ("etc/.updated", "var/.updated"):  # else systemd redoes at each boot what dpkg has done
        _write(root / name, "")
        os.utime(root / name, (epoch, epoch))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
