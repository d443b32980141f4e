"""What is promised of every driver, flavour or base: registration, options, doctor."""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import NOTHING, fields, has

from nxc_core import process
from nxc_core.base import Base
from nxc_core.flavour import Flavour
from nxc_core.hookspecs import BaseEntry, FlavourEntry
from nxc_core.model import Finding
from nxc_core.operation import Operation
from nxc_core.session import Session
from nxc_core.testing import imports
from nxc_core.testing.workbench import child_environment

HEAVY = frozenset(
    {
        "IPython",
        "asyncssh",
        "docker",
        "execo",
        "execo_g5k",
        "fabric",
        "grid5000",
        "jinja2",
        "libvirt",
        "numpy",
    }
    | {"pandas", "paramiko", "plumbum", "podman", "requests", "rich", "typer", "urllib3"}
)
IMPORT_SECONDS = 0.3
"""CPU time that importing a plugin module may take beyond the core's own."""


class DriverContract:
    """Common part of the contracts. ``plugin`` is the module of the entry point."""

    __test__: ClassVar[bool] = False
    plugin: ClassVar[str]
    heavy: ClassVar[frozenset[str]] = HEAVY
    """Top-level modules that must not be imported before the driver is used; add your own libraries."""

    def __init_subclass__(cls) -> None:
        """Let pytest collect subclasses, which inherit ``__test__`` otherwise."""
        super().__init_subclass__()
        if "__test__" not in cls.__dict__:
            cls.__test__ = True

    def entry(self, session: Session) -> FlavourEntry | BaseEntry:
        """Return the driver's entry."""
        raise NotImplementedError

    def driver(self, session: Session) -> Flavour[Any] | Base[Any]:
        """Return the driver with its options."""
        raise NotImplementedError

    def test_importing_is_cheap_and_silent(self, session: Session, tmp_path: Path) -> None:
        """The plugin's module imports nothing heavy; neither it nor the driver starts or says anything."""
        target = self.entry(session).target.partition(":")[0]
        report = tmp_path / "imports.json"
        argv = (sys.executable, "-P", imports.__file__, str(report), self.plugin, target)
        ended = process.run(argv, env=child_environment(), timeout=60)
        told = json.loads(report.read_text())
        faults = []
        if written := (ended.text + ended.error_text).strip():
            faults.append(f"importing wrote to the terminal: {written[:200]!r}")
        if heavy := sorted({name.partition(".")[0] for name in told[self.plugin]["modules"]} & self.heavy):
            faults.append(
                f"importing {self.plugin} imports {', '.join(heavy)}: leave that to the driver's module"
            )
        if told[self.plugin]["seconds"] > IMPORT_SECONDS:
            faults.append(f"importing {self.plugin} takes {told[self.plugin]['seconds']:.2f} CPU seconds")
        for module, found in told.items():
            for what, (before, after) in found["changed"].items():
                faults.append(f"importing {module} changed {what}: {_difference(before, after)}")
        if faults:
            pytest.fail("\n".join(faults))

    def test_options_have_default_and_help(self, session: Session) -> None:
        """A user can leave each option out, and can read what it is for."""
        target = self.entry(session).target
        options_type = _resolve(target).options_type
        assert has(options_type), f"{target}: options_type is not an attrs class"
        hints = typing.get_type_hints(options_type)
        faults = [f"option {f.name} has no default" for f in fields(options_type) if f.default is NOTHING]
        faults += [
            f'option {f.name} has no help: field(metadata={{"help": ...}})'
            for f in fields(options_type)
            if not f.metadata.get("help")
        ]
        faults += [f"option {f.name} has no type" for f in fields(options_type) if f.name not in hints]
        if faults:
            pytest.fail("\n".join(faults))

    @pytest.mark.parametrize("programs", ["there", "missing"])
    def test_check_never_raises_and_changes_nothing(
        self, programs: str, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`nxc doctor` may ask at any time, also where every program is missing."""
        driver = self.driver(session)
        session.workspace.prepare()
        op = session.operation(session.workspace.root, "doctor")
        if programs == "missing":
            monkeypatch.setenv("PATH", str(tmp_path))
        before = _listing(session.workspace.project)
        findings = _check(driver, op)
        for finding in findings:
            assert isinstance(finding, Finding), f"check() answered {finding!r}, not a Finding"
            assert finding.ok or finding.hint, f"the finding {finding.subject!r} is not ok and has no hint"
        assert not op.claimed(), f"check() claimed {op.claimed()}"
        changed = _listing(session.workspace.project) ^ before
        assert not changed, f"check() changed the project: {', '.join(sorted(changed))}"


def _check(driver: Flavour[Any] | Base[Any], op: Operation) -> Sequence[Finding]:
    try:
        return driver.check(op)
    except Exception as error:  # noqa: BLE001 - that it raises at all is the fault
        pytest.fail(f"check() raised {type(error).__name__}: {error}")


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        return ", ".join(f"{key}={value!r}" for key, value in after.items() if before.get(key) != value)
    if isinstance(before, list) and isinstance(after, list):
        return ", ".join(str(one) for one in after if one not in before) or f"{before} became {after}"
    return f"{before} became {after}"


def _resolve(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(__import__(module, fromlist=[name]), name)
