# What examples ask of nixpkgs that not every tree has: { example = { what = does the tree have it?; }; }.
{
  nixpkgs,
  # Whether to ask the tree with the shim.
  shim,
}:
let
  system = "x86_64-linux";
  given = import ./shim.nix nixpkgs;
  with' = if shim then given else builtins.mapAttrs (_: _: [ ]) given;
  pkgs = import nixpkgs {
    inherit system;
    inherit (with') overlays;
  };
  inherit
    (import (nixpkgs + "/nixos/lib/eval-config.nix") {
      inherit system;
      modules = with'.extraConfigurations;
    })
    options
    ;
in
{
  kernel."linuxKernel.packages.linux_5_4" = pkgs ? linuxKernel.packages.linux_5_4;
  nixos-cluster."nix.settings" = options ? nix.settings;
  nixos-cluster."nix.binaryCaches" = options ? nix.binaryCaches;
  nixos-cluster."nix.requireSignedBinaryCaches" = options ? nix.requireSignedBinaryCaches;
  # A mirror may lack this file, which is larger than others.
  nbp-mpi."pandoc, for openmpi's man pages" =
    shim || builtins.pathExists (nixpkgs + "/pkgs/development/haskell-modules/hackage-packages.nix");
  k3s."services.k3s" = options ? services.k3s && pkgs ? k3s;
}
