"""What building costs: a first build of examples/webserver, one more small package, an edited test script.

The first is compared with one `mmdebstrap --format=squashfs` of the union of its packages, both with
warm package caches, in the same mode (as root, or as an ordinary user). Needs Debian's squashfs-tools-ng,
and a network for mmdebstrap's lists.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pairs import Cost, compare, measure

EXAMPLES = Path(__file__).parents[1] / "examples"
NXC = Path(sys.executable).with_name("nxc")
BUILD: list[str | Path] = [NXC, "build", "-q", "-f", "vm-ramdisk"]


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = folder / "webserver"
        shutil.copytree(EXAMPLES / "webserver", project)
        warm = folder / "warm"
        measure(BUILD, env={"XDG_CACHE_HOME": str(warm)}, cwd=project)
        compare_first_build(folder, project, warm, pairs)
        add_a_package(project, warm)
        edit_the_script(project, warm)


def compare_first_build(folder: Path, project: Path, warm: Path, pairs: int) -> None:
    """Only packages and their lists are warm; every layer is made."""
    lock = json.loads((project / "nxc.lock").read_text())
    archives = folder / "archives"
    archives.mkdir()
    debs = warm / "nxc" / "debian" / "debs"
    names = sorted(lock["packages"])
    for name in names:
        package = lock["packages"][name]
        version = package["version"].replace(":", "%3a")
        (found,) = [deb for deb in debs.rglob("*.deb") if deb.name.startswith(package["sha256"][:16])]
        shutil.copy(found, archives / f"{name}_{version}_{package['architecture']}.deb")
    out = folder / "bare.squashfs"

    def ours() -> Cost:
        cache = folder / "cold"
        for kept in ("debs", "apt"):
            subprocess.run(["mkdir", "-p", cache / "nxc/debian"], check=True)
            subprocess.run(["cp", "-al", warm / "nxc/debian" / kept, cache / "nxc/debian"], check=True)
        shutil.rmtree(project / ".nxc", ignore_errors=True)
        cost = measure(BUILD, env={"XDG_CACHE_HOME": str(cache)}, cwd=project)
        subprocess.run(["rm", "-rf", cache], check=True)
        return cost

    def theirs() -> Cost:
        out.unlink(missing_ok=True)
        return measure(
            [
                "mmdebstrap",
                "--format=squashfs",
                "--variant=minbase",
                f"--include={','.join(names)}",
                "--skip=download/empty",
                "--skip=essential/unlink",
                '--setup-hook=mkdir -p "$1"/var/cache/apt/archives',
                f"--setup-hook=sync-in {archives} /var/cache/apt/archives/",
                lock["suite"],
                str(out),
            ]
        )

    who = "root" if os.geteuid() == 0 else "an ordinary user"
    compare(
        f"first build of examples/webserver / one mmdebstrap of its packages, as {who}",
        ours, theirs, n=pairs, warm=False, limit="CPU ratio at most 1.4",
    )  # fmt: skip


def add_a_package(project: Path, warm: Path) -> None:
    source = project / "composition.nix"
    text = source.read_text()
    env = {"XDG_CACHE_HOME": str(warm)}
    measure(BUILD, env=env, cwd=project)
    for package in ("hello", "tree", "figlet"):
        source.write_text(text.replace("[ pkgs.curl ]", f"[ pkgs.curl pkgs.{package} ]"))
        first = measure(BUILD, env=env, cwd=project)
        sys.stdout.write(
            f"{package} added to one role, fetched and locked:"
            f" wall {first.wall:.2f} s, CPU {first.cpu:.2f} s\n"
            "  aim    CPU at most 8 s beyond `dpkg -i` of it\n"
        )
    source.write_text(text)


def edit_the_script(project: Path, warm: Path) -> None:
    source = project / "composition.nix"
    env = {"XDG_CACHE_HOME": str(warm)}
    measure(BUILD, env=env, cwd=project)
    source.write_text(source.read_text().replace("start_all()", "start_all()\n    server.succeed('true')"))
    done = subprocess.run(
        [*BUILD[:2], "-f", "vm-ramdisk", "--json"],
        env={**os.environ, **env}, cwd=project, capture_output=True, text=True, check=True,
    )  # fmt: skip
    layers = [line for line in done.stderr.splitlines() if "layer" in line]
    sys.stdout.write(f"test script edited: {len(layers)} layers built\n")


if __name__ == "__main__":
    main()
