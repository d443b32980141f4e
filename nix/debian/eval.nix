# nix-instantiate --eval --strict --json --read-write-mode … eval.nix --arg composition /abs/composition.nix
# prints the document that docs/nix-debian.md describes.
{
  composition,
  system ? "x86_64-linux",
  # A file with the names of all packages of the mirror: a JSON list, a JSON object by name, or lines.
  packageNames ? null,
  # Beside pkgs and lib, what the composition's function may ask for.
  arguments ? { },
  # { variant, params } in place of, and on top of, what the composition's setup.toml says; also as JSON.
  setup ? { },
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

  source = if builtins.isString composition then /. + composition else composition;

  beside = if builtins.isPath source then dirOf source + "/setup.toml" else null;
  setupFile = if beside != null && builtins.pathExists beside then beside else null;
  setupGiven = if builtins.isString setup then builtins.fromJSON setup else setup;
  setupRead = import ../setup.nix { inherit lib; } (
    {
      file = setupFile;
    }
    // setupGiven
  );
  changesPackages = lib.filter (table: setupRead.values.${table} or { } != { }) [
    "build"
    "overrides"
  ];
  setupValues =
    if setupFile == null && setupGiven.variant or null != null then
      throw "nxc: ${toString source}: there is no setup.toml beside it, of which `${setupGiven.variant}' could be a variant"
    else if changesPackages == [ ] then
      setupRead.values
    else
      throw "nxc: ${toString setupFile}: [${builtins.head changesPackages}] changes packages, which come from Debian as they are on the debian base; only [params] and [project] mean something here, or use --base nixos";

  onNixos =
    name:
    throw "nxc: ${toString source}: it uses `${name}', which the debian base does not have; use --base nixos";

  read = nxc.readComposition {
    composition = source;
    arguments = {
      inherit pkgs lib system;
      inherit (pkgs) stdenv;
      setup = setupValues;
      helpers = import ../helpers.nix;
      # What only the NixOS base gives is an error where it is used.
      flavour = onNixos "flavour";
      modulesPath = onNixos "modulesPath";
      nur = onNixos "nur";
    }
    // arguments;
  };

  evaluated = builtins.mapAttrs (
    name: role: debian.evalRole { inherit name role pkgs nodes; }
  ) read.roles;
  nodes = builtins.mapAttrs (_: role: evaluated.${role}.config) read.hosts;
  inherit (import ../container.nix { inherit lib; }) join;
  documentOf =
    name: role:
    let
      document = debian.document role;
    in
    document // { container = join document.container read.container.${name}; };
in
{
  schema = "nxc.debian.composition/1";
  testScript = read.testScript nodes;
  inherit (read) rolesDistribution warnings;
  # Forces the check of host names, and of a setup.toml that no role asks for.
  roles = builtins.seq read.hosts (
    builtins.seq setupValues (builtins.mapAttrs documentOf evaluated)
  );
}
