"""The flavour nspawn where a systemd rules over control groups of version 2: Debian 12 and 13 in machines."""

from __future__ import annotations

import json
import shutil
import site
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nxc_core import state
from nxc_core.machine import NodeHandle
from nxc_core.session import Session

pytestmark = [pytest.mark.live, pytest.mark.full, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
LIBRARIES = ("attr", "attrs", "cattr", "cattrs", "pluggy", "typing_extensions.py")
HOST = """
{ pkgs, ... }:
{
  roles.host = {
    environment.systemPackages = [ pkgs.python3 pkgs."systemd-container" pkgs.iproute2 ];
    # A node's own layer cannot be on the stack of layers that is this machine's root.
    fileSystems."/opt" = { device = "tmpfs"; fsType = "tmpfs"; options = [ "size=1g" "mode=755" ]; };
  };
}
"""
NODES = """
{ pkgs, ... }:
{
  roles.server = {
    services.nginx.enable = true;
    nxc.container = { memory = "128m"; cpus = 0.9; pids = 300; };
  };
  roles.client.environment.systemPackages = [ pkgs.curl ];
}
"""


@pytest.fixture(params=["bookworm", "trixie"])
def host(request: pytest.FixtureRequest, cached: Path, tmp_path: Path) -> Iterator[NodeHandle]:
    """A machine with systemd-nspawn."""
    project = tmp_path / "host"
    project.mkdir()
    (project / "composition.nix").write_text(HOST)
    options = {"debian": {"suite": request.param}, "vm": {"memory": "2g"}}
    with Session.open(project).up(project, flavour="vm", base="debian", options=options) as running:
        yield running["host"]


def carry(host: NodeHandle, folder: Path) -> None:
    """Take nxc, its libraries and what was built along; layers stay at their paths."""
    nodes, site_folder = folder / "nodes", folder / "nxc"
    nodes.mkdir()
    (nodes / "composition.nix").write_text(NODES)
    build = Session.open(nodes).build(nodes, flavour="nspawn", base="debian")
    packages = [path for path in (ROOT / "plugins").glob("*/nxc_*") if path.is_dir()]
    for path in (ROOT / "nxc_core", *packages):
        if "egg-info" not in path.name:
            shutil.copytree(path, site_folder / path.name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for installed in site.getsitepackages():
        for path in Path(installed).glob("*"):
            if path.name in LIBRARIES or path.name.startswith("nxc_") and path.name.endswith(".dist-info"):
                (shutil.copytree if path.is_dir() else shutil.copy)(path, site_folder / path.name)
    shutil.copy(ROOT / "tests/nspawn_there.py", site_folder)
    (folder / "project").mkdir()
    state.save(folder / "project/build.json", build)
    (folder / "project/composition.nix").write_text(NODES)
    host.copy_from_host(site_folder, "/opt/nxc")
    host.copy_from_host(folder / "project", "/opt/project")
    for layer in build.artifact.layers.values():
        assert layer.squashfs is not None
        host.copy_from_host(layer.squashfs, str(layer.squashfs))


def test_nodes_are_in_control_groups_that_systemd_delegated(host: NodeHandle, tmp_path: Path) -> None:
    assert host.succeed("stat -fc %T /sys/fs/cgroup").strip() == "cgroup2fs"
    carry(host, tmp_path)
    command = "PYTHONPATH=/opt/nxc TMPDIR=/opt python3 /opt/nxc/nspawn_there.py /opt/project"
    told: dict[str, Any] = json.loads(host.succeed(f"{command} 2>/dev/console", timeout=1500))
    assert told["version"] == 2
    assert told["system"] == "active" and told["scope after"] != "active"
    (folder,) = told["folders"].values()
    assert folder.startswith("/sys/fs/cgroup/machine.slice/nxc-") and folder.endswith(".scope")
    assert told["inside"] == ["0::/init.scope"]
    assert {"cpu", "memory", "pids"} <= set(told["controllers"]), "what systemd inside limits services with"
    assert told["limits"] == [str(128 << 20), "300", "90000 100000"]
    assert told["kept"] == "kept"
    assert told["left"] == [] and told["loops"] == []
    host.wait_until_succeeds("systemctl is-system-running | grep -x running", timeout=300)
