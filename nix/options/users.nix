# Users that several roles have in common: the same numbers everywhere, homes below one folder.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.nxc.users;

  # Above what bases give by themselves and what compositions usually say.
  firstUid = 2000;
  numbered = lib.listToAttrs (
    lib.imap0 (i: name: lib.nameValuePair name (firstUid + i)) (lib.unique cfg.names)
  );

  within = folder: path: path == folder || lib.hasPrefix "${folder}/" path;
  mounted = builtins.attrNames (lib.filterAttrs (_: dir: dir.server != "") config.nxc.sharedDirs);
  isMounted = path: builtins.any (folder: within folder path) mounted;
  prefix = lib.removeSuffix "/" cfg.prefixHome;
in
{
  options.nxc.users = {
    names = mkOption {
      type = types.listOf (types.strMatching "[a-z_][a-z0-9_-]{0,31}");
      default = [ ];
      example = [
        "user1"
        "user2"
      ];
      description = "Names of normal users; the first has uid ${toString firstUid}, the next the next, so that roles with the same list agree.";
    };
    prefixHome = mkOption {
      type = types.strMatching "(/[^/[:cntrl:]]+)+/?";
      default = "/home";
      example = "/users";
      description = "Folder of their homes.";
    };
  };

  config = lib.mkIf (cfg.names != [ ]) {
    users.users = builtins.mapAttrs (
      name: uid:
      {
        isNormalUser = true;
        uid = lib.mkDefault uid;
        # Before what isNormalUser says by mkDefault.
        home = lib.mkOverride 900 "${prefix}/${name}";
      }
      # A home on a server is made there, once.
      // lib.optionalAttrs (isMounted "${prefix}/${name}") { createHome = lib.mkOverride 900 false; }
    ) numbered;

    # Whoever makes a home may make the folder above it as private as the home.
    systemd.tmpfiles.rules = lib.mkIf (prefix != "/home" && !isMounted prefix) [
      "d \"${prefix}\" 0755 root root -"
    ];
  };
}
