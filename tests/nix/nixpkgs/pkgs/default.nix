# The package set before overlays: nixpkgs' functions, and the few programs that compositions here name.
{
  final,
  lib,
  system,
  settings,
}:
let
  building = import ./building.nix { inherit final lib system settings; };
  writing = import ./writing.nix { inherit final lib; };
  kernels = import ./kernels.nix { inherit final lib; };
  python = import ./python.nix { inherit final lib; };
  programs = import ./programs.nix { inherit final lib; };
  machine = import ./machine.nix { inherit final lib; };

  callPackageWith =
    scope: file: overrides:
    let
      function = if builtins.isFunction file then file else import file;
      wanted = builtins.intersectAttrs (builtins.functionArgs function) scope;
    in
    function (wanted // overrides);

  platform = {
    inherit system;
    config = system;
    isLinux = true;
    isDarwin = false;
    isx86_64 = system == "x86_64-linux";
    isAarch64 = system == "aarch64-linux";
    is64bit = true;
    linux-kernel = {
      target = "bzImage";
    };
  };
in
building
// writing
// kernels
// python
// programs
// machine
// {
  inherit lib system;
  pkgs = final;
  path = ../.;
  config = {
    allowUnfree = false;
    allowUnfreePredicate = _: false;
    allowAliases = true;
  }
  // settings;
  stdenv = {
    inherit system;
    inherit (building) mkDerivation;
    hostPlatform = platform;
    buildPlatform = platform;
    targetPlatform = platform;
    isLinux = true;
    isDarwin = false;
    shell = "${final.bash}/bin/bash";
  };
  stdenvNoCC = final.stdenv;
  hostPlatform = platform;
  buildPlatform = platform;
  targetPlatform = platform;
  buildPackages = final;
  targetPackages = final;
  runtimeShell = "${final.bash}/bin/bash";
  runtimeShellPackage = final.bash;
  callPackage = callPackageWith final;
  newScope = extra: callPackageWith (final // extra);
  recurseIntoAttrs = set: set // { recurseForDerivations = true; };
  emptyFile = final.writeText "empty-file" "";
  emptyDirectory = final.runCommand "empty-directory" { } "mkdir $out";
  formats = {
    json = _: {
      type = lib.types.anything;
      generate = name: value: final.writeText name (builtins.toJSON value);
    };
    yaml = final.formats.json;
  };
}
