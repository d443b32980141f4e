"""What an edit costs, counted in layers; offline, interrupted, and again."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nxc_core.errors import BuildError, NxcError
from nxc_core.model import RAMDISK, Build, BuildRequest, Event
from nxc_core.session import Session

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

COMPOSITION = """
{ pkgs, ... }:
{
  roles = {
    first.environment.systemPackages = [ pkgs.hello ];
    second.environment.etc."second".text = "TEXT";
  };
  rolesDistribution.first = COUNT;
  testScript = ''SCRIPT'';
}
"""


def write(project: Path, *, text: str = "one", count: int = 1, script: str = "pass") -> Path:
    source = project / "composition.nix"
    source.write_text(
        COMPOSITION.replace("TEXT", text).replace("COUNT", str(count)).replace("SCRIPT", script)
    )
    return source


def build(project: Path, *, offline: bool = False, flavour: str = "vm-ramdisk") -> tuple[Build, list[str]]:
    """Build, and list the layers that were made."""
    events: list[Event] = []
    session = Session.open(project, sinks=[events.append], offline=offline)
    done = session.build(project / "composition.nix", flavour=flavour)
    return done, [
        str(e.data["layer"])
        for e in events
        if e.topic == "build" and e.data.get("done") and "layer" in e.data
    ]


def plan(project: Path) -> list[str]:
    """Say what a build would make, without making it."""
    session = Session.open(project)
    base, driver = session.plugins.base("debian"), session.plugins.flavour("vm-ramdisk")
    op = session.operation(session.workspace.root, "dry-run", dry=True)
    composition = base.read(project / "composition.nix", op)
    return list(base.plan(BuildRequest(composition=composition, kind=RAMDISK, guest=driver.guest), op))


def test_a_dry_run_names_what_is_missing_and_writes_nothing(cached: Path, tmp_path: Path) -> None:
    write(tmp_path, text=secrets.token_hex(8))
    before = sorted(tmp_path.rglob("*"))
    assert "role second" in plan(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    build(tmp_path)
    assert plan(tmp_path) == []
    write(tmp_path, text=secrets.token_hex(8))
    assert plan(tmp_path) == ["role second"]
    lock = (tmp_path / "nxc.lock").read_text()
    write(tmp_path, count=7, text=secrets.token_hex(8))
    assert plan(tmp_path) == ["role second"]
    assert (tmp_path / "nxc.lock").read_text() == lock


def test_an_edit_builds_only_what_it_touches(cached: Path, tmp_path: Path) -> None:
    write(tmp_path)
    first, _ = build(tmp_path)
    again, made = build(tmp_path)
    assert (again.id, made) == (first.id, [])
    write(tmp_path, script="first.succeed('true')")
    scripted, made = build(tmp_path)
    assert (scripted.id, made) == (first.id, [])
    assert scripted.composition.test_script == "first.succeed('true')"
    write(tmp_path, count=3)
    spread, made = build(tmp_path)
    assert (spread.id, made) == (first.id, [])
    write(tmp_path, text="another")
    edited, made = build(tmp_path)
    assert edited.id != first.id
    assert len(made) == 1 and "second" in made[0], made
    write(tmp_path)
    back, made = build(tmp_path)
    assert (back.id, made) == (first.id, [])


def test_for_vm_an_edit_writes_one_layer_and_no_image(cached: Path, tmp_path: Path) -> None:
    """The other role boots the very same files, and the edited one the same kernel and initrd."""
    write(tmp_path)
    first, _ = build(tmp_path, flavour="vm")
    images = set((cached / "nxc" / "debian" / "images").iterdir())
    write(tmp_path, text=secrets.token_hex(8))  # a cache that is kept between runs must not know it
    edited, made = build(tmp_path, flavour="vm")
    assert len(made) == 1 and "second" in made[0], made
    assert set((cached / "nxc" / "debian" / "images").iterdir()) == images
    before, after = first.artifact.roles, edited.artifact.roles
    assert after["first"] == before["first"]
    assert after["second"].layers[:-1] == before["second"].layers[:-1]
    assert (after["second"].kernel, after["second"].initrd) == (
        before["second"].kernel,
        before["second"].initrd,
    )
    assert after["second"].cmdline != before["second"].cmdline, "it names another disk"


@pytest.mark.root
def test_offline_needs_only_the_caches(cached: Path, tmp_path: Path) -> None:
    """In a network namespace without even loopback, so that a socket off the machine cannot work."""
    write(tmp_path)
    first, _ = build(tmp_path)
    shutil.rmtree(cached / "nxc" / "debian" / "layers")
    code = (
        "import sys; from pathlib import Path; from nxc_core.session import Session;"
        "print(Session.open(Path(sys.argv[1]), offline=True)"
        ".build(sys.argv[1] + '/composition.nix', flavour='vm-ramdisk').id)"
    )
    argv = ["unshare", "--net", sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == first.id


def test_offline_with_nothing_fetched_says_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(NxcError) as told:
        build(tmp_path, offline=True)
    assert "offline" in (told.value.message + told.value.hint)


@pytest.mark.full
def test_a_build_killed_at_any_moment_is_gone_on_with(cached: Path, tmp_path: Path) -> None:
    write(tmp_path, text="reference")
    reference, _ = build(tmp_path)
    code = (
        "import sys; from pathlib import Path; from nxc_core.session import Session;"
        "Session.open(Path(sys.argv[1])).build(sys.argv[1] + '/composition.nix', flavour='vm-ramdisk')"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "own-cache")}
    shutil.copytree(cached / "nxc/debian/debs", tmp_path / "own-cache/nxc/debian/debs")
    for delay in (1, 3, 6, 12, 20, 30):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(delay)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "own-cache"))
        resumed, _ = build(tmp_path)
    assert [layer.digest for layer in resumed.artifact.layers.values()] == [
        layer.digest for layer in reference.artifact.layers.values()
    ]


@pytest.mark.root
def test_a_full_disk_ends_in_one_error(cached: Path, tmp_path: Path) -> None:
    """The cache is a tmpfs that is too small."""
    small = tmp_path / "small"
    small.mkdir()
    project = tmp_path / "project"
    project.mkdir()
    write(project, text="unseen")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], check=True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(small))
            with pytest.raises(NxcError) as told:
                build(project)
        assert "MiB" in told.value.message or isinstance(told.value, BuildError)
        assert told.value.hint
    finally:
        subprocess.run(["umount", str(small)], check=True)
