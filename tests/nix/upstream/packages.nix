# { "<composition>::<flavour>" = derivation; } of an example as its flake.nix, or its composition.nix, says it; no flakes.
{
  nixpkgs,
  # The nix folder of nxc.
  library,
  example,
  # Whether the tree needs the shim for it.
  shim,
}:
let
  system = "x86_64-linux";
  nxc = import library { };
  plain = {
    lib = nxc;
    devShells.${system} = { };
    packages.${system} = { };
  };
  inputs = {
    inherit self;
    nixpkgs = {
      outPath = toString nixpkgs;
      lib = import (nixpkgs + "/lib");
      legacyPackages.${system} = import nixpkgs { inherit system; };
    };
    nxc = if shim then import ./. plain else plain;
    NUR = ./NUR;
    kapack = ./kapack;
  };
  flake = import (example + "/flake.nix");
  self = flake.outputs (builtins.intersectAttrs (builtins.functionArgs flake.outputs) inputs);
in
if builtins.pathExists (example + "/flake.nix") then
  self.packages.${system}
else
  inputs.nxc.lib.compose {
    inherit (inputs) nixpkgs;
    inherit system;
    composition = example + "/composition.nix";
  }
