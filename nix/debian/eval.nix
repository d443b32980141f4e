# nix-instantiate --eval --strict --json --read-write-mode … eval.nix --arg composition /abs/composition.nix
# prints the document that docs/nix-debian.md describes.
{
  composition,
  system ? "x86_64-linux",
  # A file with the names of all packages of the mirror: a JSON list, a JSON object by name, or lines.
  packageNames ? null,
  # Beside pkgs and lib, what the composition's function may ask for.
  arguments ? { },
  # Another module system in place of ours, to compare the two.
  lib ? import ../lib,
}:
let
  nxc = import ../default.nix { inherit lib; };
  inherit (nxc) debian;

  namesIn =
    path:
    let
      text = builtins.readFile path;
      parsed = builtins.fromJSON text;
    in
    if builtins.match "[[:space:]]*[[{].*" (builtins.substring 0 20 text) == null then
      builtins.filter (part: builtins.isString part && part != "") (builtins.split "\n" text)
    else if builtins.isList parsed then
      parsed
    else
      builtins.attrNames parsed;

  pkgs = debian.makePkgs {
    inherit system;
    packageNames = if packageNames == null then null else namesIn packageNames;
  };

  read = nxc.readComposition {
    composition = if builtins.isString composition then /. + composition else composition;
    arguments = {
      inherit pkgs lib system;
      inherit (pkgs) stdenv;
    }
    // arguments;
  };

  evaluated = builtins.mapAttrs (
    name: role: debian.evalRole { inherit name role pkgs nodes; }
  ) read.roles;
  nodes = builtins.mapAttrs (_: role: evaluated.${role}.config) read.hosts;
in
{
  schema = "nxc.debian.composition/1";
  testScript = read.testScript nodes;
  inherit (read) rolesDistribution warnings;
  # Forces the check of host names, too.
  roles = builtins.seq read.hosts (builtins.mapAttrs (_: role: debian.document role) evaluated);
}
