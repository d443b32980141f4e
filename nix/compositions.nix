# What compose was given to compose, under names: { name = { composition, file }; }
{ lib }:
{
  composition,
  compositions,
  # Of a single one.
  name,
}:
let
  inherit (import ./wording.nix { inherit lib; }) aKind inFlakes quoted;

  from =
    where: value:
    if builtins.isString value && lib.hasPrefix "/" value then
      from where (/. + value)
    else if builtins.isPath value then
      {
        composition = existing value;
        file = toString value;
      }
    else if builtins.isFunction value || builtins.isAttrs value then
      {
        composition = value;
        file = where;
      }
    else
      throw "nxc: ${where} must be a file, a set or a function, not ${aKind value}";
  existing =
    path:
    if builtins.pathExists path then
      path
    else
      throw "nxc: ${toString path}: there is no such file ${inFlakes}";

  where = if builtins.isPath compositions then toString compositions else "<compositions>";
  several = if builtins.isPath compositions then import (existing compositions) else compositions;
  misnamed = lib.filter (one: builtins.match "[A-Za-z0-9][A-Za-z0-9._-]*" one == null) (
    builtins.attrNames several
  );
in
if composition == null && compositions == null then
  throw "nxc: compose was given neither `composition' nor `compositions': say `composition = ./composition.nix;'"
else if composition != null && compositions != null then
  throw "nxc: compose was given both `composition' and `compositions'; keep one"
else if compositions == null then
  { ${name} = from "<composition>" composition; }
else if !builtins.isAttrs several then
  throw "nxc: ${where}: `compositions' must be a set of compositions by name, not ${aKind several}"
else if several == { } then
  throw "nxc: ${where}: `compositions' is empty; there must be at least one composition"
else if misnamed != [ ] then
  throw "nxc: ${where}: ${quoted misnamed} cannot name a composition: use letters, digits, `-', `_' and `.'"
else
  builtins.mapAttrs (one: from "${where}, composition `${one}'") several
