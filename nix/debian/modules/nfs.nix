{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.nfs.server;
  need = need: {
    inherit need;
    option = "services.nfs.server.enable";
  };
in
{
  options.services.nfs.server = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the role exports folders by NFS.";
    };
    exports = mkOption {
      type = types.lines;
      default = "";
      description = "Lines of exports(5).";
    };
    nproc = mkOption {
      type = types.nullOr types.ints.positive;
      default = null;
      description = "Number of server threads.";
    };
    createMountPoints = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the exported folders are made at boot.";
    };
  };

  config = lib.mkIf cfg.enable {
    nxc.needs = [
      (need "kernel")
      (need "mount")
    ];
    nxc.debian.packages = [ "nfs-kernel-server" ];
    nxc.debian.enabledUnits = [ "nfs-server.service" ];
    systemd.services.nfs-server.wantedBy = [ "multi-user.target" ];
    nxc.debian.kernelModules = [ "nfsd" ];
    environment.etc."exports" = {
      mode = "0644";
      text = lib.removeSuffix "\n" cfg.exports + "\n";
    };
    environment.etc."nfs.conf.d/nxc.conf" = lib.mkIf (cfg.nproc != null) {
      mode = "0644";
      text = ''
        [nfsd]
        threads=${toString cfg.nproc}
      '';
    };
    systemd.tmpfiles.rules = lib.mkIf cfg.createMountPoints (
      lib.concatMap (
        line:
        let
          folder = builtins.match "[[:space:]]*(/[^[:space:]]+).*" line;
        in
        lib.optional (folder != null) "d ${builtins.head folder} 0755 root root -"
      ) (lib.splitString "\n" cfg.exports)
    );
  };
}
