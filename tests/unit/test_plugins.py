"""Discovery that survives broken plugins, names that are taken, options that are wrong."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import field, frozen

from nxc_core.errors import ConfigError, PluginError
from nxc_core.flavour import Flavour
from nxc_core.hookspecs import BaseEntry, FlavourEntry, hookimpl
from nxc_core.model import Event, Plan, Resource
from nxc_core.operation import Operation
from nxc_core.options import structure_options
from nxc_core.plugins import Plugins


class EntryPoint:
    """As importlib.metadata answers it, for a module that exists in memory only."""

    def __init__(self, name: str, module: types.ModuleType | Exception) -> None:
        self.name = name
        self.value = f"module_of_{name}"
        self.module = module

    def load(self) -> types.ModuleType:
        if isinstance(self.module, Exception):
            raise self.module
        return self.module


Install = Callable[..., Plugins]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(**modules: types.ModuleType | Exception) -> Plugins:
        points = [EntryPoint(name, module) for name, module in modules.items()]
        monkeypatch.setattr(metadata, "entry_points", lambda group: points if group == "nxc" else [])
        return Plugins.discover()

    return install


def plugin(api: int | None = 1, **members: Any) -> types.ModuleType:
    module = types.ModuleType("a_plugin")
    if api is not None:
        members["NXC_API"] = api
    for name, value in members.items():
        setattr(module, name, value)
    return module


def offer(name: str, target: str = f"{__name__}:Fake") -> types.ModuleType:
    @hookimpl
    def nxc_flavours() -> Iterator[FlavourEntry]:
        yield FlavourEntry(name=name, summary="nodes in Podman", target=target)

    return plugin(nxc_flavours=nxc_flavours)


@frozen(kw_only=True)
class FakeOptions:
    memory: str | None = field(default=None, metadata={"help": "h"})
    cores: int = field(default=1, metadata={"help": "h"})
    load: float = field(default=0.5, metadata={"help": "h"})
    lean: bool = field(default=False, metadata={"help": "h"})
    mode: Literal["auto", "kvm"] = field(default="auto", metadata={"help": "h"})
    words: tuple[str, ...] = field(default=(), metadata={"help": "h"})

    def __attrs_post_init__(self) -> None:
        if self.cores < 1:
            raise ValueError("cores: at least one")


class Fake(Flavour[FakeOptions]):
    name = "fake"
    accepts = ()
    options_type = FakeOptions

    def deploy(self, plan: Plan, op: Operation) -> None:
        raise NotImplementedError

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        raise NotImplementedError


class Incomplete(Flavour[FakeOptions]):
    name = "incomplete"
    accepts = ()
    options_type = FakeOptions


def reasons(plugins: Plugins) -> dict[str, str]:
    return {broken.name: broken.reason for broken in plugins.broken}


def test_a_plugin_that_fails_to_import_is_left_out(install: Install) -> None:
    found = install(bad=ImportError("no module named docker"), good=offer("fake"))
    assert list(found.flavours) == ["fake"]
    assert reasons(found) == {"bad": "ImportError: no module named docker"}


def test_a_plugin_that_exits_at_import_is_left_out(install: Install) -> None:
    class Exits(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("cannot be asked")

    assert reasons(install(bad=Exits("bad")))["bad"] == "RuntimeError: cannot be asked"


@pytest.mark.parametrize(("api", "phrase"), [(2, "speaks plugin API 2"), (None, "does not say NXC_API")])
def test_another_api_version_is_left_out(install: Install, api: int | None, phrase: str) -> None:
    found = install(old=plugin(api=api), good=offer("fake"))
    assert phrase in reasons(found)["old"]
    assert "this nxc speaks 1" in reasons(found)["old"]
    assert list(found.flavours) == ["fake"]


def test_a_misspelt_hook_is_told_with_what_was_meant(install: Install) -> None:
    @hookimpl
    def nxc_flavors() -> Iterator[FlavourEntry]:
        yield FlavourEntry(name="x", summary="s", target="t")

    found = install(american=plugin(nxc_flavors=nxc_flavors), good=offer("fake"))
    assert "nxc_flavors" in reasons(found)["american"]
    assert "nxc_flavours" in reasons(found)["american"]
    assert list(found.flavours) == ["fake"]


def test_wrong_hook_parameters_leave_nothing_half_registered(install: Install) -> None:
    @hookimpl
    def nxc_flavours() -> Iterator[FlavourEntry]:
        yield FlavourEntry(name="half", summary="s", target="t")

    @hookimpl
    def nxc_event(occasion: Event) -> None:
        raise AssertionError("must not be called")

    found = install(half=plugin(nxc_flavours=nxc_flavours, nxc_event=nxc_event), good=offer("fake"))
    assert list(found.flavours) == ["fake"]
    assert "occasion" in reasons(found)["half"]
    assert found.tell(Event(time=0, topic="t", message="m")) == []


def test_a_taken_name_is_told_with_its_owner(install: Install) -> None:
    found = install(first=offer("fake"), second=offer("fake", "elsewhere:Other"))
    assert found.flavours["fake"].target == f"{__name__}:Fake"
    assert reasons(found) == {"second": "the name fake is taken by plugin first"}


def test_an_offer_that_raises_or_answers_nonsense_is_left_out(install: Install) -> None:
    @hookimpl
    def raising() -> Iterator[FlavourEntry]:
        raise OSError("no such device")

    @hookimpl
    def nonsense() -> Iterator[Any]:
        yield BaseEntry(name="x", summary="s", target="t")

    raising.__name__ = nonsense.__name__ = "nxc_flavours"
    found = install(bad=plugin(nxc_flavours=raising), worse=plugin(nxc_flavours=nonsense), good=offer("fake"))
    assert reasons(found)["bad"] == "OSError: no such device"
    assert "not a FlavourEntry" in reasons(found)["worse"]
    assert list(found.flavours) == ["fake"]


def test_an_unknown_name_is_told_with_near_ones_and_broken_plugins(install: Install) -> None:
    found = install(bad=ImportError("x"), good=offer("docker"))
    with pytest.raises(ConfigError) as told:
        found.flavour("dokcer")
    assert told.value.message == "there is no flavour dokcer"
    assert "did you mean docker?" in told.value.hint
    assert "bad" in told.value.hint
    with pytest.raises(ConfigError) as told:
        found.flavour("podman")
    assert "did you mean docker?" in told.value.hint
    with pytest.raises(ConfigError) as told:
        found.flavour("od")
    assert "did you mean" not in told.value.hint
    with pytest.raises(ConfigError, match="there is no base plain"):
        found.base("plain")


@pytest.mark.parametrize(
    "target", ["no_such_module:X", f"{__name__}:Nothing", f"{__name__}:Incomplete", f"{__name__}:plugin", "x"]
)
def test_a_target_that_is_no_driver_is_told(install: Install, target: str) -> None:
    with pytest.raises(PluginError) as told:
        install(good=offer("fake", target)).flavour("fake")
    assert told.value.hint


def test_a_failing_observer_is_told_once_and_ignored(install: Install) -> None:
    heard: list[str] = []

    @hookimpl
    def fragile(event: Event) -> None:
        raise ValueError("cannot hear this")

    @hookimpl
    def attentive(event: Event) -> None:
        heard.append(event.message)

    fragile.__name__ = attentive.__name__ = "nxc_event"
    found = install(bad=plugin(nxc_event=fragile), good=plugin(nxc_event=attentive))
    (told,) = found.tell(Event(time=0, topic="t", message="one"))
    assert (told.name, told.reason) == ("bad", "ValueError: cannot hear this")
    assert found.tell(Event(time=0, topic="t", message="two")) == []
    assert heard == ["one", "two"]


def test_an_extra_plugin_takes_part(install: Install) -> None:
    assert "fake" in Plugins.discover(extra=[offer("fake")]).flavours


def structured(**given: Any) -> FakeOptions:
    found = structure_options(FakeOptions, given, "fake")
    assert isinstance(found, FakeOptions)
    return found


def test_options_are_converted_from_text() -> None:
    found = structured(memory="1g", cores="4", load="1.5", lean="yes", mode="kvm", words="a,b")
    assert found == FakeOptions(memory="1g", cores=4, load=1.5, lean=True, mode="kvm", words=("a", "b"))
    assert structured(words=["a"], cores=2, lean=False, memory=None) == FakeOptions(words=("a",), cores=2)


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ({"memori": "1g"}, "fake has no option memori"),
        ({"cores": "many"}, "fake.cores: 'many' is not a number"),
        ({"cores": True}, "is not a number"),
        ({"cores": "0"}, "cores: at least one"),
        ({"lean": "maybe"}, "fake.lean: 'maybe' is neither true nor false"),
        ({"mode": "xen"}, "fake.mode: 'xen' is not one of auto, kvm"),
        ({"words": 3}, "fake.words: 3 is not a list"),
        ({"memory": ["x"]}, "fake.memory: ['x'] is not a text"),
    ],
)
def test_a_wrong_option_is_named(given: dict[str, Any], phrase: str) -> None:
    with pytest.raises(ConfigError) as told:
        structured(**given)
    assert phrase in told.value.message


def test_options_may_be_written_with_hyphens(tmp_path: Path) -> None:
    @frozen
    class Two:
        two_words: int = field(default=0, metadata={"help": "h"})

    assert structure_options(Two, {"two-words": "3"}, "x").two_words == 3
    with pytest.raises(ConfigError) as told:
        structure_options(Two, {"tow-words": "3"}, "x", "base")
    assert "did you mean" in told.value.hint
    assert "`nxc base show x`" in told.value.hint
