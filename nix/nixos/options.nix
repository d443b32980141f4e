# The options of nxc on NixOS: those that every base has, what their units find on no other base, and what options of
# NixOS ask of a platform.
{
  lib,
  config,
  options,
  pkgs,
  ...
}:
let
  cfg = config.nxc;
  # Its name in nixpkgs before 2021.
  utilLinux = pkgs.util-linux or pkgs.utillinux;
  exports = builtins.any (dir: dir.export) (builtins.attrValues cfg.sharedDirs);
  starts = cfg.postBootCommands != "" || cfg.sharedDirsBootCommands != "";

  # The flavour gives the root, and what it boots from.
  ofNetwork = lib.filter (
    fs:
    builtins.elem fs.fsType [
      "nfs"
      "nfs4"
      "cifs"
      "fuse.sshfs"
    ]
  ) (builtins.attrValues config.fileSystems);
  need = option: need: { inherit need option; };

  # Kernel settings that the role's author set, not NixOS itself: what it sets by itself does not matter in a container.
  inherit (import ../container.nix { inherit lib; }) sysctl;
  settings =
    let
      option = options.boot.kernel.sysctl;
      within = builtins.match "(.*/nixos/modules/).*" (toString (builtins.head option.declarations));
      isOwn = file: within != null && lib.hasPrefix (builtins.head within) (toString file);
      set = lib.zipListsWith (file: definition: lib.optionalAttrs (!isOwn file) definition) option.files option.definitions;
      names = lib.foldl (all: one: all // one) { } set;
    in
    lib.filterAttrs (name: value: names ? ${name} && value != null) config.boot.kernel.sysctl;
in
{
  imports = [ ../options ];

  config = {
    systemd.services = {
      nxc-shared-dirs = lib.mkIf exports { path = [ utilLinux ]; };
      nxc-post-boot = lib.mkIf starts { path = [ utilLinux ]; };
    };

    nxc.needs =
      lib.optionals config.services.nfs.server.enable (
        map (need "services.nfs.server.enable") [
          "kernel"
          "mount"
        ]
      )
      ++ map (fs: need "fileSystems.\"${fs.mountPoint}\"" "mount") ofNetwork
      ++ lib.optional config.networking.firewall.enable (
        need "networking.firewall.enable" "net-admin"
      )
      ++ sysctl.needs settings;
    nxc.container.sysctls = sysctl.own settings;
  };
}
