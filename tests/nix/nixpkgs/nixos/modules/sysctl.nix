# Kernel settings, and one that NixOS sets by itself.
{ config, lib, ... }:
let
  inherit (lib) types;
  line =
    name: value:
    lib.optionalString (value != null) "${name}=${if value == false then "0" else toString value}\n";
in
{
  options.boot.kernel.sysctl = lib.mkOption {
    type = types.attrsOf (
      types.nullOr (
        types.oneOf [
          types.bool
          types.int
          types.str
        ]
      )
    );
    default = { };
  };
  config = {
    boot.kernel.sysctl."kernel.kptr_restrict" = lib.mkDefault 1;
    environment.etc."sysctl.d/60-nixos.conf".text = lib.concatStrings (
      lib.mapAttrsToList line config.boot.kernel.sysctl
    );
  };
}
