"""Settings: option, ``NXC_*``, nxc.toml, the user's config.toml, default; each with its origin."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from nxc_core.errors import ConfigError
from nxc_core.paths import config_file

if TYPE_CHECKING:
    from nxc_core.model import Json, Policy

PROJECT_FILE = "nxc.toml"
UPSTREAM_FILE = "nxc.json"
"""The project file of NixOS Compose: what it says stands below nxc.toml."""
_VARIABLE = "NXC_"
_NOT_OURS = ("NXC_CLAIM", "NXC_TEST_")
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_ROLE_VALUE = "a number of nodes or a list of host names"


@frozen(kw_only=True)
class Key:
    """A plain setting: its type, and what it is for."""

    kind: type
    help: str
    project_only: bool = False


KEYS: Mapping[str, Key] = {
    "composition": Key(kind=str, help="composition file, relative to nxc.toml", project_only=True),
    "base": Key(kind=str, help="how systems are built (`nxc base list`)"),
    "flavour": Key(kind=str, help="where they run (`nxc flavour list`)"),
    "offline": Key(kind=bool, help="open no socket off this machine"),
    "mirror": Key(kind=str, help="mirror of the base's packages"),
    "jobs": Key(kind=int, help="how much is built at once"),
    "spare": Key(kind=int, help="machines held beyond one for each node"),
    "retries": Key(kind=int, help="further tries of a node that fails"),
    "machines": Key(kind=str, help="machines to use: host,host or a file"),
}
TABLES = ("options", "roles", "min")
_SPELT = {str: "a text", bool: "true or false", int: "a whole number"}


@frozen(kw_only=True)
class Setting:
    """A value, and where it comes from."""

    value: Json
    origin: str


@frozen(kw_only=True)
class Settings:
    """All settings of a run. Keys are flat: ``flavour``, ``options.<driver>.<option>``, ``roles.<role>``."""

    root: Path
    values: Mapping[str, Setting] = field(factory=dict)

    def get(self, key: str) -> tuple[Json, str]:
        """Return a setting's value and origin; None when nothing sets it."""
        found = self.values.get(key)
        return (found.value, found.origin) if found else (None, "default")

    def text(self, key: str) -> str | None:
        """Return the value of a setting that is a text."""
        value = self.get(key)[0]
        return value if isinstance(value, str) else None

    def options(self) -> dict[str, dict[str, Json]]:
        """Return the options per driver."""
        found: dict[str, dict[str, Json]] = {}
        for key, setting in self.values.items():
            if key.startswith("options."):
                _, driver, name = key.split(".", 2)
                found.setdefault(driver, {})[name] = setting.value
        return found

    def roles(self) -> dict[str, int | tuple[str, ...]]:
        """Return the wanted nodes per role."""
        found: dict[str, int | tuple[str, ...]] = {}
        for key, setting in self.values.items():
            if key.startswith("roles."):
                found[key.partition(".")[2]] = read_nodes(setting.value, f"{setting.origin}: {key}")
        return found

    def minimum(self) -> dict[str, int]:
        """Return how many nodes of each role are enough."""
        found = {}
        for key, setting in self.values.items():
            if key.startswith("min."):
                found[key.partition(".")[2]] = read_count(setting.value, f"{setting.origin}: {key}")
        return found

    def policy(self, least: Mapping[str, int] | None = None) -> Policy | None:
        """Return how many nodes are enough, ``least`` above all, and what is tried; None if nothing says."""
        from nxc_core.model import Policy

        minimum = self.minimum() | dict(least or {})
        spare, retries = self.get("spare")[0], self.get("retries")[0]
        if not minimum and spare is None and retries is None:
            return None
        return Policy(
            minimum=minimum,
            spares=spare if isinstance(spare, int) else 0,
            retries=retries if isinstance(retries, int) else 0,
        )


