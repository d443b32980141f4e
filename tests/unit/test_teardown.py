"""Releasing: by rank, after failures, without the plugin."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nxc_core.errors import DeployError, Interrupted, TeardownError
from nxc_core.flavour import Flavour
from nxc_core.hookspecs import FlavourEntry, hookimpl
from nxc_core.model import Composition, Deployment, Group, Plan, Resource
from nxc_core.operation import Operation
from nxc_core.plugins import Plugins
from nxc_core.teardown import release_all, sweep_runtime
from nxc_core.testing.taker import TakerOptions
from tests.operations import operation_in

calls: list[list[str]] = []
refused: dict[str, Exception | None] = {}


class Recorder(Flavour[TakerOptions]):
    """Writes down what it is asked to release, and refuses what the test says."""

    name = "recorder"
    accepts = ()
    options_type = TakerOptions

    def deploy(self, plan: Plan, op: Operation) -> None:
        raise NotImplementedError

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        calls.append([resource.id for resource in resources])
        for resource in resources:
            error = refused.get(resource.id)
            if error is not None:
                raise error
        return [resource for resource in resources if resource.id not in refused]


@pytest.fixture
def op(tmp_path: Path) -> Iterator[Operation]:
    calls.clear()
    refused.clear()
    yield operation_in(tmp_path, "d")


@pytest.fixture
def plugins() -> Plugins:
    @hookimpl
    def nxc_flavours() -> Iterator[FlavourEntry]:
        yield FlavourEntry(name="recorder", summary="s", target=f"{Recorder.__module__}:Recorder")

    found = Plugins.discover(extra=[SimpleNamespace(NXC_API=1, __name__="r", nxc_flavours=nxc_flavours)])
    found.flavour = lambda name, options=None: Recorder(TakerOptions())  # type: ignore[method-assign]
    return found


def deployment(flavour: str = "recorder") -> Deployment:
    return Deployment(
        id="d",
        name="c",
        composition=Composition(name="c", base="b", source=Path("/c"), roles=()),
        groups=(Group(flavour=flavour),),
        networks=(),
        specs=(),
        instances={},
    )


def claim(op: Operation, **ranks: int) -> None:
    for name, rank in ranks.items():
        op.claim("thing", name, rank=rank)


def test_higher_ranks_go_first_and_newest_first_within_one(op: Operation, plugins: Plugins) -> None:
    claim(op, net=0, a=2, port=1, b=2)
    release_all(plugins, deployment(), op)
    assert calls == [["b", "a"], ["port"], ["net"]]
    assert op.claimed() == []
    release_all(plugins, deployment(), op)
    assert len(calls) == 3, "nothing is left to ask for"


def test_what_could_not_be_released_is_named_and_kept(op: Operation, plugins: Plugins) -> None:
    claim(op, net=0, a=2, b=2)
    op.note(op.claimed()[1], pid=77)
    refused["a"] = None
    with pytest.raises(TeardownError) as told:
        release_all(plugins, deployment(), op)
    assert "could not release thing a (pid 77)" in told.value.message
    assert "nxc down d" in told.value.hint
    assert [found.id for found in op.claimed()] == ["a"]
    refused.clear()
    release_all(plugins, deployment(), op)
    assert op.claimed() == []


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (DeployError("engine away"), "engine away"),
        (DeployError("engine away", hint="start it"), "engine away; start it"),
        (OSError(13, "Permission denied"), "Permission denied"),
        (KeyError("pid"), "KeyError: 'pid'"),
        (ExceptionGroup("several", [DeployError("x"), DeployError("y")]), "several"),
    ],
)
def test_a_rank_that_fails_does_not_keep_the_others(
    op: Operation, plugins: Plugins, error: Exception, phrase: str
) -> None:
    claim(op, net=0, a=2)
    refused["a"] = error
    with pytest.raises(TeardownError) as told:
        release_all(plugins, deployment(), op)
    assert phrase in told.value.message
    assert calls == [["a"], ["net"]]
    assert [found.id for found in op.claimed()] == ["a"]


def test_without_the_plugin_the_claims_are_told_in_words(op: Operation) -> None:
    claim(op, a=2)
    op.note(op.claimed()[0], pid=77)
    with pytest.raises(TeardownError) as told:
        release_all(Plugins.discover(), deployment("gone"), op)
    assert "flavour gone cannot be used" in told.value.message
    assert "thing a (pid 77)" in told.value.message
    assert "install its plugin" in told.value.hint
    assert len(op.claimed()) == 1


def test_without_claims_the_plugin_is_not_needed(op: Operation) -> None:
    release_all(cast(Any, None), deployment("gone"), op)


def test_claimed_folders_are_the_cores_own(op: Operation, plugins: Plugins) -> None:
    folder = op.scratch("work")
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("x")
    op.claim("folder", "/tmp/never-existed-at-all")
    release_all(plugins, deployment(), op)
    assert not folder.exists()
    assert op.claimed() == []
    assert calls == []


def test_empty_folders_of_projects_that_were_thrown_away_go_in_time(tmp_path: Path) -> None:
    old, used, fresh, strange = (
        tmp_path / name for name in ("0123456789", "abcdef0123", "00ff00ff00", "keep-me")
    )
    for folder in (old, used, fresh, strange):
        folder.mkdir()
    (used / "node.qmp").touch()
    yesterday = time.time() - 25 * 3600
    for folder in (old, used, strange):
        os.utime(folder, (yesterday, yesterday))
    (tmp_path / "fedcba9876").touch()
    os.utime(tmp_path / "fedcba9876", (yesterday, yesterday))
    sweep_runtime(tmp_path)
    assert not old.exists()
    assert used.exists() and fresh.exists() and strange.exists(), "in use, too new, not ours"
    assert (tmp_path / "fedcba9876").exists(), "no folder"
    sweep_runtime(tmp_path / "none")


def test_an_interrupted_release_says_so_and_keeps_its_claims(op: Operation, plugins: Plugins) -> None:
    op.claim("thing", "first", rank=1)
    op.claim("thing", "last", rank=2)
    refused["last"] = Interrupted("interrupted")
    with pytest.raises(Interrupted, match="perhaps still there: thing first, thing last") as told:
        release_all(plugins, deployment(), op)
    assert "nxc down d" in told.value.hint
    assert calls == [["last"]]
    assert [one.id for one in op.journal.outstanding()] == ["first", "last"]
