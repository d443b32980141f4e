"""The built wheels work outside the repository: an empty environment, an empty folder, no checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

REPOSITORY = Path(__file__).parents[2]
MANAGED = (REPOSITORY, *sorted((REPOSITORY / "plugins").iterdir()))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build every wheel of the repository."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in MANAGED:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "wheel",
                "-q",
                "--no-deps",
                "--no-build-isolation",
                "-w",
                str(folder),
                str(source),
            ],
            check=True,
            timeout=300,
        )
    assert len(list(folder.glob("*.whl"))) == len(MANAGED)
    return folder


@pytest.fixture(scope="module")
def installed(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheels, with the libraries of this environment, in a venv that knows no checkout."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    here = next(Path(sys.prefix).glob("lib/python*/site-packages"))
    # Libraries come by path, so that the test needs no network; the wheels' own packages come first.
    (site / "zz-libraries.pth").write_text(f"import site; site.addsitedir({str(folder / 'libraries')!r})\n")
    (folder / "libraries").mkdir()
    for item in here.iterdir():
        if not item.name.startswith(("nxc", "_nxc", "__editable__", "zz-", "pip")):
            (folder / "libraries" / item.name).symlink_to(item)
    subprocess.run(
        [
            folder / "bin/python",
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-index",
            *map(str, wheels.glob("*.whl")),
        ],
        check=True,
        timeout=300,
    )
    return folder


def test_the_nix_library_and_every_package_are_inside(wheels: Path) -> None:
    names = [name for wheel in wheels.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()]
    for wanted in (
        "nxc_core/nix/lib/default.nix",
        "nxc_core/nix/debian/eval.nix",
        "nxc_core/nix/guest/initrd/init",
        "nxc_core/nix/driver.nix",
        "nxc_core/nix/flake.nix",
        "nxc_core/nix/guests.json",
        "nxc_core/nix/kinds/ramdisk.nix",
        "nxc_core/nix/nixos/evaluate.nix",
        "nxc_core/nix/template/flake.nix",
    ):
        assert wanted in names
    for package in ("nxc_core", *(folder.name for folder in MANAGED[1:])):
        assert f"{package}/py.typed" in names


def test_an_installed_nxc_offers_every_flavour_and_base(installed: Path) -> None:
    for what, wanted in (
        ("flavour", {"docker", "kexec", "local", "nspawn", "vm", "vm-ramdisk"}),
        ("base", {"debian", "nixos", "plain"}),
    ):
        told = subprocess.run(
            [installed / "bin/nxc", what, "list", "--json"],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        )
        assert {entry["name"] for entry in json.loads(told.stdout)} >= wanted, told.stdout
        for name in wanted:  # its module is imported with what the wheels brought
            subprocess.run(
                [installed / "bin/nxc", what, "show", name], check=True, cwd="/", capture_output=True
            )


def test_an_installed_nxc_runs_the_basic_example_from_an_empty_folder(
    installed: Path, cached: Path, tmp_path: Path
) -> None:
    example = tmp_path / "experiment"
    environment = {
        "PATH": f"{installed / 'bin'}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"],
        "LANG": "C.UTF-8",
    }
    example.mkdir()
    for argv in (["nxc", "init", "basic"], ["nxc", "up", "--test"]):
        done = subprocess.run(
            argv, cwd=example, env=environment, capture_output=True, text=True, timeout=1500, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    where = subprocess.run(
        [
            installed / "bin/python",
            "-c",
            "import nxc_core, nxc_vm; print(nxc_core.__file__, nxc_vm.__file__)",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=example,
        env=environment,
    )
    assert str(REPOSITORY) not in where.stdout
