# The stand-in for nixpkgs' `pkgs`: Debian packages under their own names and under nixpkgs' names, and the functions
# that compositions use to write files and scripts.
{
  lib,
  system,
  # Names of all packages of the mirror; null: only those of packages.nix are known.
  packageNames ? null,
}:
let
  kinds = import ./derivations.nix { inherit lib system; };
  table = import ../packages.nix;

  package =
    attribute: debian:
    kinds.package {
      inherit attribute debian;
      command = table.commands.${attribute} or attribute;
    };

  mirrored = if packageNames == null then [ ] else packageNames;
  # `_` for `-`, as nixpkgs writes names that would not be identifiers.
  underscored = lib.filter (entry: entry.name != entry.debian) (
    map (debian: {
      inherit debian;
      name = lib.replaceStrings [ "-" "." ] [ "_" "_" ] debian;
      value = package debian [ debian ];
    }) mirrored
  );
  fromMirror =
    builtins.listToAttrs underscored
    // builtins.listToAttrs (
      map (name: {
        inherit name;
        value = package name [ name ];
      }) mirrored
    );
  fromTable = builtins.mapAttrs package table.packages;
  absent = builtins.mapAttrs (name: advice: throw "nxc: pkgs.${name}: ${advice}") table.absent;

  python = import ./python.nix {
    inherit
      lib
      kinds
      mirrored
      ;
  };
  postgresql = import ./postgresql.nix {
    inherit
      lib
      kinds
      mirrored
      ;
  };
  writing = import ./writers.nix { inherit lib kinds pkgs; };

  noBuild =
    name: _:
    throw "nxc: pkgs.${name}: the debian base compiles nothing from source; use a Debian package, `pkgs.runCommand', or --base nixos";
  noNetwork =
    name: _:
    throw "nxc: pkgs.${name}: builds of the debian base have no network; keep the file beside the composition and write ./file, or use --base nixos";
  refused =
    lib.genAttrs [
      "buildGoModule"
      "buildNpmPackage"
      "buildPythonPackage"
      "rustPlatform"
    ] noBuild
    // lib.genAttrs [
      "fetchFromGitHub"
      "fetchFromGitLab"
      "fetchgit"
      "fetchpatch"
      "fetchurl"
      "fetchzip"
      "fetchTarball"
    ] noNetwork;

  pkgs =
    absent
    // fromMirror
    // fromTable
    // refused
    // writing
    // python
    // postgresql
    // {
      inherit lib system pkgs;
      formats = import ./formats.nix {
        inherit lib;
        inherit (writing) writeText;
      };
      runtimeShell = "/bin/bash";
      callPackage = callPackageWith pkgs;
      config = { };
      hostPlatform = platform;
      buildPackages = pkgs;
      emptyFile = writing.writeText "empty-file" "";
      stdenv = {
        inherit system;
        hostPlatform = platform;
        buildPlatform = platform;
        targetPlatform = platform;
        isLinux = true;
        isDarwin = false;
        isx86_64 = system == "x86_64-linux";
        isAarch64 = system == "aarch64-linux";
        shell = "/bin/bash";
        mkDerivation = noBuild "stdenv.mkDerivation";
      };
      stdenvNoCC = pkgs.stdenv;
    };

  platform = {
    inherit system;
    isLinux = true;
    isDarwin = false;
    isx86_64 = system == "x86_64-linux";
    isAarch64 = system == "aarch64-linux";
    is64bit = true;
  };

  callPackageWith =
    scope: file: overrides:
    let
      function = if builtins.isFunction file then file else import file;
      wanted = builtins.intersectAttrs (builtins.functionArgs function) scope;
    in
    function (wanted // overrides);
in
pkgs
