"""``nxc build`` with NixOS, as people type it: every kind of project, as root and as anyone."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.nixos_bench import THREE
from tests.standin import ROOT, StandIn, flake_project, stand_in

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

NXC = Path(sys.executable).with_name("nxc")
PIN = '{ inputs.nixpkgs.url = "path:@nixpkgs@"; outputs = { self, nixpkgs }: { }; }'


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return stand_in(tmp_path_factory.mktemp("nixos"))


@pytest.fixture
def three(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "composition.nix").write_text(THREE)
    return folder


def nxc(
    standin: StandIn, folder: Path, *words: str, code: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(NXC), *words],
        cwd=folder,
        env=standin.environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    return done


def composed(standin: StandIn, folder: Path, three: Path) -> None:
    flake_project(standin, folder, three)


def committed(standin: StandIn, folder: Path, three: Path) -> None:
    flake_project(standin, folder, three, commit=True)


def pinned(standin: StandIn, folder: Path, three: Path) -> None:
    shutil.copytree(three, folder)
    (folder / "flake.nix").write_text(PIN.replace("@nixpkgs@", str(standin.nixpkgs)))


def upstream(standin: StandIn, folder: Path, three: Path) -> None:
    shutil.copytree(three, folder)
    said = {"composition": "composition.nix", "default_flavour": "vm-ramdisk"}
    (folder / "nxc.json").write_text(json.dumps({**said, "nixpkgs": str(standin.nixpkgs)}))


def configured(standin: StandIn, folder: Path, three: Path) -> None:
    shutil.copytree(three, folder)
    (folder / "nxc.toml").write_text(f'base = "nixos"\n[options.nixos]\nnixpkgs = "{standin.nixpkgs}"\n')


WAYS = [composed, committed, pinned, upstream, configured]


@pytest.mark.parametrize("make", WAYS, ids=lambda make: make.__name__)
def test_every_kind_of_project_is_built(
    standin: StandIn, tmp_path: Path, three: Path, make: Callable[[StandIn, Path, Path], None]
) -> None:
    folder = tmp_path / "project"
    make(standin, folder, three)
    first = nxc(standin, folder, "build")
    assert "base nixos: " in first.stderr
    build = json.loads(nxc(standin, folder, "build", "--json").stdout)
    assert build["reason"]
    assert (build["id"], build["base"]) == (first.stdout.strip(), "nixos")
    assert sorted(build["artifact"]["roles"]) == ["alpha", "beta", "gamma"]
    assert "nothing changed" in nxc(standin, folder, "build", "-v").stderr
    check_ramdisk(standin, build)


def check_ramdisk(standin: StandIn, build: Mapping[str, Any]) -> None:
    """Look for each role's system behind the paths that the artifact gives."""
    for role, boot in build["artifact"]["roles"].items():
        assert Path(boot["kernel"]).is_file()
        assert Path(boot["initrd"]).is_file()
        top = standin.physical(Path(boot["init"]).parent)
        assert (top / "init").exists()
        etc = standin.physical(f"{Path(boot['init']).parent}/etc")
        assert any(path.name == role for path in etc.rglob("*")), f"/etc/{role} is not in {etc}"


def test_an_edit_builds_what_it_touches(standin: StandIn, tmp_path: Path, three: Path) -> None:
    folder = tmp_path / "project"
    composed(standin, folder, three)
    first = json.loads(nxc(standin, folder, "build", "--json").stdout)
    source = folder / "composition.nix"
    source.write_text(source.read_text().replace("succeed('true')", "fail('false')"))
    told = nxc(standin, folder, "build", "--json", "-v")
    second = json.loads(told.stdout)
    assert second["artifact"] == first["artifact"], "the test script is in no image"
    assert second["composition"]["test_script"] == "alpha.fail('false')"
    assert "evaluating role" not in told.stderr
    source.write_text(source.read_text().replace('"b"', '"changed"'))
    told = nxc(standin, folder, "build", "--json", "-v")
    third = json.loads(told.stdout)["artifact"]["roles"]
    assert "evaluating role beta" in told.stderr
    changed = {
        role for role, boot in third.items() if boot["init"] != first["artifact"]["roles"][role]["init"]
    }
    assert changed == {"beta"}


