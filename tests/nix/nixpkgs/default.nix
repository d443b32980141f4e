# `import <nixpkgs> { system, config, overlays }` gives a package set, as nixpkgs does.
{
  localSystem ? null,
  system ?
    if localSystem == null then
      builtins.currentSystem
    else
      localSystem.system or localSystem,
  config ? { },
  overlays ? [ ],
  ...
}:
let
  lib = import ./lib;

  settings = if builtins.isFunction config then config { inherit pkgs; } else config;

  # Overlays see each other's results, and what the earlier ones made.
  combine =
    parts:
    let
      final = lib.foldl' (made: overlay: made // overlay final made) { } parts;
    in
    final;

  standIn = final: _: import ./pkgs { inherit final lib system settings; };
  composable = given: final: previous: {
    appendOverlays =
      more: if more == [ ] then final else combine (given ++ more ++ [ (composable (given ++ more)) ]);
    extend = overlay: final.appendOverlays [ overlay ];
    overlays = lib.drop 1 given;
  };

  parts = [ standIn ] ++ overlays;
  pkgs = combine (parts ++ [ (composable parts) ]);
in
pkgs
