"""docs/flavours.md says what nxc decides: a no is refused, with that reason, before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import flavours_table


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> list[flavours_table.Verdict]:
    """Ask with an empty cache and no network, so that nothing could be built."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        decided = flavours_table.decide_all(tmp_path_factory.mktemp("examples"))
    built = [path for path in cache.rglob("*") if path.suffix in (".tar", ".squashfs", ".deb")]
    assert built == []
    return decided


def test_the_page_is_as_it_should_be(verdicts: list[flavours_table.Verdict]) -> None:
    """``./task flavours`` writes it."""
    assert flavours_table.FILE.read_text() == flavours_table.text(verdicts)


def test_the_page_is_read_as_it_was_meant(verdicts: list[flavours_table.Verdict]) -> None:
    page = flavours_table.FILE.read_text()
    assert flavours_table.read_cells(page) == {(v.flavour, v.example): not v.refusal for v in verdicts}


def test_every_example_has_its_row_and_a_refusal_names_its_role(
    verdicts: list[flavours_table.Verdict],
) -> None:
    folders = Path(flavours_table.ROOT / "examples").iterdir()
    assert {verdict.example for verdict in verdicts} == {path.name for path in folders if path.is_dir()}
    assert [v for v in verdicts if v.refusal and not v.refusal.startswith("role ")] == []