def find_root(start: Path) -> Path:
    """Return the project's folder: the nearest parent with an nxc.toml or nxc.json, else ``start`` itself."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file() or (folder / UPSTREAM_FILE).is_file():
            return folder
    return start


def load_settings(
    start: Path,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Setting] | None = None,
) -> Settings:
    """Gather all settings for a run begun in ``start``.

    Raises ConfigError naming file and line for an unknown key or a wrong type, with what was probably meant.
    """
    root = find_root(start)
    values = {
        "offline": Setting(value=False, origin="default"),
        "jobs": Setting(value=len(os.sched_getaffinity(0)), origin="default"),
    }
    values |= _read_file(config_file(), is_project=False)
    values |= _read_upstream(root / UPSTREAM_FILE)
    values |= _read_file(root / PROJECT_FILE, is_project=True)
    values |= _read_environment(os.environ if environ is None else environ, start)
    values |= overrides or {}
    return Settings(root=root, values=values)


def read_nodes(value: Json, where: str) -> int | tuple[str, ...]:
    """Read the nodes wanted of a role: ``3``, ``"3"``, ``"foo,bar"`` or a list of names."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.strip().isdigit():
        return int(value)
    words = [word.strip() for word in value.split(",")] if isinstance(value, str) else value
    if isinstance(words, Sequence) and words and all(isinstance(word, str) and word for word in words):
        return tuple(str(word) for word in words)
    raise ConfigError(f"{where}: {value!r} is not {_ROLE_VALUE}", hint="write 3, or foo,bar")


def read_count(value: Json, where: str) -> int:
    """Read how many nodes of a role are enough."""
    nodes = read_nodes(value, where)
    if not isinstance(nodes, int):
        raise ConfigError(f"{where}: {value!r} is not a number of nodes", hint="write it as a whole number")
    return nodes


def read_option(text: str) -> tuple[str, str]:
    """Split ``driver.option=value`` into its flat key and value."""
    left, sign, value = text.partition("=")
    driver, dot, name = left.strip().partition(".")
    if not (sign and dot and driver and name):
        raise ConfigError(f"{text!r} is not DRIVER.OPTION=VALUE", hint="as in -o vm-ramdisk.memory=1g")
    return f"options.{driver}.{name.replace('-', '_')}", value


def read_role(text: str) -> tuple[str, int | tuple[str, ...]]:
    """Split ``role=3`` or ``role=foo,bar``."""
    role, sign, value = text.partition("=")
    if not (sign and role.strip()):
        raise ConfigError(f"{text!r} is not ROLE=NODES", hint="as in -r client=3 or -r server=foo,bar")
    return role.strip(), read_nodes(value, f"-r {text}")


def read_minimum(text: str) -> tuple[str, int]:
    """Split ``role=3``."""
    role, sign, value = text.partition("=")
    if not (sign and role.strip()):
        raise ConfigError(f"{text!r} is not ROLE=N", hint="as in --min client=8")
    return role.strip(), read_count(value, f"--min {text}")


def _read_file(path: Path, *, is_project: bool) -> dict[str, Setting]:
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}", hint="see https://toml.io for how TOML is written") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", hint="it must be yours to read, in UTF-8"
        ) from error
    found: dict[str, Setting] = {}
    for key, value in content.items():
        place = _Place(path=path, text=text)
        if key in TABLES:
            found |= dict(_read_table(key, value, place))
            continue
        spec = KEYS.get(key)
        if spec is None:
            raise ConfigError(f"{place.at(key)}: unknown key {key}", hint=_near(key, [*KEYS, *TABLES]))
        if spec.project_only and not is_project:
            raise ConfigError(
                f"{place.at(key)}: {key} belongs to a project", hint=f"write it in its {PROJECT_FILE}"
            )
        if not isinstance(value, spec.kind) or (spec.kind is int and isinstance(value, bool)):
            raise ConfigError(
                f"{place.at(key)}: {key} is {value!r}, not {_SPELT[spec.kind]}", hint=f"{key}: {spec.help}"
            )
        found[key] = Setting(value=_settle(key, value, path.parent, place.at(key)), origin=place.at(key))
    return found


