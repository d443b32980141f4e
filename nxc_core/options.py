"""Driver options: text or TOML into an attrs class, with errors that name the option."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import NOTHING, Factory, fields

from nxc_core.errors import ConfigError, PluginError
from nxc_core.model import Json

if TYPE_CHECKING:
    from nxc_core.config import Settings
    from nxc_core.plugins import Plugins


def structure_options(
    options_type: type[Any], given: Mapping[str, Json], owner: str, sort: str = "flavour"
) -> Any:
    """Make the options of ``owner`` from what was given; raises ConfigError naming what is wrong."""
    known = {f.name: f for f in fields(options_type)}
    hints = typing.get_type_hints(options_type)
    for field in known.values():
        if field.default is NOTHING:
            raise PluginError(
                f"option {owner}.{field.name} has no default", hint="report it to the plugin's author"
            )
    values: dict[str, Any] = {}
    for name, value in given.items():
        key = name.replace("-", "_")
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {owner}.{near[0]}? " if near else ""
            raise ConfigError(
                f"{owner} has no option {name}", hint=f"{hint}`nxc {sort} show {owner}` lists its options"
            )
        try:
            values[key] = _convert(value, hints[key], f"{owner}.{name}")
        except ConfigError as error:
            raise ConfigError(error.message, hint=f"{key}: {known[key].metadata.get('help', '')}") from None
    try:
        return options_type(**values)
    except ValueError as error:
        hint = f"`nxc {sort} show {owner}` says what each is for"
        raise ConfigError(f"option of {owner}: {error}", hint=hint) from error


def check_written(settings: Settings, plugins: Plugins) -> None:
    """Check the options that files set for any driver that is there, whether it is used this time or not.

    Raises ConfigError naming file and line.
    """
    for key, setting in settings.values.items():
        table, _, rest = key.partition(".")
        driver, _, option = rest.partition(".")
        if table != "options" or not setting.origin.startswith("/"):
            continue
        try:
            if driver in plugins.flavours:
                plugins.flavour(driver, {option: setting.value})
            elif driver in plugins.bases:
                plugins.base(driver, {option: setting.value})
            else:
                _refuse_likely_slip(driver, [*plugins.flavours, *plugins.bases])
        except ConfigError as error:
            raise ConfigError(f"{setting.origin}: {error.message}", hint=error.hint) from error
        except PluginError:
            continue  # a driver that cannot be used here is told of when it is wanted


def _refuse_likely_slip(driver: str, known: Sequence[str]) -> None:
    """Refuse a name near that of a driver; another may be that of a plugin which is not installed here."""
    if near := difflib.get_close_matches(driver, known, 1, cutoff=0.75):
        raise ConfigError(f"there is no driver {driver}", hint=f"did you mean [options.{near[0]}]?")


def _convert(value: Json, kind: Any, name: str) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        inner = [arm for arm in typing.get_args(kind) if arm is not type(None)]
        if value is None or value == "":
            return None
        return _convert(value, inner[0], name) if len(inner) == 1 else value
    if typing.get_origin(kind) is typing.Literal:
        allowed = typing.get_args(kind)
        if value not in allowed:
            raise ConfigError(f"{name}: {value!r} is not one of {', '.join(map(str, allowed))}")
        return value
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, (list, tuple)):
            raise ConfigError(f"{name}: {value!r} is not a list")
        return tuple(_convert(word, item, name) for word in words if word != "")
    return _convert_plain(value, kind, name)


_TRUE = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _convert_plain(value: Json, kind: Any, name: str) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in _TRUE:
            return _TRUE[value.lower()]
        raise ConfigError(f"{name}: {value!r} is neither true nor false")
    if kind in (int, float):
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            try:
                return kind(value)
            except ValueError:
                pass
        raise ConfigError(f"{name}: {value!r} is not a number")
    if kind is str:
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return str(value)
        raise ConfigError(f"{name}: {value!r} is not a text")
    return value


def type_name(kind: Any) -> str:
    """Spell a type for people: what may be written for it."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(type_name(arm) for arm in typing.get_args(kind) if arm is not type(None))
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(str, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        return f"list of {type_name(typing.get_args(kind)[0])}"
    return _WORDS.get(kind) or str(getattr(kind, "__name__", kind))


_WORDS: Mapping[Any, str] = {str: "text", bool: "true or false", int: "number", float: "number"}


def default_text(default: Any) -> str:
    """Spell an option's default for people."""
    # attrs' stubs take the class Factory for a function
    value = default.factory() if isinstance(default, Factory) else default  # type: ignore[arg-type]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