def test_what_was_collected_is_built_again(standin: StandIn, tmp_path: Path, three: Path) -> None:
    folder = tmp_path / "project"
    configured(standin, folder, three)
    text = (folder / "composition.nix").read_text()
    (folder / "composition.nix").write_text(text.replace('"b"', f'"{secrets.token_hex(8)}"'))
    first = json.loads(nxc(standin, folder, "build", "--json").stdout)
    standin.run("nix-store", "--gc")
    assert "nothing changed" in nxc(standin, folder, "build", "-v").stderr, "a build's links keep it"
    for link in (folder / ".nxc/builds").glob("*/roots/*"):
        link.unlink()
    for link in (folder / ".nxc/builds").glob("*/package.drv*"):
        link.unlink()
    standin.run("nix-store", "--gc")
    boot = next(iter(first["artifact"]["roles"].values()))
    assert not Path(boot["kernel"]).exists()
    assert json.loads(nxc(standin, folder, "build", "--json").stdout)["artifact"] == first["artifact"]
    assert Path(boot["kernel"]).exists()


def test_a_dry_run_says_what_is_missing(standin: StandIn, tmp_path: Path, three: Path) -> None:
    folder = tmp_path / "project"
    pinned(standin, folder, three)
    text = (folder / "composition.nix").read_text()
    (folder / "composition.nix").write_text(text.replace('"b"', f'"{secrets.token_hex(8)}"'))
    before = sorted(folder.rglob("*"))
    told = nxc(standin, folder, "build", "--dry-run").stdout
    assert "to be made or fetched" in told
    assert "beta: toplevel" in told
    assert sorted(folder.rglob("*")) == before
    nxc(standin, folder, "build")
    assert "all of it is there" in nxc(standin, folder, "build", "--dry-run").stdout


def test_the_words_of_nixos_compose(standin: StandIn, tmp_path: Path) -> None:
    folder = tmp_path / "several"
    folder.mkdir()
    (folder / "compositions.nix").write_text("{ foo = { roles.a = { }; }; bar = { roles.b = { }; }; }")
    (folder / "nxc.json").write_text(
        json.dumps({"composition": "compositions.nix", "flake": True, "nixpkgs": str(standin.nixpkgs)})
    )
    told = nxc(standin, folder, "build", code=3).stderr
    assert "`bar', `foo'" in told and "-C NAME" in told
    for words in (("-C", "bar::vm-ramdisk"), ("-C", "bar"), ("--composition", "bar", "-f", "vm-ramdisk")):
        built = json.loads(nxc(standin, folder, "build", "--json", *words).stdout)
        assert list(built["artifact"]["roles"]) == ["b"]
    both = json.loads(nxc(standin, folder, "build", "--json", "-C", "::vm-ramdisk").stdout)
    assert sorted(both["artifact"]["roles"]) == ["bar.b", "foo.a"]
    seen = nxc(standin, folder, "build", "-C", "bar", "--impure", "--show-trace", "--json")
    assert list(json.loads(seen.stdout)["artifact"]["roles"]) == ["b"]
    nxc(standin, folder, "build", "-C", "bar", "--pure", "--nix-flags", "--option cores 1")
    told = nxc(standin, folder, "build", "-C", "baz::vm-ramdisk", code=3).stderr
    assert "did you mean `bar'" in told
    told = nxc(standin, folder, "build", "-C", "no/such/folder", code=2).stderr
    assert "no/such/folder" in told


# As anyone


def test_an_ordinary_user_builds(user: pwd.struct_passwd) -> None:
    home = Path(user.pw_dir)
    (home / "three").mkdir()
    (home / "three" / "composition.nix").write_text(THREE)
    (home / "nixos").mkdir()
    made = stand_in(home / "nixos")
    composed(made, home / "project", home / "three")
    (home / "nxc").mkdir()
    for name in ("nix", "nxc_core", "plugins"):
        shutil.copytree(
            ROOT / name, home / "nxc" / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
        )
    flake = home / "project" / "flake.nix"
    flake.write_text(flake.read_text().replace(str(ROOT / "nix"), str(home / "nxc" / "nix")))
    for path in (home, *home.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    library = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    shutil.copytree(library, home / "library", ignore=shutil.ignore_patterns("__pycache__", "*.pth", "nxc*"))
    for found in library.glob("nxc*.dist-info"):
        shutil.copytree(found, home / "library" / found.name)
    (home / "library").chmod((home / "library").stat().st_mode | stat.S_IROTH | stat.S_IXOTH)
    plugins = [str(path) for path in (home / "nxc" / "plugins").iterdir()]
    variables = made.environment(
        PYTHONPATH=os.pathsep.join([str(home / "nxc"), *plugins, str(home / "library")]),
        PATH="/usr/bin:/bin:/usr/sbin:/sbin",
    )
    words = [f"{key}={value}" for key, value in variables.items()]
    argv = ["runuser", "-u", user.pw_name, "--", "env", "-i", *words, "python3", "-m", "nxc_core.main"]
    for _ in range(2):
        done = subprocess.run(
            [*argv, "build", "--json"], cwd=home / "project", capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        check_ramdisk(made, json.loads(done.stdout))
