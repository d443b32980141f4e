# Whatever no module declares may be set, as in a NixOS that has a module for it, and means nothing.
{ lib, ... }:
let
  merge =
    loc: defs:
    let
      values = map (def: def.value) defs;
    in
    if lib.all builtins.isList values then
      lib.concatLists values
    else if lib.all (value: builtins.isAttrs value && !lib.isDerivation value) values then
      (lib.types.lazyAttrsOf loose).merge loc defs
    else
      lib.mergeEqualOption loc defs;
  loose = lib.mkOptionType {
    name = "loose";
    description = "anything; lists are joined";
    check = _: true;
    inherit merge;
  };
in
{
  _module.freeformType = lib.types.lazyAttrsOf loose;
}
