# The programs of this repository as packages: { nixos-compose, default }. Nothing where there is no source of theirs,
# or where nixpkgs is too old to build them.
{ lib, source }:
pkgs:
let
  python = pkgs.python3Packages;
  needed = [
    "attrs"
    "cattrs"
    "hatchling"
    "pluggy"
    "pyyaml"
    "rich"
    "typer"
  ];
  plugins = lib.filter (name: name != "nxc_example") (
    builtins.attrNames (builtins.readDir (source + "/plugins"))
  );
  build =
    folder: name: dependencies:
    python.buildPythonPackage {
      pname = name;
      version = (builtins.fromTOML (builtins.readFile (folder + "/pyproject.toml"))).project.version;
      src = folder;
      format = "pyproject";
      nativeBuildInputs = [ python.hatchling ];
      propagatedBuildInputs = dependencies;
      doCheck = false;
    };
  libraries = lib.attrVals (lib.remove "hatchling" needed) python;
  core = build source "nxc-core" libraries;
  parts = map (name: build (source + "/plugins/${name}") (lib.replaceStrings [ "_" ] [ "-" ] name) [ core python.attrs ]) plugins;
  # A Python that has them all, and of its programs nxc alone.
  environment = pkgs.python3.withPackages (_: [ core ] ++ parts);
  nixos-compose = pkgs.runCommand "nixos-compose" { passthru.dependencyEnv = environment; } ''
    mkdir -p $out/bin
    ln -s ${environment}/bin/nxc $out/bin/nxc
  '';
in
lib.optionalAttrs (source != null && builtins.all (name: python ? ${name}) needed) {
  inherit nixos-compose;
  default = nixos-compose;
}
