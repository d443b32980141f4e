# What a role asks of its platform, which a flavour gives or refuses before anything is built.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.nxc.needs = mkOption {
    type = types.listOf (
      types.submodule {
        options.need = mkOption {
          type = types.str;
          description = "A word such as kernel, mount, sysctl or net-admin.";
        };
        options.option = mkOption {
          type = types.str;
          description = "The option that asks.";
        };
      }
    );
    default = [ ];
    description = "What the role asks of its platform (kernel, net-admin, mount, sysctl, ...) and which option asks.";
  };
}
