"""A project to be started on a farm, and the commands that people give there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.farm import Farm, Machine
from tests.processes import command_lines

REPOSITORY = Path(__file__).parents[1]
PATIENCE = 400
PROGRAM = """
import sys
sys.path.insert(0, {repository!r})
from importlib import metadata
from tests import farm_plugin
extra = [farm_plugin]
if "nxc_kexec.plugin" not in [one.value for one in metadata.entry_points(group="nxc")]:
    from nxc_kexec import plugin
    extra.append(plugin)
from nxc_core.main import main
main(extra=extra)
"""


@frozen(kw_only=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both streams, in one line, as a reader takes them in."""
        return " ".join(f"{self.out}\n{self.err}".split())


@frozen(kw_only=True)
class Bench:
    """A project with a composition of ``node`` machines, to be started on a farm's machines."""

    farm: Farm
    project: Path
    options: tuple[str, ...] = ()

    def write(self, **roles: int) -> None:
        """Write a composition with these roles, and how it is built and started."""
        settings = {"base": "noise", "flavour": "kexec", "composition": "composition.json"}
        lines = (f'{key} = "{value}"\n' for key, value in settings.items())
        (self.project / "nxc.toml").write_text("".join(lines))
        (self.project / "composition.json").write_text(json.dumps({"roles": roles}))

    def spawn(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command line of nxc."""
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(repository=str(REPOSITORY)), *argv],
            cwd=self.project,
            env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *argv: str) -> Said:
        """Run a command line of nxc to its end."""
        with self.spawn(*argv) as child:
            try:
                out, err = child.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                raise AssertionError(f"{argv} does not end: {child.communicate()}") from None
        assert "Traceback" not in out + err, err
        return Said(code=child.returncode, out=out, err=err)

    def words(self, *more: str, machines: str = "") -> tuple[str, ...]:
        """Return the words of a start on all machines of the farm, or on those given."""
        given = machines or str(self.farm.write_file(self.project / "machines"))
        options = (f"kexec.machines={given}", f"kexec.known_hosts={self.farm.known_hosts}", *self.options)
        return ("start", *(word for option in options for word in ("-o", option)), *more)

    def start(self, *more: str, machines: str = "") -> Said:
        """Start the composition."""
        return self.run(*self.words(*more, machines=machines))

    def status(self) -> dict[str, Any]:
        """Return what `nxc status --json` says of the only deployment."""
        found = json.loads(self.run("status", "--json", "--all").out)["deployments"]
        assert len(found) == 1, found
        return dict(found[0])

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """Return the nodes of the only deployment, by name."""
        return {node["name"]: node for node in self.status()["nodes"]}

    def down(self) -> Said:
        """Take everything down."""
        return self.run("down", "--all")

    def assert_nothing_left(self) -> None:
        """After `nxc down`: no machine that is in its former system has a trace; no process of ours lives."""
        for machine in self.farm.machines.values():
            if machine.system == "former":
                assert traces(machine) == [], machine.name
        assert own_processes(self.farm) == []
        assert list(self.project.glob(".nxc/deployments/*/key")) == []


def traces(machine: Machine) -> list[str]:
    """List what is on a machine's former system that was not there before."""
    places = ["/dev/shm", "/root", "/var/tmp", "/home/alice"]
    places += ["/tmp"] if machine.behaviour.shared is None else []  # where the shared folder is seen
    found = [str(path) for place in places for path in machine.look(place).iterdir()]
    return found + (["a loaded kernel"] if machine.loaded is not None else [])


def speaking(farm: Farm) -> list[str]:
    """List the ssh processes of this machine that speak with a machine of the farm."""
    wanted = re.compile(rf"\bssh\b.*{re.escape(farm.net)}\.")
    return [words for words in command_lines().values() if wanted.search(words)]


def own_processes(farm: Farm) -> list[str]:
    """As ``speaking``, but gives a connection that was told to end the moment that it takes."""
    end = time.monotonic() + 10
    while (found := speaking(farm)) and time.monotonic() < end:
        time.sleep(0.1)
    return found
