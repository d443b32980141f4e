# Services that the library and the examples touch; each ends in a unit, or in a file for tests to read.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };
  text = mkOption {
    type = types.lines;
    default = "";
  };
  cfg = config.services;
in
{
  options = {
    services = {
      openssh = {
        enable = flag false;
        openFirewall = flag true;
        ports = mkOption {
          type = types.listOf types.port;
          default = [ 22 ];
        };
        extraConfig = text;
        settings = mkOption {
          type = types.submodule {
            freeformType = types.attrs;
            options.PermitRootLogin = mkOption {
              type = types.str;
              default = "prohibit-password";
            };
            options.PasswordAuthentication = flag true;
          };
          default = { };
        };
      };
      getty = {
        autologinUser = mkOption {
          type = types.nullOr types.str;
          default = null;
        };
        helpLine = text;
      };
      nscd.enable = flag true;
      udisks2.enable = flag false;
      nginx = {
        enable = flag false;
        package = mkOption {
          type = types.package;
          default = pkgs.nginx;
        };
        virtualHosts = mkOption {
          type = types.attrsOf types.anything;
          default = { };
        };
      };
      postgresql = {
        enable = flag false;
        package = mkOption {
          type = types.package;
          default = pkgs.postgresql;
        };
      };
      nfs.server = {
        enable = flag false;
        exports = text;
      };
    };
    nix = {
      enable = flag true;
      package = mkOption {
        type = types.package;
        default = pkgs.nix;
      };
      settings = mkOption {
        type = types.attrsOf types.anything;
        default = { };
      };
      extraOptions = text;
    };
    system.stateVersion = mkOption {
      type = types.str;
      default = "23.05";
    };
  };
  config = lib.mkMerge [
    (lib.mkIf config.nix.enable {
      environment.etc."nix/nix.conf".text = ''
        build-users-group =
        ${lib.concatStrings (
          lib.mapAttrsToList (name: value: "${name} = ${toString value}\n") config.nix.settings
        )}${config.nix.extraOptions}
      '';
    })
    (lib.mkIf cfg.openssh.enable {
      networking.firewall.allowedTCPPorts = lib.mkIf cfg.openssh.openFirewall cfg.openssh.ports;
      environment.etc."ssh/sshd_config".text = ''
        PermitRootLogin ${cfg.openssh.settings.PermitRootLogin}
      '';
      systemd.services.sshd = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "${pkgs.openssh}/bin/sshd -D";
      };
    })
    (lib.mkIf cfg.nginx.enable {
      environment.etc."nginx.json".text = builtins.toJSON cfg.nginx.virtualHosts;
      systemd.services.nginx = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "${cfg.nginx.package}/bin/nginx -c /etc/nginx.json";
      };
    })
    (lib.mkIf cfg.postgresql.enable {
      systemd.services.postgresql = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "${cfg.postgresql.package}/bin/postgres";
      };
    })
    (lib.mkIf cfg.nfs.server.enable {
      environment.etc.exports.text = cfg.nfs.server.exports;
      systemd.services.nfs-server = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "${pkgs.nfs-utils}/bin/nfs-utils";
      };
    })
  ];
}
