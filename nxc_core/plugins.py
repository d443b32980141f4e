"""Discovery that survives broken plugins, and a typed face for pluggy."""

from __future__ import annotations

import difflib
import importlib
import inspect
import threading
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy
from attrs import frozen

from nxc_core.errors import ConfigError, PluginError
from nxc_core.hookspecs import API_VERSION, PROJECT, BaseEntry, FlavourEntry, NxcSpec

if TYPE_CHECKING:  # listing what plugins offer must stay cheap
    from nxc_core.base import Base
    from nxc_core.connect import Connection
    from nxc_core.flavour import Flavour
    from nxc_core.model import Artifact, BuildRequest, Event, Json, Node, Plan, Resource
    from nxc_core.operation import Operation

E = TypeVar("E", FlavourEntry, BaseEntry)


@frozen(kw_only=True)
class Broken:
    """A plugin that was left out, and why."""

    name: str
    reason: str


class Plugins:
    """The plugins of one session: what they offer, and calls to their hooks with types."""

    def __init__(self, manager: pluggy.PluginManager, broken: Sequence[Broken]) -> None:
        self._manager = manager
        self._hook: Any = manager.hook
        self._lock = threading.Lock()
        self._deaf: set[str] = set()
        self.broken: list[Broken] = list(broken)
        self.flavours: Mapping[str, FlavourEntry] = self._collect(FlavourEntry, "nxc_flavours")
        self.bases: Mapping[str, BaseEntry] = self._collect(BaseEntry, "nxc_bases")

    @classmethod
    def discover(cls, extra: Iterable[object] = ()) -> Plugins:
        """Load every entry point of the group ``nxc``; one that fails is kept aside with its reason."""
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(NxcSpec)
        broken: list[Broken] = []
        seen: set[str] = set()
        for entry in sorted(metadata.entry_points(group=PROJECT), key=lambda point: point.name):
            if entry.value in seen:
                continue
            seen.add(entry.value)
            try:
                _register(manager, entry.load(), entry.name)
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises, the others go on
                broken.append(Broken(name=entry.name, reason=_reason(error)))
        for plugin in extra:
            _register(manager, plugin, getattr(plugin, "__name__", repr(plugin)))
        return cls(manager, broken)

    def _collect(self, kind: type[E], hook: str) -> dict[str, E]:
        found: dict[str, E] = {}
        owner: dict[str, str] = {}
        for implementation in getattr(self._hook, hook).get_hookimpls():
            name = implementation.plugin_name
            try:
                for entry in implementation.function():
                    if not isinstance(entry, kind):
                        raise TypeError(f"{hook} answered {entry!r}, not a {kind.__name__}")
                    if entry.name in found:
                        raise PluginError(f"the name {entry.name} is taken by plugin {owner[entry.name]}")
                    found[entry.name] = entry
                    owner[entry.name] = name
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises, the others go on
                self.broken.append(Broken(name=name, reason=_reason(error)))
        return dict(sorted(found.items()))

    def flavour(self, name: str, options: Mapping[str, Json] | None = None) -> Flavour[Any]:
        """Import a flavour and give it its options; raises ConfigError for an unknown name or option."""
        from nxc_core.flavour import Flavour
        from nxc_core.options import structure_options

        entry = _pick(self.flavours, name, "flavour", self.broken)
        driver = _import(entry.target, entry.name)
        if not (isinstance(driver, type) and issubclass(driver, Flavour)) or inspect.isabstract(driver):
            raise PluginError(
                f"{entry.target} is not a complete Flavour", hint="report it to the plugin's author"
            )
        return driver(structure_options(driver.options_type, options or {}, name))

    def base(self, name: str, options: Mapping[str, Json] | None = None) -> Base[Any]:
        """Import a base and give it its options; raises ConfigError for an unknown name or option."""
        from nxc_core.base import Base
        from nxc_core.options import structure_options

        entry = _pick(self.bases, name, "base", self.broken)
        driver = _import(entry.target, entry.name)
        if not (isinstance(driver, type) and issubclass(driver, Base)) or inspect.isabstract(driver):
            raise PluginError(
                f"{entry.target} is not a complete Base", hint="report it to the plugin's author"
            )
        return driver(structure_options(driver.options_type, options or {}, name, "base"))

    @property
    def _verbs(self) -> Any:
        """The hooks, what the core itself does included."""
        from nxc_core import lifecycle

        with self._lock:
            if not self._manager.is_registered(lifecycle):
                self._manager.register(lifecycle, "nxc-core")
        return self._hook

    def build(self, base: Base[Any], request: BuildRequest, op: Operation) -> Artifact:
        """Call ``nxc_build``."""
        from nxc_core.model import Artifact

        answer = self._verbs.nxc_build(base=base, request=request, op=op)
        if not isinstance(answer, Artifact):
            raise PluginError(f"base {base.name} built {type(answer).__name__}, not an Artifact")
        return answer

    def deploy(self, flavour: Flavour[Any], plan: Plan, op: Operation) -> None:
        """Call ``nxc_deploy``."""
        self._verbs.nxc_deploy(flavour=flavour, plan=plan, op=op)

    def connect(self, flavour: Flavour[Any], node: Node, op: Operation) -> Connection:
        """Call ``nxc_connect``."""
        answer: Connection = self._verbs.nxc_connect(flavour=flavour, node=node, op=op)
        return answer

    def teardown(
        self, flavour: Flavour[Any], resources: Sequence[Resource], op: Operation
    ) -> Sequence[Resource]:
        """Call ``nxc_teardown``."""
        answer: Sequence[Resource] = self._verbs.nxc_teardown(flavour=flavour, resources=resources, op=op)
        return answer

    def tell(self, event: Event) -> list[Broken]:
        """Call ``nxc_event`` of every observer; answers those that failed for the first time."""
        failed = []
        for implementation in self._hook.nxc_event.get_hookimpls():
            if implementation.plugin_name in self._deaf:
                continue
            try:
                implementation.function(event)
            except Exception as error:  # noqa: BLE001 - an observer must not stop the work
                self._deaf.add(implementation.plugin_name)
                failed.append(Broken(name=implementation.plugin_name, reason=_reason(error)))
        return failed


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    version = getattr(plugin, "NXC_API", None)
    if version != API_VERSION:
        told = "does not say NXC_API" if version is None else f"speaks plugin API {version}"
        raise PluginError(
            f"{told}; this nxc speaks {API_VERSION}", hint="install a release that fits this nxc"
        )
    try:
        manager.register(plugin, name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        if manager.has_plugin(name):
            manager.unregister(name=name)
        hooks = [hook for hook in dir(NxcSpec) if hook.startswith("nxc_")]
        wrong = next(
            (word.strip("'") for word in str(error).split() if word.strip("'").startswith("nxc_")), ""
        )
        near = difflib.get_close_matches(wrong, hooks, 1)
        hint = f"did its author mean {near[0]}?" if near and wrong not in hooks else ""
        raise PluginError("; ".join(str(error).split("\n")) or "invalid hook", hint=hint) from error


def _pick(entries: Mapping[str, E], name: str, what: str, broken: Sequence[Broken]) -> E:
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, entries, 1)
    if len(name) > 3:  # what one is made of, as podman
        near += [one for one, entry in entries.items() if name.lower() in entry.summary.lower()]
    known = ", ".join(entries) or "none"
    hint = f"did you mean {near[0]}? " if near else ""
    hint += f"there are: {known}"
    if broken:
        hint += f" (left out, broken: {', '.join(b.name for b in broken)}; `nxc doctor` says why)"
    raise ConfigError(f"there is no {what} {name}", hint=hint)


def _import(target: str, name: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        module: ModuleType = importlib.import_module(module_name)
        return getattr(module, attribute)
    except Exception as error:
        raise PluginError(
            f"plugin {name} cannot be used: {_reason(error)}", hint="reinstall it, or report it to its author"
        ) from error


def _reason(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    hint = getattr(error, "hint", "")
    told = text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"
    return f"{told} ({hint})" if hint else told
