"""What goes wrong with containers, for real: one clear error, the way out, and nothing left."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
from pathlib import Path

import pytest

from nxc_core import state
from nxc_core.model import Build
from tests.docker_bench import BUILD, CONFIG, DEPLOY, NXC, OURS, PREFLIGHT, TEARDOWN, Bench, bench, occupy

__all__ = ["bench"]  # fixtures

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(600)]
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")


# Containers


def test_a_volume_whose_folder_is_missing(bench: Bench, tmp_path: Path) -> None:
    """Here, which is seen before anything is built; or only where the engine is, which it says itself."""
    bench.write(f'nxc.container.volumes = [ "{tmp_path}/data:/data" ];')
    said = bench.refused(CONFIG, f"role one: .*{tmp_path}/data")
    assert "building" not in said
    (tmp_path / "data").mkdir()
    elsewhere = [*bench.engine.namespaces.enter("mount"), "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    subprocess.run(elsewhere, check=True)
    try:
        bench.refused(DEPLOY, "mount")
        bench.down()
    finally:
        subprocess.run([*bench.engine.namespaces.enter("mount"), "umount", str(tmp_path)], check=True)


def test_a_container_that_exits_at_once_shows_its_last_words(bench: Bench) -> None:
    bench.write(
        """systemd.services.die = {
          wantedBy = [ "sysinit.target" ];
          before = [ "nxc-node.service" ];
          unitConfig.DefaultDependencies = false;
          serviceConfig.Type = "oneshot";
          script = "echo these are the last words > /dev/console; systemctl --force poweroff; sleep 60";
        };""",
        "roles.two = { };",
    )
    said = bench.refused(DEPLOY, r"1 of 2 nodes did not come up.*one.*these are the last words")
    assert "two (two)" not in said
    assert "these are the last words" in bench.nxc("logs", "one")[1]
    bench.down()


def test_memory_that_no_system_could_live_in(bench: Bench) -> None:
    bench.write('nxc.container.memory = "6m";')
    bench.refused(DEPLOY, "one")
    bench.down()


def test_programs_that_are_missing_and_nodes_that_are_gone(bench: Bench) -> None:
    id = bench.start()
    assert bench.nxc("exec", "one", "--", "no-such-program", "x")[0] == 127
    with bench.engine.client() as client:
        client.containers.get(f"{id}-one").kill()
    bench.refused(255, "one.*not running", "exec", "one", "--", "true")
    assert re.search(r"one +.*lost", bench.nxc("status")[1])
    with bench.engine.client() as client:
        client.containers.get(f"{id}-one").remove(force=True)
    code, said = bench.nxc("start", "-f", "docker")
    assert (code, f"going on with {id}" in said) == (0, True), said
    assert bench.nxc("exec", "one", "hostname") == (0, "one\n")
    bench.down()


def test_a_network_that_is_gone_or_in_use(bench: Bench) -> None:
    """A guest in our network is told of, and not harmed; with it gone the rest is, too."""
    id = bench.start()
    guest = occupy(bench.engine, "nxc-test-guest", {})
    with bench.engine.client() as client:
        client.networks.get(id).connect(guest)
    bench.refused(TEARDOWN, "nxc-test-guest|in the network|active endpoints", "down", id)
    with bench.engine.client() as client:
        assert client.containers.get(guest).status == "running"
        client.networks.get(id).disconnect(guest)
    bench.down()
    id = bench.start()
    with bench.engine.client() as client:
        client.containers.get(f"{id}-one").remove(force=True)
        client.networks.get(id).remove()
    bench.down()


# Images


@pytest.mark.parametrize("at", [0, 1024], ids=["no tar", "other content"])
def test_an_image_that_is_damaged(at: int, bench: Bench) -> None:
    """The file is named; without it, it is made again."""
    bench.write(f'environment.etc.token.text = "{secrets.token_hex(16)}";')
    assert bench.nxc("build", "-q", "-f", "docker")[0] == 0
    (record,) = bench.project.glob(".nxc/builds/*/build.json")
    build = state.load(record, Build)
    tar = build.artifact.layers[build.artifact.roles["one"].layers[-1]].tar
    with tar.open("r+b") as file:
        file.seek(at)
        file.write(secrets.token_bytes(400))
    said = bench.refused(BUILD, f"damaged: {tar}")
    assert "remove that file" in said[said.index("hint:") :]
    bench.down()
    tar.unlink()
    bench.start()
    bench.down()


# Limits of this machine


def test_more_nodes_than_inotify_allows(bench: Bench) -> None:
    """The limit is really lowered, to some more than what is in use."""
    former = INOTIFY.read_text()
    INOTIFY.write_text(str(count_inotify() + 5))
    try:
        said = bench.refused(PREFLIGHT, "inotify", "start", "-f", "docker", "-r", "one=8")
        wanted = re.search(r"fs\.inotify\.max_user_instances\s*=\s*(\d+)", said)
        assert wanted, said
        assert bench.engine.found(OURS) == []
        assert int(wanted[1]) >= count_inotify() + 16
        INOTIFY.write_text(str(max(int(wanted[1]), int(former))))  # others on this machine go on
        bench.start("-r", "one=8")
    finally:
        INOTIFY.write_text(former)
    bench.down()


def count_inotify() -> int:
    """Count this user's inotify instances."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            found += path.readlink() == Path("anon_inode:inotify")
    return found


# Users, and ends of nxc


def test_an_interrupted_start(bench: Bench) -> None:
    with bench.starting(1, "-r", "one=4") as (child, said):
        child.send_signal(signal.SIGINT)
    assert child.returncode == 130, "".join(said)
    bench.told_once("".join(said), "interrupted")
    bench.down()


def test_an_interrupted_up_takes_all_down(bench: Bench) -> None:
    bench.write(rest="testScript = \"one.succeed('sleep 300')\";")
    with subprocess.Popen(
        [NXC, "up", "--test", "-f", "docker"],
        cwd=bench.project,
        env={**os.environ, "DOCKER_HOST": bench.engine.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if "sleep 300" in line:
                break
        child.send_signal(signal.SIGINT)
        said = child.stdout.read()
        assert child.wait(timeout=60) == 130, said
    bench.nothing_left()


def test_a_killed_start_whose_project_is_lost_is_found_by_its_labels(bench: Bench, tmp_path: Path) -> None:
    with bench.starting(2, "-r", "one=4") as (child, _):
        child.kill()
    assert bench.engine.found(OURS)
    elsewhere = Bench(engine=bench.engine, project=tmp_path / "elsewhere")
    elsewhere.project.mkdir()
    elsewhere.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")  # to clean what is there, and no more
    assert elsewhere.nxc("clean", "--yes")[0] == 0
    assert bench.engine.found(OURS), "a deployment that may go on is left alone"
    subprocess.run(["rm", "-rf", bench.project], check=True)
    code, said = elsewhere.nxc("clean")
    assert (code, "web-docker-" in said) == (0, True), said
    assert bench.engine.found(OURS), "nothing is removed before it is asked for"
    code, said = elsewhere.nxc("clean", "--yes")
    assert code == 0, said
    assert bench.engine.found(OURS) == []
