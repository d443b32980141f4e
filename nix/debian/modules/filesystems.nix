{ lib, config, ... }:
let
  inherit (lib) mkOption types;

  fileSystem = types.submodule (
    { name, ... }:
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
        neededForBoot = mkOption {
          type = types.bool;
          default = false;
        };
        noCheck = mkOption {
          type = types.bool;
          default = false;
        };
        depends = mkOption {
          type = types.listOf types.path;
          default = [ ];
        };
      };
    }
  );

  all = builtins.attrValues config.fileSystems;
  # The flavour gives the root and what it boots from.
  ofFlavour = fs: builtins.elem fs.mountPoint [
    "/"
    "/boot"
    "/nix/store"
  ];
  mounted = lib.filter (fs: !ofFlavour fs) all;

  isNfs = fs: builtins.elem fs.fsType [
    "nfs"
    "nfs4"
  ];
  has = prefix: fs: builtins.any (lib.hasPrefix prefix) fs.options;
  # A server may come up minutes later: the mount goes on trying, and boot does not wait for it.
  patient =
    fs:
    lib.filter (option: !builtins.elem option fs.options) [
      "_netdev"
      "nofail"
    ]
    ++ lib.optional (!has "retry=" fs && !has "bg" fs) "retry=10"
    ++ lib.optional (!has "x-systemd.mount-timeout" fs) "x-systemd.mount-timeout=11min";
  options =
    fs:
    let
      given = fs.options ++ map (path: "x-systemd.requires-mounts-for=${toString path}") fs.depends;
    in
    if isNfs fs then lib.filter (option: option != "defaults") given ++ patient fs else given;

  device =
    fs:
    if fs.device != null then
      fs.device
    else if fs.label != null then
      "LABEL=${fs.label}"
    else
      fs.fsType;
  escape = lib.replaceStrings [ " " "\t" ] [ "\\040" "\\011" ];
  line =
    fs:
    lib.concatMapStringsSep " " escape [
      (device fs)
      fs.mountPoint
      fs.fsType
      (lib.concatStringsSep "," (options fs))
    ]
    + " 0 0\n";

  packagesOf =
    fs:
    {
      nfs = [ "nfs-common" ];
      nfs4 = [ "nfs-common" ];
      btrfs = [ "btrfs-progs" ];
      xfs = [ "xfsprogs" ];
      ext4 = [ "e2fsprogs" ];
      vfat = [ "dosfstools" ];
      cifs = [ "cifs-utils" ];
      "fuse.sshfs" = [ "sshfs" ];
      "fuse.bindfs" = [ "bindfs" ];
    }
    .${fs.fsType} or [ ];
in
{
  options.fileSystems = mkOption {
    type = types.attrsOf fileSystem;
    default = { };
    description = "File systems mounted at boot: device, fsType, options.";
  };

  config = lib.mkIf (all != [ ]) {
    warnings = map (fs: "fileSystems.\"${fs.mountPoint}\" has no effect: the flavour gives it") (
      lib.filter ofFlavour all
    );
    nxc.needs = map (fs: {
      need = "mount";
      option = "fileSystems.\"${fs.mountPoint}\"";
    }) mounted;
    nxc.debian.packages = lib.concatMap packagesOf mounted;
    nxc.debian.kernelModules = lib.mkIf (builtins.any isNfs mounted) [ "nfs" ];
    environment.etc."fstab" = lib.mkIf (mounted != [ ]) {
      mode = "0644";
      text = lib.concatMapStrings line mounted;
    };
  };
}
