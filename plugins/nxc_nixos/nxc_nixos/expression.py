"""What is asked of Nix, spelt as its expressions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, fields, frozen

from nxc_core.model import Guest, Json, Kind
from nxc_core.paths import nix_dir
from nxc_nixos.options import NixosOptions
from nxc_nixos.project import Project

_NAMES = (
    'drv = part: if part == null then null else "${part.drvPath}!${part.outputName or "out"}";'
    " out = part: if part == null then null else part.outPath;"
)
_PARTS = ("toplevel", "kernel", "initrd")


def quote(text: str) -> str:
    """Spell a string in Nix."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${").replace("\r", "\\r")
    return f'"{escaped}"'


def spell(value: Json) -> str:
    """Spell a JSON value in Nix."""
    return f"(builtins.fromJSON {quote(json.dumps(value))})"


def _path(path: Path | str) -> str:
    return f"(/. + {quote(str(path))})"


@frozen(kw_only=True)
class Target:
    """What a composition is evaluated for: one of the library's flavours, or a guest of someone else's."""

    flavour: str
    kind: Kind | None = None
    guest: Guest | None = None


def find_target(kind: Kind, guest: Guest) -> Target:
    """Return the flavour that the library knows for a kind and a guest, else both."""
    wanted = {"kind": kind, "guest": to_camel_case(guest)}
    known = known_flavours()
    for name, stated in known.items():
        if {**stated, "guest": {**to_camel_case(Guest()), **stated.get("guest", {})}} == wanted:
            return Target(flavour=name)
    return Target(flavour=str(kind), kind=kind, guest=guest)


def any_target() -> Target:
    """Return a flavour to read a composition under: of whole machines, which leave least out."""
    known = known_flavours().items()
    return Target(flavour=next(name for name, stated in known if stated["guest"]["kernel"]))


def known_flavours() -> dict[str, dict[str, Any]]:
    """Read the flavours that the library states; those with a plugin come first."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("guests.json", "platforms.json"):
        for flavour, stated in json.loads((nix_dir() / name).read_text()).items():
            found.setdefault(flavour, stated)
    return found


def to_camel_case(guest: Guest) -> dict[str, Json]:
    """Spell a guest as the library does."""
    said = asdict(guest)
    return {
        to_camel_case_name(name): list(value) if isinstance(value, tuple) else value
        for name, value in said.items()
    }


def to_camel_case_name(name: str) -> str:
    """Spell a name as the library does."""
    return re.sub(r"_(.)", lambda match: match[1].upper(), name)


def guest_fields() -> list[str]:
    """Name what a guest says."""
    return [one.name for one in fields(Guest)]


@frozen(kw_only=True)
class Driver:
    """The library's answer for one composition: an expression to select from."""

    text: str

    def reading(self) -> str:
        """What the composition says, and which roles are one and the same system."""
        return self._let("{ inherit (d) read templates; }")

    def parts(self, roles: Sequence[str]) -> str:
        """The derivations of some roles, and what these ask of a platform."""
        return self._let(_each(roles, "drv"))

    def whole(self, roles: Sequence[str]) -> str:
        """The parts of all roles, and the build document's derivation, in one go."""
        whole = (
            "builtins.deepSeq parts { inherit parts; package = d.package.drvPath; }"  # a role's errors first
        )
        return self._let(f"let parts = {_each(roles, 'drv')}; in {whole}")

    def outputs(self, roles: Sequence[str]) -> str:
        """The store paths of the parts of some roles and of the build document."""
        return self._let(f"{{ roles = {_each(roles, 'out')}; document = d.package.outPath; }}")

    def _let(self, body: str) -> str:
        """Name the driver, lest it is evaluated twice."""
        return f"let d = {self.text}; {_NAMES} in {body}"

    def assembled(self, parts: Mapping[str, Mapping[str, str | None]]) -> str:
        """The build document's derivation, from derivations that other processes wrote."""
        rows = []
        for role, part in sorted(parts.items()):
            drvs = " ".join(f"{name} = {_import(part.get(name))};" for name in _PARTS)
            rows.append(f"  {quote(role)} = {{ {drvs} }};")
        return f"({self.text}).assemble {{\n" + "\n".join(rows) + "\n}"


def _each(roles: Sequence[str], name: str) -> str:
    """Spell a set with the parts and the wishes of roles, each part by the function ``name``.

    An error on the way says which role it is of.
    """
    within = 'builtins.addErrorContext "while evaluating the role `${role}\'"'
    parts = f"builtins.mapAttrs (_: part: {within} ({name} part)) ({within} d.parts.${{role}})"
    asked = f"needs = {within} d.needs.${{role}}; container = d.container.${{role}} or null;"
    said = f"{{ parts = {parts}; {asked} }}"
    return f"builtins.listToAttrs (map (role: {{ name = role; value = {said}; }}) {spell(list(roles))})"


def _import(part: str | None) -> str:
    if part is None:
        return "null"
    drv, _, output = part.partition("!")
    return f"(import {_path(drv)}).{quote(output)}"  # by itself, it would be the first output by name


def driver(
    project: Project, options: NixosOptions, target: Target, reference: str, system: str, library: str = ""
) -> Driver:
    """Spell the call of nix/driver.nix. ``reference`` names the flake, if the project is one.

    ``library`` spells the folder of nix/ where it is not to be read from where it is.
    """
    source = f"{{ flake = {quote(reference)}; }}" if project.flake else _plain(project)
    arguments = [f"source = {source};", f"system = {quote(system)};", f"flavour = {quote(target.flavour)};"]
    if options.composition is not None:
        arguments.append(f"composition = {quote(options.composition.removesuffix('::'))};")
    if target.kind is not None:
        arguments.append(f"kind = {quote(target.kind)};")
    if target.guest is not None:
        arguments.append(f"guest = {spell(to_camel_case(target.guest))};")
    setup: dict[str, Json] = {} if options.setup is None else {"variant": options.setup}
    if options.setup_params:
        setup["params"] = dict(_parameter(text) for text in options.setup_params)
    if setup:
        arguments.append(f"setup = {spell(setup)};")
    file = f'({library} + "/driver.nix")' if library else _path(nix_dir() / "driver.nix")
    return Driver(text=f"import {file} {{ {' '.join(arguments)} }}")


def _plain(project: Project) -> str:
    folder = project.nixpkgs_folder
    nixpkgs = _path(folder) if folder else f"builtins.getFlake {quote(project.nixpkgs)}"
    several = "compositions" if project.source.name == "compositions.nix" else "composition"
    setup = f" setup = {_path(project.setup)};" if project.setup else ""
    return f"{{ {several} = {_path(project.source)}; nixpkgs = {nixpkgs};{setup} }}"


def _parameter(text: str) -> tuple[str, Json]:
    name, _, value = text.partition("=")
    return name.strip(), int(value) if re.fullmatch(r"-?[0-9]+", value) else value
