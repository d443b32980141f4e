"""What `nxc build` does of a NixOS composition before Nix builds: the child process of evaluation.py.

    evaluating.py COMPOSITION NIXPKGS FLAVOUR [PROCESSES]

Prints as JSON the derivations of the build document and of each role, and which roles were evaluated.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from attrs import evolve

from nxc_core.model import Event, Guest, Kind
from nxc_core.session import Session
from nxc_nixos import study
from nxc_nixos.answers import Answers
from nxc_nixos.cache import Cache
from nxc_nixos.expression import known_flavours
from nxc_nixos.options import NixosOptions


def guest_of(flavour: str) -> tuple[Kind, Guest]:
    """Return what a flavour that the library knows wants, be its plugin installed or not."""
    stated = known_flavours()[flavour]
    fields: dict[str, Any] = {}
    for key, value in stated["guest"].items():
        name = re.sub("[A-Z]", lambda big: f"_{big[0].lower()}", key)
        fields[name] = tuple(value) if isinstance(value, list) else value
    return Kind(stated["kind"]), evolve(Guest(), **fields)


def evaluate(source: Path, nixpkgs: Path, flavour: str, processes: int | None) -> dict[str, Any]:
    """Evaluate as the driver does; the derivations are written."""
    evaluated: list[str] = []

    def hear(event: Event) -> None:
        told = event.data.get("roles")
        evaluated.extend(map(str, told) if isinstance(told, list) else ())

    options = NixosOptions(nixpkgs=str(nixpkgs), jobs=processes)
    work = source.parent / ".nxc" / "benchmark"  # what is written elsewhere would be an edit
    work.mkdir(parents=True, exist_ok=True)
    op = Session.open(source.parent, sinks=[hear]).operation(work, "benchmark")
    cache = Cache(folder=op.cache / "nixos")
    answers = Answers(study=study.begin(source, options, cache, op), options=options, cache=cache, op=op)
    said = answers.read()
    found = answers.evaluate(*guest_of(flavour))
    return {
        "package": found.package,
        "toplevels": {
            role: found.parts[template].derivations["toplevel"] for role, template in said.templates.items()
        },
        "evaluated": evaluated,
    }


def main() -> None:
    source, nixpkgs, flavour, *rest = sys.argv[1:]
    found = evaluate(Path(source), Path(nixpkgs), flavour, int(rest[0]) if rest else None)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
