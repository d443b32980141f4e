"""Every example, really built, booted, tested by its own script, and taken down."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nxc_core.model import Event
from nxc_core.script import run_script
from nxc_core.session import Session
from nxc_core.spawned import find_all_spawned

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

TOP = Path(__file__).parents[2]
EXAMPLES = ("basic", "execo", "webserver", "scripts", "nfs", "postgres", "shared-directories-users")
SOON = ("basic", "shared-directories-users")
"""Emulated in every run: the first of all, and what no container can do, NFS. In containers every other
example is tried in every run, too, and is quick there (test_flavours_table.py)."""
EVERY_OPTION = "tests/nix/debian/live"
COMPOSITIONS = [
    *(pytest.param("vm-ramdisk", f"examples/{name}", id=name) for name in SOON),
    *(
        pytest.param("vm-ramdisk", f"examples/{name}", id=name, marks=pytest.mark.full)
        for name in EXAMPLES
        if name not in SOON
    ),
    pytest.param("vm-ramdisk", EVERY_OPTION, id="nearly-every-option", marks=pytest.mark.full),
    pytest.param("vm-ramdisk", "tests/nix/debian/shared", id="shared", marks=pytest.mark.full),
    pytest.param("vm-ramdisk", "tests/nix/debian/services", id="services", marks=pytest.mark.full),
    pytest.param("vm", "examples/webserver", id="vm-webserver"),
    *(
        pytest.param("vm", f"examples/{name}", id=f"vm-{name}", marks=pytest.mark.full)
        for name in EXAMPLES
        if name != "webserver"
    ),
    pytest.param("vm", EVERY_OPTION, id="vm-nearly-every-option", marks=pytest.mark.full),
]


@pytest.mark.parametrize(("flavour", "name"), COMPOSITIONS)
def test_the_composition_holds_and_leaves_nothing(
    flavour: str, name: str, cached: Path, tmp_path: Path
) -> None:
    project = tmp_path / Path(name).name
    shutil.copytree(TOP / name, project)
    events: list[Event] = []
    session = Session.open(project, sinks=[events.append])
    with session.up(project / "composition.nix", flavour=flavour) as running:
        script = running.deployment.composition.test_script
        assert script
        run_script(running, script)
        for node in running.values():
            failed = node.succeed("systemctl list-units --state=failed --plain --no-legend")
            assert failed.strip() == "", f"{node.name}: {failed}"
        id = running.id
    assert find_all_spawned(f"{id}/") == {}
    assert session.workspace.journal(id).outstanding() == []
    assert not (session.workspace.deployment_dir(id) / "key").exists()
    assert {event.topic for event in events} >= {"built", "deployed", "stopped"}
