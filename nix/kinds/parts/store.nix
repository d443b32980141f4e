# A store that is packed, or mounted read-only below a system in memory.
{ lib }:
{
  toplevels = roles: map (role: role.toplevel) (builtins.attrValues roles);

  # Shell for a builder: fills the folder `root' with what a root file system has before its first boot.
  furnish = closure: ''
    set -o pipefail
    mkdir -p root/{boot,dev,etc,home,proc,run,sys,var} root${builtins.storeDir}
    install -d -m 700 root/root
    install -d -m 1777 root/tmp
    cp ${closure}/registration root${builtins.storeDir}/nix-path-registration
    chmod 444 root${builtins.storeDir}/nix-path-registration
  '';

  # Shell for a builder: a tar of `root' and the closure, on standard output. Hard links are those of the builder's
  # own store, so they are not kept.
  pack = closure: ''
    sed 's|^/|./|' ${closure}/store-paths >paths
    tar --create --format=gnu --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner --hard-dereference \
      --no-xattrs -C root . -C / --files-from=$PWD/paths'';

  # A module: the system in memory, over a store that is mounted at /nix/.ro-store. Where `readOnly' gives that file
  # system (whether stage 1 is systemd -> file system), stage 1 mounts it and stacks the two; else the kind does.
  inMemory =
    {
      readOnly ? null,
      modules,
    }:
    {
      config,
      lib,
      options,
      ...
    }:
    let
      bySystemd = config.boot.initrd.systemd.enable or false;
      defaults = builtins.mapAttrs (_: lib.mkDefault);
      memory = {
        device = "tmpfs";
        fsType = "tmpfs";
        options = [ "mode=0755" ];
        neededForBoot = true;
      };
      # What the system finds of an appended cpio (kexec) would go with the initrd.
      keepSeed = root: ''
        if [ -e /nxc/node.json ]; then
          mkdir -p ${root}/nxc
          chmod 700 ${root}/nxc
          (umask 077 && cat /nxc/node.json >${root}/nxc/node.json)
        fi
      '';
      layers = root: [
        "lowerdir=${root}/nix/.ro-store"
        "upperdir=${root}/nix/.rw-store/store"
        "workdir=${root}/nix/.rw-store/work"
      ];
    in
    {
      config = lib.mkMerge [
        {
          boot.initrd.availableKernelModules = modules ++ [ "overlay" ];
          boot.initrd.kernelModules = modules ++ [ "overlay" ];
          fileSystems = {
            "/" = defaults memory;
            "/nix/.rw-store" = defaults memory;
          };
        }
        (lib.mkIf (config.nxc.guest.seed == "cpio") {
          boot.initrd.postMountCommands = lib.mkIf (!bySystemd) (keepSeed "$targetRoot");
        })
        (lib.optionalAttrs (options.boot.initrd ? systemd.services) {
          boot.initrd.systemd.services.nxc-seed = lib.mkIf (bySystemd && config.nxc.guest.seed == "cpio") {
            wantedBy = [ "initrd-fs.target" ];
            before = [
              "initrd-fs.target"
              "shutdown.target"
            ];
            conflicts = [ "shutdown.target" ];
            unitConfig = {
              DefaultDependencies = false;
              RequiresMountsFor = "/sysroot";
            };
            serviceConfig = {
              Type = "oneshot";
              RemainAfterExit = true;
            };
            script = ''
              PATH=/bin:/sbin
              ${keepSeed "/sysroot"}'';
          };
        })
        (lib.mkIf (readOnly != null) {
          fileSystems."/nix/.ro-store" = defaults (readOnly bySystemd // { neededForBoot = true; });
          fileSystems."/nix/store" = lib.mkIf (!bySystemd) (defaults {
            device = "overlay";
            fsType = "overlay";
            options = layers "";
          });
        })
        # Scripted stage 1 makes the upper folders and puts the root before them; systemd does neither.
        (lib.optionalAttrs (options.boot.initrd ? systemd.services) {
          boot.initrd.systemd = lib.mkIf (bySystemd && readOnly != null) {
            services.nxc-store = {
              before = [ "shutdown.target" ];
              conflicts = [ "shutdown.target" ];
              unitConfig = {
                DefaultDependencies = false;
                RequiresMountsFor = "/sysroot/nix/.rw-store";
              };
              serviceConfig = {
                Type = "oneshot";
                RemainAfterExit = true;
                ExecStart = "/bin/mkdir -p -m 0755 /sysroot/nix/.rw-store/store /sysroot/nix/.rw-store/work /sysroot/nix/store";
              };
            };
            mounts = [
              {
                what = "overlay";
                where = "/sysroot/nix/store";
                type = "overlay";
                options = lib.concatStringsSep "," (layers "/sysroot");
                requires = [ "nxc-store.service" ];
                after = [ "nxc-store.service" ];
                wantedBy = [ "initrd-fs.target" ];
                before = [ "initrd-fs.target" ];
                unitConfig.RequiresMountsFor = "/sysroot/nix/.ro-store";
              }
            ];
          };
        })
      ];
    };
}
