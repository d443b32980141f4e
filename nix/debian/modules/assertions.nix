{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    assertions = mkOption {
      type = types.listOf types.unspecified;
      default = [ ];
      description = "Conditions that must hold: { assertion, message }; the build stops where one does not.";
    };
    warnings = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "What the user of the composition is told.";
    };
  };
}
