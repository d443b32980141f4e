{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.systemd.tmpfiles;
in
{
  options.systemd.tmpfiles.rules = mkOption {
    type = types.listOf types.str;
    default = [ ];
    description = "Lines of tmpfiles.d(5): files and folders made at boot.";
  };
  config.environment.etc."tmpfiles.d/nxc.conf" = lib.mkIf (cfg.rules != [ ]) {
    text = lib.concatMapStrings (rule: "${rule}\n") cfg.rules;
  };
}
