"""Compositions evaluated as the Debian builder does, with a store of their own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

ROOT = Path(__file__).resolve().parents[1]
NIX = ROOT / "nix"
CASES = ROOT / "tests/nix/debian"
REAL_LIB = os.environ.get("NXC_TEST_NIXPKGS_LIB")

Document = dict[str, Any]


@frozen
class Evaluator:
    """Evaluates compositions with a store of its own, as the builder does."""

    home: Path

    def attempt(self, composition: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run nix-instantiate on a composition; it may fail."""
        configuration = self.home / "conf"
        configuration.mkdir(exist_ok=True)
        variables = {key: value for key, value in os.environ.items() if not key.startswith("NIX_")}
        argv = ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode"]
        argv += ["--store", str(self.home / "store"), "--option", "restrict-eval", "true"]
        argv += ["-I", f"nxc={NIX}", "-I", f"project={composition.parent}", "-I", f"names={self.home}"]
        argv += [str(NIX / "debian/eval.nix"), "--argstr", "composition", str(composition)]
        return subprocess.run(
            (*argv, "--argstr", "system", "x86_64-linux", *options),
            env=variables | {"NIX_CONF_DIR": str(configuration), "NIX_CONFIG": "build-users-group ="},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def write(self, text: str) -> Path:
        """Put a composition into a project folder of its own, with a space in its name."""
        number = len(list(self.home.glob("project*")))
        folder = self.home / f"project {number}"
        folder.mkdir()
        (folder / "composition.nix").write_text(text)
        return folder / "composition.nix"

    def document(self, composition: Path | str, *options: str) -> Document:
        """Return the document of a sound composition."""
        path = self.write(composition) if isinstance(composition, str) else composition
        done = self.attempt(path, *options)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        document: Document = json.loads(done.stdout)
        return document

    def derivation(self, path: str) -> str:
        """Return a written derivation, or file, as it lies in the store."""
        return (self.home / "store" / path.lstrip("/")).read_text()


@pytest.fixture(scope="module")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return Evaluator(tmp_path_factory.mktemp("nix"))


def has_lines(text: str, *lines: str) -> bool:
    """Tell whether all these lines, whatever their indentation, are in the text."""
    return {line.strip() for line in lines} <= {line.strip() for line in text.splitlines()}
