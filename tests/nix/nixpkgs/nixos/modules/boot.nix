# Kernel and loader.
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
  words = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
  lines = mkOption {
    type = types.lines;
    default = "";
  };
in
{
  options = {
    boot = {
      isContainer = flag false;
      kernelPackages = mkOption {
        type = types.raw or types.unspecified;
        default = pkgs.linuxPackages;
        apply = packages: packages;
      };
      kernelParams = words;
      kernelModules = words;
      blacklistedKernelModules = words;
      supportedFilesystems = words;
      extraModulePackages = mkOption {
        type = types.listOf types.package;
        default = [ ];
      };
      consoleLogLevel = mkOption {
        type = types.int;
        default = 4;
      };
      postBootCommands = lines;
      loader = {
        grub.enable = flag (!config.boot.isContainer);
        grub.device = mkOption {
          type = types.str;
          default = "";
        };
        initScript.enable = flag false;
        timeout = mkOption {
          type = types.nullOr types.int;
          default = 5;
        };
      };
      initrd = {
        enable = flag (!config.boot.isContainer);
        availableKernelModules = words;
        kernelModules = words;
        supportedFilesystems = words;
        compressor = mkOption {
          type = types.raw or types.unspecified;
          default = "gzip";
        };
        network = {
          enable = flag false;
          udhcpc.enable = flag true;
          flushBeforeStage2 = flag true;
          postCommands = lines;
        };
        extraUtilsCommands = lines;
        preDeviceCommands = lines;
        postDeviceCommands = lines;
        postMountCommands = lines;
        systemd.enable = flag false;
      };
    };
    hardware.firmware = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
    hardware.enableRedistributableFirmware = flag false;
    system = {
      boot.loader = {
        id = mkOption {
          type = types.str;
          default = "";
        };
        kernelFile = mkOption {
          type = types.str;
          default = "bzImage";
        };
        initrdFile = mkOption {
          type = types.str;
          default = "initrd";
        };
      };
      modulesTree = mkOption {
        type = types.raw or types.unspecified;
        default = config.boot.kernelPackages.kernel;
      };
    };
  };
  config = lib.mkIf (!config.boot.isContainer) {
    system.build = { inherit (config.boot.kernelPackages) kernel; };
    boot.kernelParams = [ "loglevel=${toString config.boot.consoleLogLevel}" ];
    assertions = [
      {
        assertion = !config.boot.loader.grub.enable || config.boot.loader.grub.device != "";
        message = "boot.loader.grub is enabled and has no device.";
      }
      {
        assertion =
          config.boot.initrd.systemd.enable -> config.boot.initrd.postMountCommands == "";
        message = "boot.initrd.postMountCommands is not for a stage 1 by systemd.";
      }
      {
        assertion = config.fileSystems ? "/";
        message = "fileSystems has no root.";
      }
    ];
  };
}
