# Folders of one machine that others mount.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.nxc.sharedDirs;

  # Containers share the host's kernel and have no NFS of their own: there the platform mounts the folders, and
  # config.nxc.sharedDirs tells it which.
  byNfs = config.nxc.guest.kernel or true;

  exported = builtins.attrNames (lib.filterAttrs (_: dir: dir.export) cfg);
  mounted = lib.filterAttrs (_: dir: dir.server != "") cfg;
  serves = exported != [ ];
  mounts = mounted != { };

  # What NFS shows as its root: clients see /users as SERVER:/users, whatever the folders lie on.
  root = "/run/nxc-exports";
  exportLines =
    ''
      ${root} *(ro,no_subtree_check,fsid=0)
    ''
    + lib.concatStrings (
      lib.imap1 (i: path: ''
        "${root}${path}" *(rw,no_subtree_check,no_root_squash,fsid=${toString (7800 + i)})
      '') exported
    );

  within = folder: path: path == folder || lib.hasPrefix "${folder}/" path;
  isExported = path: builtins.any (folder: within folder path) exported;
  homes = lib.filter (user: isExported user.home) (
    map (name: config.users.users.${name}) (lib.unique config.nxc.users.names)
  );

  # Parents sort before what is in them.
  prepare = lib.concatMapStrings (path: "prepare ${lib.escapeShellArg path}\n") exported;
  show = lib.concatMapStrings (path: "show ${lib.escapeShellArg path}\n") exported;
  makeHomes = lib.concatMapStrings (
    user: "make_home ${lib.escapeShellArgs [ user.name user.home (user.homeMode or "700") ]}\n"
  ) homes;

  isPath = path: builtins.match "(/[^/\"\\\\[:cntrl:]]+)+" path != null;
  isClean = path: isPath path && !builtins.any (part: part == "." || part == "..") (lib.splitString "/" path);
  quoted = path: "nxc.sharedDirs.\"${path}\"";
in
{
  options.nxc.sharedDirs = mkOption {
    type = types.attrsOf (
      types.submodule {
        options = {
          export = mkOption {
            type = types.bool;
            default = false;
            description = "Whether this machine gives the folder to the others.";
          };
          server = mkOption {
            type = types.strMatching "([A-Za-z0-9][A-Za-z0-9_.-]*)?";
            default = "";
            example = "server";
            description = "The machine that gives it, where this one mounts it.";
          };
        };
      }
    );
    default = { };
    example = {
      "/users".export = true;
      "/data".server = "storage";
    };
    description = "Folders shared between machines, by path: exported by one, mounted from it by others at first use.";
  };

  config = lib.mkMerge [
    {
      assertions = lib.concatMap (path: [
        {
          assertion = isClean path;
          message = "${quoted path}: a shared folder is an absolute path, without `..', a slash at the end, quotes or backslashes";
        }
        {
          assertion = !(cfg.${path}.export && cfg.${path}.server != "");
          message = "${quoted path}: a machine either exports a folder or mounts it from a server";
        }
      ]) (builtins.attrNames cfg);
      warnings =
        map (path: "${quoted path} has no effect: neither `export' nor `server' is set") (
          builtins.attrNames (lib.filterAttrs (_: dir: !dir.export && dir.server == "") cfg)
        )
        ++
          lib.optional (serves && byNfs && lib.removeSuffix "\n" config.services.nfs.server.exports != lib.removeSuffix "\n" exportLines)
            "services.nfs.server.exports: clients of NFS 4 reach only what is below the root that nxc.sharedDirs exports (${root}, fsid=0)";
    }

    (lib.mkIf serves {
      systemd.services.nxc-shared-dirs = {
        description = "Folders of nxc.sharedDirs";
        wantedBy = [ "sysinit.target" ];
        requiredBy = lib.mkIf byNfs [ "nfs-server.service" ];
        before = [
          "nfs-server.service"
          "sysinit.target"
          "shutdown.target"
        ];
        conflicts = [ "shutdown.target" ];
        after = [
          "local-fs.target"
          "systemd-tmpfiles-setup.service"
        ];
        unitConfig.DefaultDependencies = false;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
        };
        script = ''
          # The root of a machine that was booted from memory may be an overlay, which the kernel does not export.
          prepare() {
            mkdir -p "$1"
            [ "$(stat -f -c %T "$1")" = overlayfs ] || return 0
            mkdir -p ${root}.new
            mount -t tmpfs -o mode=0755 nxc-shared ${root}.new
            cp -a "$1/." ${root}.new/
            mount --bind ${root}.new "$1"
            umount ${root}.new
          }

          show() {
            mkdir -p "${root}$1"
            mountpoint -q "${root}$1" || mount --bind "$1" "${root}$1"
          }

          # make_home USER HOME MODE: where the base has not made it, or made it below what is mounted now.
          make_home() {
            [ ! -e "$2" ] || return 0
            mkdir -p "$2"
            [ ! -d /etc/skel ] || cp -rT /etc/skel "$2"
            chown -R "$1:" "$2"
            chmod "$3" "$2"
          }

          ${lib.optionalString byNfs prepare}${makeHomes}${lib.optionalString byNfs show}'';
      };
    })

    (lib.mkIf (serves && byNfs) {
      services.nfs.server.enable = true;
      services.nfs.server.exports = exportLines;
      networking.firewall.allowedTCPPorts = [ 2049 ];
    })

    (lib.mkIf (mounts && byNfs) {
      # Mounted when first used, so that boot waits for no server, and whoever looks into the folder does.
      fileSystems = builtins.mapAttrs (path: dir: {
        device = "${dir.server}:${path}";
        fsType = "nfs";
        options = [
          "nfsvers=4.2"
          "_netdev"
          "nofail"
          "retry=10"
          "x-systemd.automount"
          "x-systemd.mount-timeout=11min"
        ];
      }) mounted;
    })

    {
      nxc.needs = lib.mkBefore (
        map (path: {
          need = if byNfs then "kernel" else "shared-dirs";
          option = quoted path;
        }) (exported ++ builtins.attrNames mounted)
      );
    }
  ];
}
