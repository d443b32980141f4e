"""What root of a node that systemd-nspawn runs cannot do to this machine, though it may mount."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nxc_core.running import Running
from nxc_core.session import Session

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def running(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    source = tmp_path_factory.mktemp("apart") / "composition.nix"
    source.write_text("{ ... }: { roles.one = { }; }")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        with Session.open(source.parent).up(source, flavour="nspawn") as running:
            yield running


def test_a_nodes_document_stays_as_it_was_written(running: Running) -> None:
    one = running["one"]
    document = running.plan().documents["one"]
    before = document.read_bytes()
    assert one.succeed("cat /nxc/node.json").encode().strip() == before.strip()
    assert one.succeed("stat -c '%a %u' /nxc/node.json").strip() == "600 0"
    one.succeed("mount -o remount,bind,rw /nxc/node.json", "echo >/nxc/node.json")
    assert document.read_bytes() == before
    one.crash()
    one.start()
    assert one.succeed("cat /nxc/node.json").encode().strip() == before.strip()


def test_a_command_that_is_stopped_and_killed_is_buried(running: Running) -> None:
    """A system that goes down stops all processes, then ends them, and waits 90 s for each to be gone."""
    one = running["one"]
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(running.connection("one").run, ("sleep", "777.25"), check=False, timeout=120)
        one.wait_until_succeeds("pidof sleep")
        one.succeed("kill -STOP $(pidof sleep)", "sleep 1", "kill -KILL $(pidof sleep)")
        one.wait_until_fails("kill -0 $(pidof sleep)", timeout=30)
        assert ended.result(timeout=60).code == 128 + signal.SIGKILL
        assert ended.result().stderr == b""
