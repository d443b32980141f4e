"""The base ``plain``: a composition is a TOML file, a system is a folder of files."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import asdict, field, frozen

from nxc_core import Base, ConfigError, Operation
from nxc_core.model import Artifact, BuildRequest, Composition, Guest, Kind, Need, Role, RoleBoot
from nxc_example.kind import PROCESS_TREE

ROLE_KEYS: dict[str, type] = {"count": int, "hosts": list, "files": dict, "needs": list}


@frozen(kw_only=True)
class PlainOptions:
    """What a user may set, as ``-o plain.executable=false`` or in nxc.toml."""

    executable: bool = field(default=True, metadata={"help": "make files that begin with #! executable"})


class PlainBase(Base[PlainOptions]):
    """Builds a folder per role, keyed by its content: what is unchanged is there already."""

    name = "plain"
    produces = frozenset({PROCESS_TREE})
    options_type = PlainOptions

    def fingerprint(self, source: Path, kind: Kind, guest: Guest, op: Operation) -> str:
        """Everything a build depends on: the file, what is asked, the options."""
        asked = json.dumps([kind, asdict(guest), asdict(self.options)], sort_keys=True)
        return hashlib.sha256(source.read_bytes() + asked.encode()).hexdigest()

    def read(self, source: Path, op: Operation) -> Composition:
        """Read the TOML file."""
        document = _load(source)
        return Composition(
            name=source.stem,
            base=self.name,
            source=source,
            roles=tuple(_role(name, table, source) for name, table in document["roles"].items()),
            test_script=document.get("test_script"),
        )

    def build(self, request: BuildRequest, op: Operation) -> Artifact:
        """Make the folders that are not there yet."""
        roles = _load(request.composition.source)["roles"]
        trees = {}
        for name, table in roles.items():
            op.check_cancelled()
            trees[name] = self._tree(name, table.get("files", {}), op)
        return Artifact(kind=request.kind, files=trees, roles={name: RoleBoot() for name in roles})

    def _tree(self, role: str, files: Mapping[str, str], op: Operation) -> Path:
        content = json.dumps([files, self.options.executable], sort_keys=True)
        goal = op.cache / "plain" / hashlib.sha256(content.encode()).hexdigest()[:32]
        if goal.exists():
            return goal
        op.step(f"writing {len(files)} files for {role}")
        goal.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".work-", dir=goal.parent))
        for name, text in files.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if self.options.executable and text.startswith("#!") else 0o644)
        try:
            work.rename(goal)  # in one step: a folder of that name is always whole
        except OSError:
            shutil.rmtree(work)  # another nxc made it meanwhile
        return goal

    def caches(self, op: Operation) -> Mapping[str, Path]:
        """What `nxc clean` may look at."""
        return {"trees": op.cache / "plain"}


def _load(source: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{source}: {error}", hint="it must be a TOML file with a table [roles.NAME]"
        ) from error
    for key in document.keys() - {"roles", "test_script"}:
        raise ConfigError(f"{source}: unknown key {key}", hint="there are: roles, test_script")
    roles = document.get("roles")
    if not isinstance(roles, dict) or not roles:
        raise ConfigError(f"{source}: there is no role", hint="add a table, as [roles.server]")
    return document


def _role(name: str, table: Any, source: Path) -> Role:
    where = f"{source}: role {name}"
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is not a table", hint=f"write [roles.{name}]")
    for key in table.keys() - ROLE_KEYS.keys():
        raise ConfigError(f"{where} has no option {key}", hint=f"there are: {', '.join(ROLE_KEYS)}")
    for key, value in table.items():
        if not isinstance(value, ROLE_KEYS[key]):
            raise ConfigError(f"{where}: {key} is not a {ROLE_KEYS[key].__name__}", hint=f"it is {value!r}")
    for path, text in table.get("files", {}).items():
        if (
            not isinstance(text, str)
            or PurePosixPath(path).is_absolute()
            or ".." in PurePosixPath(path).parts
        ):
            raise ConfigError(
                f"{where}: {path!r} is not a file below the node's folder", hint='write "name" = "text"'
            )
    hosts = tuple(table.get("hosts", ()))
    needs = tuple(Need(need=need, option=f"roles.{name}.needs") for need in table.get("needs", ()))
    return Role(name=name, count=len(hosts) or table.get("count", 1), hosts=hosts, needs=needs)
