# Users and groups, as the activation writes them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  orNull =
    type:
    mkOption {
      type = types.nullOr type;
      default = null;
    };
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };
  user =
    { name, config, ... }:
    {
      options = {
        name = mkOption {
          type = types.str;
          default = name;
        };
        description = mkOption {
          type = types.str;
          default = "";
        };
        uid = orNull types.int;
        isNormalUser = flag false;
        isSystemUser = flag false;
        createHome = flag false;
        group = mkOption {
          type = types.str;
          default = "";
        };
        extraGroups = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
        home = mkOption {
          type = types.path;
          default = "/var/empty";
        };
        shell = mkOption {
          type = types.either types.package types.str;
          default = pkgs.bash;
          apply = shell: if lib.isDerivation shell then "${shell}/bin/bash" else shell;
        };
        password = orNull types.str;
        hashedPassword = orNull types.str;
        initialPassword = orNull types.str;
        initialHashedPassword = orNull types.str;
        openssh.authorizedKeys = {
          keys = mkOption {
            type = types.listOf types.str;
            default = [ ];
          };
          keyFiles = mkOption {
            type = types.listOf types.path;
            default = [ ];
          };
        };
      };
      config = lib.mkIf config.isNormalUser {
        group = lib.mkDefault "users";
        createHome = lib.mkDefault true;
        home = lib.mkDefault "/home/${config.name}";
      };
    };
  group =
    { name, ... }:
    {
      options = {
        name = mkOption {
          type = types.str;
          default = name;
        };
        gid = orNull types.int;
        members = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
      };
    };
  all = lib.attrValues config.users.users;
  # Whoever asks for no number gets one by the place of the name.
  numbers = builtins.listToAttrs (
    lib.imap0 (index: name: {
      inherit name;
      value = 1000 + index;
    }) (lib.attrNames config.users.users ++ lib.attrNames config.users.groups)
  );
  numberOf = entry: number: toString (if number == null then numbers.${entry.name} else number);
  lines = fields: lib.concatMapStrings (entry: "${lib.concatStringsSep ":" (fields entry)}\n");
  groupOf = user: config.users.groups.${user.group} or config.users.groups.nogroup;
in
{
  options = {
    users = {
      mutableUsers = flag true;
      allowNoPasswordLogin = flag false;
      users = mkOption {
        type = types.attrsOf (types.submodule user);
        default = { };
      };
      groups = mkOption {
        type = types.attrsOf (types.submodule group);
        default = { };
      };
    };
    security.polkit.enable = flag false;
    security.sudo.enable = flag true;
  };
  config = {
    users.users = {
      root = {
        uid = 0;
        description = "System administrator";
        home = "/root";
        group = "root";
      };
      nobody = {
        uid = 65534;
        isSystemUser = true;
        group = "nogroup";
      };
    };
    users.groups = {
      root.gid = 0;
      users.gid = 100;
      nogroup.gid = 65534;
    };
    environment.etc = lib.mkMerge (
      [
        {
          passwd = {
            mode = "0644";
            text = lines (user: [
              user.name
              "x"
              (numberOf user user.uid)
              (numberOf (groupOf user) (groupOf user).gid)
              user.description
              user.home
              user.shell
            ]) all;
          };
          group = {
            mode = "0644";
            text = lines (group: [
              group.name
              "x"
              (numberOf group group.gid)
              (lib.concatStringsSep "," group.members)
            ]) (lib.attrValues config.users.groups);
          };
          shadow = {
            mode = "0600";
            text = lines (user: [
              user.name
              (if user.hashedPassword == null then "!" else user.hashedPassword)
              "1::::::"
            ]) all;
          };
        }
      ]
      ++ map (
        user:
        lib.mkIf (user.openssh.authorizedKeys.keys != [ ]) {
          "ssh/authorized_keys.d/${user.name}".text = lib.concatMapStrings (
            key: "${key}\n"
          ) user.openssh.authorizedKeys.keys;
        }
      ) all
    );
  };
}
