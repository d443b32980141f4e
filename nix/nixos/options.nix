# The options of nxc on NixOS: those that every base has, and what their units find on no other base.
{ lib, config, pkgs, ... }:
let
  # Its name in nixpkgs before 2021.
  utilLinux = pkgs.util-linux or pkgs.utillinux;
in
{
  imports = [ ../options ];

  config.systemd.services = {
    nxc-shared-dirs = lib.mkIf (builtins.any (dir: dir.export) (builtins.attrValues config.nxc.sharedDirs)) {
      path = [ utilLinux ];
    };
    nxc-post-boot =
      lib.mkIf (config.nxc.postBootCommands != "" || config.nxc.sharedDirsBootCommands != "")
        {
          path = [ utilLinux ];
        };
  };
}
