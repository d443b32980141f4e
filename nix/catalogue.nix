# Flavours and kinds that this library knows.
# A flavour is { name, kind, guest, module }: data that its plugin states, gathered in guests.json by `./task guests'.
{ lib }:
let
  inherit (import ./wording.nix { inherit lib; }) aKind quoted suggestion;

  read = file: builtins.fromJSON (builtins.readFile file);
  stated = read ./platforms.json // read ./guests.json;

  kindNames = [
    "closure"
    "docker-archive"
    "nfs-store"
    "ramdisk"
    "rootfs-tar"
  ];
  kinds = lib.genAttrs kindNames (name: import (./kinds + "/${name}.nix") { inherit lib; });

  # What every guest is unless its flavour says otherwise: the defaults of nxc_core.model.Guest.
  plainGuest = {
    init = true;
    ssh = true;
    console = null;
    kernel = true;
    kernelModules = [ ];
    firmware = false;
    root = "tmpfs";
    seed = "mount";
    lean = false;
    share = null;
  };

  complete =
    name: flavour:
    let
      fields = builtins.attrNames (flavour.guest or { });
      unknown = lib.filter (field: !(plainGuest ? ${field})) fields;
    in
    if !(flavour ? kind) then
      throw "nxc: flavour `${name}': `kind' is missing: it says what image the flavour boots, one of ${quoted kindNames}"
    else if unknown != [ ] then
      throw "nxc: flavour `${name}': a guest has no ${quoted unknown}${suggestion (builtins.head unknown) (builtins.attrNames plainGuest)}; it has ${quoted (builtins.attrNames plainGuest)}"
    else
      {
        inherit name;
        inherit (flavour) kind;
        module = flavour.module or { };
        description = flavour.description or "";
        guest = plainGuest // flavour.guest or { };
      };

  # One that a caller describes; what it leaves out is the known flavour's of that name.
  describe =
    name: given:
    if !builtins.isAttrs given then
      throw "nxc: flavour `${name}' must be a set of `kind', `guest' and `module', not ${aKind given}"
    else
      complete name (stated.${name} or { } // given);

  pick =
    name:
    if stated ? ${name} then
      complete name stated.${name}
    else
      throw "nxc: there is no flavour `${name}'${suggestion name (builtins.attrNames stated)}; there are ${
        quoted (builtins.attrNames stated)
      }, and others by `flavours = { ${name} = { kind = ...; guest = { ... }; }; }'";

  kind =
    flavour:
    kinds.${flavour.kind}
      or (throw "nxc: flavour `${flavour.name}': there is no kind `${flavour.kind}'${suggestion flavour.kind kindNames}; there are ${quoted kindNames}");

  imported = value: if builtins.isPath value then import value else value;
  named =
    given:
    if builtins.isString given then
      { ${given} = pick given; }
    else if builtins.isAttrs given && given ? name then
      { ${given.name} = describe given.name given; }
    else
      throw "nxc: `flavour' must be the name of a flavour, or a set with `name'";
in
{
  inherit
    describe
    kind
    pick
    ;
  all = builtins.mapAttrs complete stated;

  # What `compose' was told by `flavours' (all, a list of names, a set, a file) and `flavour' (one of these).
  select =
    { flavours, flavour }:
    let
      several = imported flavours;
    in
    if several != null && flavour != null then
      throw "nxc: compose was given both `flavour' and `flavours'; keep one"
    else if flavour != null then
      named (imported flavour)
    else if several == null then
      builtins.mapAttrs complete stated
    else if builtins.isList several then
      builtins.foldl' (set: one: set // named one) { } several
    else if builtins.isAttrs several then
      builtins.mapAttrs describe several
    else
      throw "nxc: `flavours' must be a list of names or a set of flavours by name, not ${aKind several}";
}
