{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.boot;
  settings = lib.filterAttrs (_: value: value != null) cfg.kernel.sysctl;
  inherit (import ../../container.nix { inherit lib; }) sysctl toText;
  need = need: option: { inherit need option; };
in
{
  options.boot = {
    kernelModules = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Kernel modules loaded at boot.";
    };
    kernelParams = mkOption {
      type = types.listOf (types.strMatching ''([^"[:space:]]|"[^"]*")+'');
      default = [ ];
      description = "Words added to the kernel's command line.";
    };
    kernel.sysctl = mkOption {
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
      description = "Kernel settings by name, as `net.ipv4.ip_forward`.";
    };
    supportedFilesystems = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Accepted: file systems that are used bring their own packages.";
    };
  };

  config = {
    environment.etc = {
      "modules-load.d/nxc.conf" = lib.mkIf (cfg.kernelModules != [ ]) {
        text = lib.concatMapStrings (name: "${name}\n") (lib.unique cfg.kernelModules);
      };
      "sysctl.d/60-nxc.conf" = lib.mkIf (settings != { }) {
        text = lib.concatStrings (lib.mapAttrsToList (name: value: "${name} = ${toText value}\n") settings);
      };
    };
    nxc.debian.packages = lib.mkIf (settings != { } || cfg.kernelModules != [ ]) [
      "procps"
      "kmod"
    ];
    nxc.needs =
      lib.optional (cfg.kernelModules != [ ]) (need "kernel" "boot.kernelModules")
      ++ lib.optional (cfg.kernelParams != [ ]) (need "kernel" "boot.kernelParams")
      ++ sysctl.needs settings;
    nxc.container.sysctls = sysctl.own settings;
  };
}
