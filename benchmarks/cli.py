"""What the command line itself costs, against an empty typer application."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pairs import Cost, compare, measure

EXAMPLES = Path(__file__).parents[1] / "examples"
EMPTY = "import typer\napp = typer.Typer()\n@app.command()\ndef main() -> None: ...\napp()\n"


def main() -> None:
    nxc = Path(sys.executable).with_name("nxc")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty.py").write_text(EMPTY)
        project = folder / "webserver"
        shutil.copytree(EXAMPLES / "webserver", project)
        measure([nxc, "build", "-f", "vm-ramdisk"], cwd=project)

        def empty() -> Cost:
            return measure([sys.executable, folder / "empty.py"])

        compare(
            "nxc build, nothing changed / empty typer application",
            lambda: measure([nxc, "build", "-f", "vm-ramdisk"], cwd=project),
            empty,
            n=15,
            limit="difference at most 0.25 s wall",
        )
        compare(
            "nxc flavour list / empty typer application",
            lambda: measure([nxc, "flavour", "list"], cwd=project),
            empty,
            n=15,
            limit="ratio at most 1.3 wall",
        )
    code = (
        "import sys; sys.argv = ['nxc', '--version']\n"
        "try:\n import nxc_core.main as m; m.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'typer', 'pluggy'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    sys.stdout.write(f"nxc --version imports of typer and pluggy: {told.splitlines()[-1]}\n")


if __name__ == "__main__":
    main()
