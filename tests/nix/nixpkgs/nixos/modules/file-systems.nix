# What is mounted, and what of it before the system starts.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  fileSystem =
    { name, config, ... }:
    {
      options = {
        mountPoint = mkOption {
          type = types.str;
          default = name;
        };
        device = mkOption {
          type = types.nullOr types.str;
          default = null;
        };
        label = mkOption {
          type = types.nullOr types.str;
          default = null;
        };
        fsType = mkOption {
          type = types.str;
          default = "auto";
        };
        options = mkOption {
          type = types.listOf types.str;
          default = [ "defaults" ];
        };
        depends = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
        noCheck = mkOption {
          type = types.bool;
          default = false;
        };
        autoFormat = mkOption {
          type = types.bool;
          default = false;
        };
        autoResize = mkOption {
          type = types.bool;
          default = false;
        };
        neededForBoot = mkOption {
          type = types.bool;
          default = false;
        };
      };
      config.device = lib.mkIf (config.fsType == "tmpfs" || config.fsType == "overlay") (
        lib.mkDefault config.fsType
      );
    };
  early = [
    "/"
    "/nix"
    "/nix/store"
    "/var"
    "/var/log"
    "/var/lib"
    "/var/lib/nixos"
    "/etc"
    "/usr"
  ];
  isEarly = system: system.neededForBoot || lib.elem system.mountPoint early;
  # Attribute names come sorted, so a folder comes before what is in it.
  all = lib.attrValues config.fileSystems;
in
{
  options = {
    fileSystems = mkOption {
      type = types.attrsOf (types.submodule fileSystem);
      default = { };
    };
    swapDevices = mkOption {
      type = types.listOf types.attrs;
      default = [ ];
    };
    standIn.earlyFileSystems = mkOption {
      type = types.listOf types.attrs;
      default = lib.filter isEarly all;
    };
  };
  config.environment.etc.fstab.text = lib.concatMapStrings (system: ''
    ${toString system.device} ${system.mountPoint} ${system.fsType} ${lib.concatStringsSep "," system.options} 0 0
  '') all;
}
