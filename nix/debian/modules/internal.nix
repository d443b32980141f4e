# What the other modules tell the builder; compositions may use it for what no portable option covers.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  file = import ./file-type.nix { inherit lib; };
in
{
  options.nxc.debian = {
    packages = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Debian packages to install, by their Debian names.";
    };
    enabledUnits = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Units shipped by Debian packages that start at boot; a package's other units do not.";
    };
    kernelModules = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Modules that the kernel must have, beside boot.kernelModules; they load by themselves.";
    };
    files = mkOption {
      type = types.attrsOf (file "");
      default = { };
      description = "Files outside /etc, by path without the first slash.";
    };
  };
}
