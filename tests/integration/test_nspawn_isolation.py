"""What root of a node that systemd-nspawn runs cannot do to this machine, though it may mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from nxc_core.session import Session

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(600)]


def test_a_nodes_document_stays_as_it_was_written(shared_cache: Path, tmp_path: Path) -> None:
    source = tmp_path / "composition.nix"
    source.write_text("{ ... }: { roles.one = { }; }")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        with Session.open(tmp_path).up(source, flavour="nspawn") as running:
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