def _read_upstream(path: Path) -> dict[str, Setting]:
    """Read what the project file of NixOS Compose says; what it says beyond is the NixOS base's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="write it as JSON, in UTF-8") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no JSON object", hint='as in {"composition": "composition.nix"}')
    found = {}
    for key, name in (("composition", "composition"), ("flavour", "default_flavour")):
        given = content.get(name)
        if given is not None and not isinstance(given, str):
            raise ConfigError(f"{path}: {name} is {given!r}, not a text", hint=f"{key}: {KEYS[key].help}")
        if given:
            found[key] = Setting(value=_settle(key, given, path.parent, str(path)), origin=str(path))
    return found


def _read_table(table: str, value: object, place: _Place) -> Iterator[tuple[str, Setting]]:
    if not isinstance(value, dict):
        raise ConfigError(
            f"{place.at(table)}: {table} is {value!r}, not a table", hint=f"write it as [{table}]"
        )
    for name, inner in value.items():
        where = place.at(table, name)
        if table in ("roles", "min"):
            read = read_nodes if table == "roles" else read_count
            yield f"{table}.{name}", Setting(value=_as_json(read(inner, f"{where}: {name}")), origin=where)
            continue
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{where}: options.{name} is {inner!r}, not a table",
                hint=f"options belong to a driver: write them below [options.{name}]",
            )
        for option, given in inner.items():
            origin = place.at(table, name, option)
            if isinstance(given, dict):
                raise ConfigError(
                    f"{origin}: {option} is a table, not a value", hint=f"`nxc flavour show {name}`"
                )
            yield f"options.{name}.{option.replace('-', '_')}", Setting(value=given, origin=origin)


def _as_json(nodes: int | tuple[str, ...]) -> Json:
    return nodes if isinstance(nodes, int) else list(nodes)


def _read_environment(environ: Mapping[str, str], start: Path) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    known = {f"{_VARIABLE}{key.upper()}": key for key in (*KEYS, *TABLES)}
    for name in sorted(environ):
        if not name.startswith(_VARIABLE) or name.startswith(_NOT_OURS):
            continue
        key, text = known.get(name), environ[name]
        if key is None:
            raise ConfigError(f"environment: unknown variable {name}", hint=_near(name, known))
        if text == "":
            continue
        if key == "options":
            found |= {k: Setting(value=v, origin=name) for k, v in map(read_option, _split(text, name))}
        elif key in ("roles", "min"):
            pairs = [read_role(word) for word in _split(text, name)]
            found |= {f"{key}.{role}": Setting(value=_as_json(nodes), origin=name) for role, nodes in pairs}
        else:
            value = _settle(key, _read_word(key, text, name), start, name)
            found[key] = Setting(value=value, origin=name)
    return found


def _split(text: str, name: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}", hint="quote its words as in a shell") from error


def _read_word(key: str, text: str, name: str) -> Json:
    kind = KEYS[key].kind
    if kind is bool and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if kind is int and re.fullmatch(r"[0-9]+", text):
        return int(text)
    if kind is str:
        return text
    raise ConfigError(f"{name} is {text!r}, not {_SPELT[kind]}", hint=f"{key}: {KEYS[key].help}")


def _settle(key: str, value: Any, folder: Path, where: str) -> Any:
    if key == "composition":
        return str((folder / str(value)).resolve())
    if key == "machines" and (folder / str(value)).is_file():
        return str((folder / str(value)).resolve())
    least = {"jobs": 1, "spare": 0, "retries": 0}.get(key)
    if least is not None and isinstance(value, int) and value < least:
        raise ConfigError(f"{where}: {key} is {value}", hint=f"give at least {least}")
    return value


def _near(name: str, known: Mapping[str, str] | Sequence[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"


@frozen(kw_only=True)
class _Place:
    """A TOML file, to say where in it a key stands: tomllib keeps no positions."""

    path: Path
    text: str = field(repr=False)

    def at(self, *keys: str) -> str:
        line = self._line(keys)
        return f"{self.path}:{line}" if line else str(self.path)

    def _line(self, keys: tuple[str, ...]) -> int | None:
        table: tuple[str, ...] = ()
        best: tuple[int, int] = (0, 0)
        for number, line in enumerate(self.text.splitlines(), 1):
            header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
            if header:
                table = _parts(header[1])
                path = table
            else:
                entry = re.match(
                    r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""", line
                )
                if not entry:
                    continue
                path = (*table, *_parts(entry[1]))
            shared = len(os.path.commonprefix([path, keys]))
            if shared == len(path) and shared > best[0] or path[: len(keys)] == keys and best[0] < len(keys):
                best = (min(shared, len(keys)), number)
        return best[1] or None


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
