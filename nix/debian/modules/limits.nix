{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  limit = types.submodule {
    options = {
      domain = mkOption { type = types.str; };
      type = mkOption {
        type = types.enum [
          "-"
          "hard"
          "soft"
        ];
        default = "-";
      };
      item = mkOption { type = types.str; };
      value = mkOption { type = types.either types.str types.int; };
    };
  };
  limits = config.security.pam.loginLimits;
in
{
  options.security.pam.loginLimits = mkOption {
    type = types.listOf limit;
    default = [ ];
    description = "Limits of login sessions, as of limits.conf(5).";
  };
  config.environment.etc."security/limits.d/nxc.conf" = lib.mkIf (limits != [ ]) {
    mode = "0644";
    text = lib.concatMapStrings (
      limit: "${limit.domain} ${limit.type} ${limit.item} ${toString limit.value}\n"
    ) limits;
  };
}
