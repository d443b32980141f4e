# The initial ramdisk: mounts what is needed for boot and starts what `init=` says. As in NixOS' scripted stage 1,
# a relative device is relative to the ramdisk's root, and overlay's folders lie below the new root.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.boot.initrd;
  # File systems that are modules of the same name.
  drivers = [
    "9p"
    "overlay"
    "squashfs"
    "virtiofs"
  ];
  mount = system: ''
    mount_one ${
      lib.escapeShellArgs [
        (toString system.device)
        system.mountPoint
        system.fsType
        (lib.concatStringsSep "," (lib.filter (option: !lib.hasPrefix "x-" option) system.options))
      ]
    }
  '';
  init = pkgs.writeScript "stage-1-init.sh" (
    builtins.replaceStrings
      [
        "@mounts@"
        "@preDevice@"
        "@postDevice@"
        "@network@"
        "@postMount@"
      ]
      [
        (lib.concatMapStrings mount config.standIn.earlyFileSystems)
        cfg.preDeviceCommands
        cfg.postDeviceCommands
        (lib.optionalString cfg.network.enable cfg.network.postCommands)
        cfg.postMountCommands
      ]
      (builtins.readFile ./stage-1.sh)
  );
in
{
  config.boot.initrd = {
    availableKernelModules = [ "virtio_pci" ];
    kernelModules = lib.concatMap (
      system: lib.optional (lib.elem system.fsType drivers) system.fsType
    ) config.standIn.earlyFileSystems;
  };
  config.system.build = lib.mkIf (!config.boot.isContainer) {
    bootStage1 = init;
    initialRamdisk = pkgs.makeStage1 {
      inherit init;
      kernel = config.system.modulesTree;
      modules = lib.unique (cfg.kernelModules ++ cfg.availableKernelModules);
      extraUtilsCommands = cfg.extraUtilsCommands;
    };
    initialRamdiskSecretAppender = pkgs.writeShellScriptBin "append-initrd-secrets" "exit 0";
  };
}
