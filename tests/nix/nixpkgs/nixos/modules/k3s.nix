# K3S, so that the classic example is checked and ends in a unit.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.k3s;
in
{
  options.services.k3s = {
    enable = mkOption {
      type = types.bool;
      default = false;
    };
    package = mkOption {
      type = types.package;
      default = pkgs.k3s;
    };
    role = mkOption {
      type = types.enum [
        "server"
        "agent"
      ];
      default = "server";
    };
    serverAddr = mkOption {
      type = types.str;
      default = "";
    };
    token = mkOption {
      type = types.str;
      default = "";
    };
    extraFlags = mkOption {
      type = types.either types.str (types.listOf types.str);
      default = "";
    };
  };
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.role == "agent" -> cfg.serverAddr != "" && cfg.token != "";
        message = "services.k3s: an agent needs serverAddr and token";
      }
    ];
    systemd.services.k3s = {
      wantedBy = [ "multi-user.target" ];
      serviceConfig.ExecStart = lib.concatStringsSep " " (
        [ "${cfg.package}/bin/k3s ${cfg.role}" ]
        ++ lib.optional (cfg.serverAddr != "") "--server ${cfg.serverAddr}"
        ++ lib.optional (cfg.token != "") "--token ${cfg.token}"
        ++ lib.toList cfg.extraFlags
      );
    };
  };
}
