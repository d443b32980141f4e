"""What platforms hold for nobody: shown and removed by ``nxc clean``, named by ``nxc doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nxc_core import doctor, paths
from nxc_core.clean import remove, survey
from nxc_core.errors import Interrupted, StateError
from nxc_core.model import Leftover
from nxc_core.operation import Operation
from nxc_core.plugins import Plugins
from nxc_core.session import Session
from tests import fake_plugin
from tests.command_line import Nxc, nxc, project

__all__ = ["nxc", "project"]  # fixtures


@pytest.fixture
def session(project: Path) -> Session:
    return Session.open(project, plugins=Plugins.discover(extra=[fake_plugin]))


@pytest.fixture
def parcels() -> Path:
    """Two parcels that nobody fetches."""
    folder = paths.cache_dir() / "parcels"
    folder.mkdir(parents=True)
    for name, size in (("lost", 5000), ("old", 3000)):
        (folder / name).write_bytes(b"x" * size)
    return folder


def test_leftovers_are_shown_and_removed(nxc: Nxc, parcels: Path) -> None:
    told = nxc("clean")
    assert "parcel parcel lost" in told.out
    assert "`nxc clean --yes` frees 7.8 KiB" in told.out
    assert len(list(parcels.iterdir())) == 2, "looking removes nothing"
    items = nxc("clean", "--json").json()["items"]  # type: ignore[index]
    assert [one["removable"] for one in items if one["what"].startswith("parcel ")] == [5000, 3000]
    assert "freed 7.8 KiB" in nxc("clean", "--yes").out
    assert list(parcels.iterdir()) == []
    assert "parcel parcel" not in nxc("clean").out


def test_what_has_no_size_is_removed_too(nxc: Nxc, parcels: Path) -> None:
    for path in parcels.iterdir():
        path.write_bytes(b"")
    assert "`nxc clean --yes` frees 0 B" in nxc("clean").out
    assert nxc("clean", "--yes").code == 0
    assert list(parcels.iterdir()) == []


def test_what_stays_is_told_with_the_rest_removed(nxc: Nxc, parcels: Path) -> None:
    (parcels / "old").rename(parcels / "stuck")
    told = nxc("clean", "--yes")
    assert told.code == StateError.exit_code
    assert "could not remove parcel parcel stuck" in told.err
    assert [path.name for path in parcels.iterdir()] == ["stuck"]


@pytest.mark.parametrize("trouble", ["bug", "full", "nonsense"])
def test_a_platform_that_cannot_be_asked_is_passed_by(
    nxc: Nxc, project: Path, parcels: Path, trouble: str
) -> None:
    setting = f'trouble = "{trouble}"' if trouble != "nonsense" else "nonsense = 1"
    (project / "nxc.toml").write_text(f'base = "paper"\nflavour = "folder"\n[options.parcel]\n{setting}\n')
    told = nxc("clean", "--yes")
    assert (told.code, "parcel parcel" in told.out) == (0, False)
    assert "not looked for" not in told.err
    loud = nxc("clean", "-v").err
    assert "what parcel may have left is not looked for: " in loud
    assert {"bug": "RuntimeError", "full": "engine is down", "nonsense": "nonsense"}[trouble] in loud
    assert len(list(parcels.iterdir())) == 2
    told = nxc("doctor")
    assert told.code == (3 if trouble == "nonsense" else 0)
    assert (f"{project}/nxc.toml:4: parcel has no option nonsense" in told.err) == (trouble == "nonsense")


def test_a_broken_configuration_does_not_keep_from_cleaning(nxc: Nxc, project: Path, parcels: Path) -> None:
    (project / "nxc.toml").write_text("flavour = [")
    assert nxc("clean", "--yes").code == 0
    assert list(parcels.iterdir()) == []


def test_a_sweep_that_fails_is_told(session: Session, parcels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(self: object, found: list[Leftover], op: Operation) -> list[Leftover]:
        raise RuntimeError("the broom is broken")

    monkeypatch.setattr(fake_plugin.ParcelFlavour, "sweep", fall)
    with pytest.raises(StateError, match=r"parcel parcel lost \(RuntimeError: the broom is broken\)"):
        remove(session, survey(session))


def test_an_interruption_is_none_of_these(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: object, op: Operation) -> list[Leftover]:
        raise Interrupted("interrupted")

    monkeypatch.setattr(fake_plugin.ParcelFlavour, "leftovers", stop)
    with pytest.raises(Interrupted):
        survey(session)


def test_doctor_names_them_and_the_way_out(nxc: Nxc, session: Session, parcels: Path) -> None:
    for name in ("a", "b", "c"):
        (parcels / name).touch()
    found = doctor.examine(session, flavour="folder", base="paper")
    (one,) = [finding for _, finding in found.findings if finding.subject == "leftovers on parcel"]
    assert (one.ok, one.advice) == (False, True)
    assert one.detail == "parcel a, parcel b, parcel c and 2 more"
    assert one.hint == "`nxc clean --yes` removes them"
    assert found.in_the_way() == []
    assert nxc("doctor").code == 0


def test_doctor_asks_drivers_with_the_options_of_the_project(nxc: Nxc, project: Path) -> None:
    settings = 'base = "paper"\nflavour = "folder"\n[options.folder]\nmissing = true\n'
    (project / "nxc.toml").write_text(settings)
    told = nxc("doctor", "--json")
    assert told.code == 5
    wrong = [
        one["subject"] for one in json.loads(told.out)["findings"] if not one["ok"] and not one["advice"]
    ]
    assert "folders" in wrong
