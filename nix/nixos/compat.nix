# What differs between releases of NixOS, found by asking for the option or package itself, never for a version.
{
  lib,
  options,
  pkgs,
}:
let
  has = path: lib.hasAttrByPath path options;
  # One that was removed or renamed is still there, hidden, to complain about being set.
  isSettable = path: has path && (lib.getAttrFromPath path options).visible or true;
in
{
  inherit has;

  # A default of an option, where there is such an option. Not mkIf, which still defines it.
  setDefault =
    path: value: lib.optionalAttrs (isSettable path) (lib.setAttrByPath path (lib.mkDefault value));

  # Definitions below an option, where there is such an option.
  define = path: value: lib.optionalAttrs (has path) (lib.setAttrByPath path value);

  iproute2 = pkgs.iproute2 or pkgs.iproute;
}
