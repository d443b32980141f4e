# Systems in memory over a read-only store, for either stage 1; and what there is to pack of a store.
{ lib }:
{
  toplevels = roles: map (role: role.toplevel) (builtins.attrValues roles);

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
