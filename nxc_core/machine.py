"""The NixOS test vocabulary on a node, over any connection."""

from __future__ import annotations

from pathlib import Path

from nxc_core import process
from nxc_core.errors import CommandError, DeployError
from nxc_core.machine_power import PowerVerbs
from nxc_core.machine_shell import unanswered
from nxc_core.machine_units import UnitVerbs


class NodeHandle(UnitVerbs, PowerVerbs):
    """A node of a running deployment, with the verbs, argument names and meaning of NixOS tests.

    Every verb has a deadline. What does not hold is a TestFailed that names the node, the command, its exit
    code, and what the node said.
    """

    @property
    def role(self) -> str:
        """The node's role."""
        return self.spec.role

    def __repr__(self) -> str:
        return f"<node {self.name} ({self.role})>"

    def copy_from_host(self, source: str | Path, target: str) -> None:
        """Copy a file or folder of this machine to an absolute path on the node; ``dir/`` keeps its name."""
        asked = Path(source).absolute()
        here = self._really(asked)
        with self.nested(f"copy {source} to {target}"):
            if not here.exists():
                raise self.failed(f"cannot copy {here} to the node: it does not exist on this machine")
            goal = target + asked.name if target.endswith("/") else target
            try:
                self.running.connection(self.name).put(here, goal)
            except (CommandError, DeployError) as error:
                raise self.failed(f"cannot copy {here} to {goal}", _why(error)) from error

    def _really(self, path: Path) -> Path:
        """Return where a path that the composition names is on this machine."""
        for named, real in self.running.files.items():
            if path.is_relative_to(named):
                return real / path.relative_to(named)
        return path

    def copy_from_vm(self, source: str, target_dir: str | Path = "") -> None:
        """Copy a file or folder of the node into a folder of this machine, the current one by default."""
        folder = Path.cwd() / target_dir
        with self.nested(f"copy {source} from the node"):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self.running.connection(self.name).get(source, folder / Path(source).name)
            except (CommandError, DeployError) as error:
                raise self.failed(f"cannot copy {source} from the node", _why(error)) from error

    def shell_interact(self) -> None:
        """Hand the terminal to a shell on the node."""
        process.interact(self.running.connection(self.name).shell_argv())


def _why(error: CommandError | DeployError) -> str:
    return unanswered(error) if isinstance(error, CommandError) else error.message
