# One whole root file system with the systems of all roles, as Kadeploy unpacks it. Each boot image lies in it at
# /boot/IMAGE/kernel and /boot/IMAGE/initrd.
{ lib }:
let
  boot = import ./parts/boot.nix { inherit lib; };
  store = import ./parts/store.nix { inherit lib; };
in
{
  module =
    { config, lib, ... }:
    let
      bySystemd = config.boot.initrd.systemd.enable or false;
      defaults = builtins.mapAttrs (_: lib.mkDefault);
    in
    {
      config = lib.mkIf config.nxc.guest.kernel {
        # Scripted stage 1 makes /dev/root of the word root=, which Kadeploy adds. systemd is told root=fstab by NixOS,
        # so that Kadeploy adds nothing; its partition goes by this name.
        fileSystems."/" = defaults {
          device = if bySystemd then "/dev/disk/by-partlabel/DEPLOY" else "/dev/root";
          fsType = "ext4";
        };
        # Kadeploy wants port 22 open and port 25300 refused, not silent.
        services.openssh.enable = lib.mkDefault true;
        networking.firewall.rejectPackets = lib.mkDefault true;
      };
    };

  image =
    {
      pkgs,
      roles,
      guest,
      name,
    }:
    let
      closure = pkgs.closureInfo { rootPaths = store.toplevels roles; };
      images = boot.images {
        inherit
          pkgs
          roles
          name
          ;
      };
      tarball =
        pkgs.runCommand "${name}-system.tar.zst"
          {
            nativeBuildInputs = [
              pkgs.gnutar
              pkgs.zstd
            ];
          }
          ''
            ${store.furnish closure}
            ${lib.concatStrings (
              lib.mapAttrsToList (image: files: ''
                mkdir root/boot/${image}
                cp ${files.kernel} ${files.initrd} root/boot/${image}/
              '') images
            )}
            ${store.pack closure} | zstd -T0 -9 -q -o $out
          '';
    in
    {
      boot = images;
      roles = boot.describe roles;
      # One file for all.
      files = lib.mapAttrs' (role: _: lib.nameValuePair "${role}.tar" "${tarball}") roles;
    };
}
