"""What nxc keeps on disk: the workspace, which alone spells paths; documents and the journal through it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from attrs import frozen

from nxc_core.documents import (
    load as load,
    make_converter as make_converter,
    replace as replace,
    save as save,
    structure as structure,
    unstructure as unstructure,
)
from nxc_core.errors import StateError
from nxc_core.journal import JOURNAL_VERSION as JOURNAL_VERSION, Journal as Journal
from nxc_core.locks import locked as locked
from nxc_core.model import Deployment, Status


def _is_copy(found: Deployment, file: Path) -> bool:
    """Whether what this file describes belongs to another folder, where it may be in use."""
    if not found.folder or found.status is Status.STOPPED:
        return False
    origin = Path(found.folder) / file.name
    try:
        # The folders are compared: the file is another with every status.
        return (
            not origin.parent.samefile(file.parent) and load(origin, Deployment).status is not Status.STOPPED
        )
    except (StateError, OSError) as error:  # unless it was moved here
        return not isinstance(error, FileNotFoundError | NotADirectoryError)


@frozen
class Workspace:
    """A project's ``.nxc`` folder; the only speller of paths in it."""

    project: Path

    @property
    def root(self) -> Path:
        """The folder itself."""
        return self.project / ".nxc"

    def build_dir(self, name: str) -> Path:
        """Folder of one build."""
        return self.root / "builds" / name

    def build_file(self, name: str) -> Path:
        """The build's document."""
        return self.build_dir(name) / "build.json"

    def builds(self) -> list[str]:
        """Names of the builds there are."""
        return sorted(path.parent.name for path in self.root.glob("builds/*/build.json"))

    def deployment_dir(self, id: str) -> Path:
        """Folder of one deployment."""
        return self.root / "deployments" / id

    def deployment_file(self, id: str) -> Path:
        """The deployment's document."""
        return self.deployment_dir(id) / "deployment.json"

    def deployments(self) -> list[str]:
        """Ids of the deployments there are, oldest first; unreadable ones included."""
        found = []
        for folder in self.root.glob("deployments/*"):
            with contextlib.suppress(OSError):  # another nxc may just have removed it
                born = folder / "build.json"  # written once; the folder changes with every status
                with contextlib.suppress(
                    FileNotFoundError, PermissionError
                ):  # never begun, or someone else's
                    found.append((born.stat().st_mtime, folder.name))
                    continue
                found.append((folder.stat().st_mtime, folder.name))
        return [name for _, name in sorted(found)]

    def journal(self, id: str) -> Journal:
        """The deployment's journal."""
        return Journal(self.deployment_dir(id) / "journal.jsonl")

    def load(self, id: str) -> Deployment:
        """Read a deployment's document; raises StateError for a copy of one that lives elsewhere."""
        found = load(self.deployment_file(id), Deployment, schema="nxc.deployment/1")
        if _is_copy(found, self.deployment_file(id)):
            told = f"{id} is a copy: the deployment itself is in {found.folder}"
            raise StateError(told, hint=f"use it there; the copy can go: {self.deployment_dir(id)}")
        return found

    def prepare(self) -> None:
        """Make the folder and keep it out of git; raises StateError where it cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            ignore = self.root / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise StateError(
                f"{self.root} cannot be written: {error.strerror}",
                hint="run nxc in a folder of yours, with space left",
            ) from error
        if self.root.stat().st_uid != os.getuid():
            raise StateError(f"{self.root} belongs to someone else", hint="run nxc as the user who made it")
