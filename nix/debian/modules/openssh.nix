{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.openssh;

  setting = types.nullOr (
    types.oneOf [
      types.bool
      types.int
      types.str
      (types.listOf types.str)
    ]
  );
  toText =
    value:
    if builtins.isBool value then
      (if value then "yes" else "no")
    else if builtins.isList value then
      lib.concatStringsSep "," value
    else
      toString value;
  # These take words, where others take a list with commas.
  spaced = [
    "AllowUsers"
    "AllowGroups"
    "DenyUsers"
    "DenyGroups"
    "AcceptEnv"
  ];
  line =
    name: value:
    "${name} ${
      if builtins.elem name spaced && builtins.isList value then lib.concatStringsSep " " value else toText value
    }\n";
  settings = lib.filterAttrs (_: value: value != null) cfg.settings;

  old = description: mkOption {
    inherit description;
    type = types.nullOr types.unspecified;
    default = null;
  };
in
{
  options.services.openssh = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the role has an ssh server of its own; nxc's own way in is another one.";
    };
    ports = mkOption {
      type = types.listOf types.port;
      default = [ 22 ];
      description = "Ports it listens on.";
    };
    openFirewall = mkOption {
      type = types.bool;
      default = true;
      description = "Whether its ports are open in the firewall.";
    };
    listenAddresses = mkOption {
      type = types.listOf (
        types.submodule {
          options.addr = mkOption { type = types.str; };
          options.port = mkOption {
            type = types.nullOr types.port;
            default = null;
          };
        }
      );
      default = [ ];
      description = "Addresses it listens on; all without.";
    };
    settings = mkOption {
      type = types.submodule {
        freeformType = types.attrsOf setting;
        options.PermitRootLogin = mkOption {
          type = types.enum [
            "yes"
            "without-password"
            "prohibit-password"
            "forced-commands-only"
            "no"
          ];
          default = "prohibit-password";
        };
        options.PasswordAuthentication = mkOption {
          type = types.bool;
          default = true;
        };
        options.KbdInteractiveAuthentication = mkOption {
          type = types.bool;
          default = true;
        };
        options.X11Forwarding = mkOption {
          type = types.bool;
          default = false;
        };
      };
      default = { };
      description = "Settings of sshd_config(5).";
    };
    authorizedKeysFiles = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Files with authorized keys, beside the user's own.";
    };
    extraConfig = mkOption {
      type = types.lines;
      default = "";
      description = "Lines added to the end of sshd's configuration.";
    };
    permitRootLogin = old "Old name of settings.PermitRootLogin.";
    passwordAuthentication = old "Old name of settings.PasswordAuthentication.";
    forwardX11 = old "Old name of settings.X11Forwarding.";
  };
  options.services.sshd.enable = mkOption {
    type = types.bool;
    default = false;
    description = "Other name of services.openssh.enable.";
  };

  config = lib.mkMerge [
    {
      services.openssh.enable = lib.mkIf config.services.sshd.enable true;
      services.openssh.settings = {
        PermitRootLogin = lib.mkIf (cfg.permitRootLogin != null) cfg.permitRootLogin;
        PasswordAuthentication = lib.mkIf (cfg.passwordAuthentication != null) cfg.passwordAuthentication;
        X11Forwarding = lib.mkIf (cfg.forwardX11 != null) cfg.forwardX11;
      };
    }
    (lib.mkIf cfg.enable {
      nxc.debian.packages = [ "openssh-server" ];
      nxc.debian.enabledUnits = [ "ssh.service" ];
      systemd.services.ssh.wantedBy = [ "multi-user.target" ];
      networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall cfg.ports;

      # The first value of a setting holds, and Debian's sshd_config reads this folder first.
      environment.etc."ssh/sshd_config.d/50-nxc.conf" = {
        mode = "0644";
        text =
          lib.concatMapStrings (port: "Port ${toString port}\n") cfg.ports
          + lib.concatMapStrings (
            { addr, port }:
            "ListenAddress ${addr}${lib.optionalString (port != null) ":${toString port}"}\n"
          ) cfg.listenAddresses
          + "AuthorizedKeysFile ${
            lib.concatStringsSep " " (
              [
                "%h/.ssh/authorized_keys"
                "/etc/ssh/authorized_keys.d/%u"
              ]
              ++ cfg.authorizedKeysFiles
            )
          }\n"
          + lib.concatStrings (lib.mapAttrsToList line settings)
          + lib.optionalString (cfg.extraConfig != "") "${cfg.extraConfig}\n";
      };

      systemd.services.nxc-ssh-host-keys = {
        description = "Host keys of the role's ssh server";
        wantedBy = [ "ssh.service" ];
        before = [ "ssh.service" ];
        unitConfig.ConditionPathExists = "!/etc/ssh/ssh_host_ed25519_key";
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          # Not `ssh-keygen -A`: an RSA key takes seconds where a machine is emulated.
          ExecStart = "/usr/bin/ssh-keygen -q -t ed25519 -N \"\" -f /etc/ssh/ssh_host_ed25519_key";
        };
      };
    })
  ];
}
