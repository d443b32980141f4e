# A nixpkgs, however it is given: a flake, a path, `{ outPath, lib, ... }', or its parts alone.
{
  nixpkgs ? null,
  lib ? null,
  pkgs ? null,
  evalSystem ? null,
  system,
  # Of the one set of packages that all roles share.
  config ? { },
  overlays ? [ ],
}:
let
  missing =
    what:
    throw "nxc: compose needs `nixpkgs' for ${what}: give it a flake's input (`inherit nixpkgs;') or the path of a nixpkgs tree";
  given =
    if builtins.isAttrs nixpkgs then
      nixpkgs.outPath
        or (throw "nxc: `nixpkgs' is a set without `outPath'; give the flake's input itself, or a path")
    else if builtins.isPath nixpkgs || (builtins.isString nixpkgs && builtins.substring 0 1 nixpkgs == "/") then
      nixpkgs
    else
      throw "nxc: `nixpkgs' must be a flake's input or an absolute path, not a ${builtins.typeOf nixpkgs}";

  # Later trees say which Nix they need; their lib is not readable by an older one.
  minimum =
    if builtins.pathExists (given + "/lib/minver.nix") then import (given + "/lib/minver.nix") else "2.0";
  sound =
    if !(builtins.pathExists (given + "/nixos/lib/eval-config.nix")) then
      throw "nxc: ${toString given} is no nixpkgs tree: there is no nixos/lib/eval-config.nix in it"
    else if builtins.compareVersions builtins.nixVersion minimum < 0 then
      throw "nxc: the nixpkgs in ${toString given} needs Nix ${minimum} or later, this is Nix ${builtins.nixVersion}: take a newer Nix, or an older nixpkgs"
    else
      given;
  root = what: if nixpkgs == null then missing what else sound;
in
{
  lib =
    if lib != null then
      lib
    else if builtins.isAttrs nixpkgs && nixpkgs ? lib then
      builtins.seq sound nixpkgs.lib
    else if nixpkgs == null && pkgs != null then
      pkgs.lib
    else
      import (root "its lib" + "/lib");

  # Everything is passed, so that nothing of the user's own configuration comes in where evaluation is impure.
  pkgs =
    if pkgs == null then
      import (root "its packages") { inherit system config overlays; }
    else if overlays == [ ] then
      pkgs
    else
      pkgs.appendOverlays overlays;

  evalSystem =
    if evalSystem != null then evalSystem else import (root "NixOS" + "/nixos/lib/eval-config.nix");

  # As compositions know it: the folder above the modules.
  modulesPath = toString (root "modulesPath" + "/nixos");
}
