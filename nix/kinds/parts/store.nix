# Systems in memory over a read-only store, for either stage 1; and what there is to pack of a store.
{ lib }:
{
  toplevels = roles: map (role: role.toplevel) (builtins.attrValues roles);

  # Shell for a builder: fills the folder `root' with what a root file system has before its first boot.
  furnish = closure: ''
    mkdir -p root/{boot,dev,etc,home,proc,run,sys,var} root${builtins.storeDir}
    mkdir -m 700 root/root
    mkdir -m 1777 root/tmp
    cp ${closure}/registration root${builtins.storeDir}/nix-path-registration
    chmod 444 root${builtins.storeDir}/nix-path-registration
  '';

  # Shell for a builder: a tar of `root' and the closure, on standard output. Hard links come and go with the
  # builder's store.
  pack = closure: ''
    sed 's|^/|./|' ${closure}/store-paths >paths
    tar --create --format=gnu --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner --hard-dereference \
      --no-xattrs -C root . -C / --files-from=$PWD/paths'';

  # A module. `readOnly': whether stage 1 is systemd -> the file system of the read-only store.
  overlay =
    { readOnly, modules }:
    {
      config,
      lib,
      options,
      ...
    }:
    let
      bySystemd = config.boot.initrd.systemd.enable or false;
      defaults = builtins.mapAttrs (_: lib.mkDefault);
      layers = root: [
        "lowerdir=${root}/nix/.ro-store"
        "upperdir=${root}/nix/.rw-store/store"
        "workdir=${root}/nix/.rw-store/work"
      ];
      memory = {
        device = "tmpfs";
        fsType = "tmpfs";
        options = [ "mode=0755" ];
        neededForBoot = true;
      };
    in
    {
      config = lib.mkMerge [
        {
          boot.initrd.availableKernelModules = modules ++ [ "overlay" ];
          boot.initrd.kernelModules = modules ++ [ "overlay" ];
          fileSystems = {
            "/" = defaults memory;
            "/nix/.ro-store" = defaults (readOnly bySystemd // { neededForBoot = true; });
            "/nix/.rw-store" = defaults memory;
            # Stage 1 of an initrd without a seed of its own still finds the empty one.
            "/nxc" = lib.mkIf (config.nxc.guest.seed == "cpio") (defaults {
              device = if bySystemd then "/nxc.squashfs" else "../nxc.squashfs";
              fsType = "squashfs";
              options = [ "loop" ];
              neededForBoot = true;
            });
            "/nix/store" = lib.mkIf (!bySystemd) (defaults {
              device = "overlay";
              fsType = "overlay";
              options = layers "";
            });
          };
        }
        # Scripted stage 1 makes the upper folders and puts the root before them; systemd does neither.
        (lib.optionalAttrs (options.boot.initrd ? systemd) {
          boot.initrd.systemd = lib.mkIf bySystemd {
            services.nxc-store = {
              before = [ "shutdown.target" ];
              conflicts = [ "shutdown.target" ];
              unitConfig = {
                DefaultDependencies = false;
                RequiresMountsFor = "/sysroot/nix/.rw-store";
              };
              serviceConfig = {
                Type = "oneshot";
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
