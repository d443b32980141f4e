{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.users;

  # A secret in a composition ends up readable in the store, and NixOS' plain passwords need a hash made at boot.
  refused =
    name:
    mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "Refused: use hashedPassword.";
    };
  refusedNames = [
    "password"
    "initialPassword"
    "initialHashedPassword"
    "hashedPasswordFile"
    "passwordFile"
  ];

  user = types.submodule (
    { name, config, ... }:
    {
      options = {
        name = mkOption {
          type = types.strMatching "[a-z_][a-z0-9_-]{0,31}";
          default = name;
        };
        uid = mkOption {
          type = types.nullOr types.int;
          default = null;
        };
        group = mkOption {
          type = types.str;
          default = "";
        };
        extraGroups = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
        isNormalUser = mkOption {
          type = types.bool;
          default = false;
        };
        isSystemUser = mkOption {
          type = types.bool;
          default = false;
        };
        home = mkOption {
          type = types.path;
          default = "/var/empty";
        };
        createHome = mkOption {
          type = types.bool;
          default = false;
        };
        homeMode = mkOption {
          type = types.strMatching "[0-7]{1,5}";
          default = "700";
        };
        shell = mkOption {
          type = types.nullOr (types.either types.package types.path);
          default = "/usr/sbin/nologin";
        };
        useDefaultShell = mkOption {
          type = types.bool;
          default = false;
        };
        description = mkOption {
          type = types.singleLineStr;
          default = "";
        };
        hashedPassword = mkOption {
          type = types.nullOr types.singleLineStr;
          default = null;
        };
        packages = mkOption {
          type = types.listOf types.package;
          default = [ ];
        };
        openssh.authorizedKeys.keys = mkOption {
          type = types.listOf types.singleLineStr;
          default = [ ];
        };
        openssh.authorizedKeys.keyFiles = mkOption {
          type = types.listOf types.path;
          default = [ ];
        };
      }
      // lib.genAttrs refusedNames refused;
      config = lib.mkMerge [
        (lib.mkIf config.isNormalUser {
          group = lib.mkDefault "users";
          createHome = lib.mkDefault true;
          home = lib.mkDefault "/home/${config.name}";
          useDefaultShell = lib.mkDefault true;
          isSystemUser = lib.mkDefault false;
        })
        (lib.mkIf config.useDefaultShell { shell = lib.mkDefault cfg.defaultUserShell; })
      ];
    }
  );

  group = types.submodule (
    { name, ... }:
    {
      options = {
        name = mkOption {
          type = types.strMatching "[a-z_][a-z0-9_-]{0,31}";
          default = name;
        };
        gid = mkOption {
          type = types.nullOr types.int;
          default = null;
        };
        members = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
      };
    }
  );

  users = builtins.attrValues cfg.users;
  keysOf =
    user:
    user.openssh.authorizedKeys.keys
    ++ lib.concatMap (
      file: lib.filter (key: key != "") (lib.splitString "\n" (builtins.readFile file))
    ) user.openssh.authorizedKeys.keyFiles;
  isRoot = user: user.name == "root";

  document = user: {
    inherit (user)
      name
      uid
      extraGroups
      createHome
      hashedPassword
      isSystemUser
      description
      ;
    group = if user.group == "" then null else user.group;
    home = if isRoot user then "/root" else user.home;
    homeMode = user.homeMode;
    shell =
      if isRoot user && user.shell == "/usr/sbin/nologin" then
        "/bin/bash"
      else if lib.isDerivation user.shell then
        "/bin/${user.shell.meta.mainProgram}"
      else
        toString user.shell;
    keys = keysOf user;
  };

  mentioned = lib.unique (
    lib.concatMap (user: user.extraGroups ++ lib.optional (user.group != "") user.group) users
  );
  undeclared = lib.filter (name: !(cfg.groups ? ${name})) mentioned;

  refusals = lib.concatMap (
    user:
    map (name: {
      assertion = user.${name} == null;
      message =
        "users.users.${user.name}.${name} is refused: a password would stand readable in the build; "
        + "use hashedPassword (from `mkpasswd') or openssh.authorizedKeys.keys";
    }) refusedNames
    ++ [
      {
        assertion = user.hashedPassword != "";
        message = "users.users.${user.name}.hashedPassword is empty: anyone could log in; use `!' to lock the account";
      }
      {
        assertion = isRoot user || user.isNormalUser != user.isSystemUser;
        message = "users.users.${user.name}: exactly one of isNormalUser and isSystemUser must be set";
      }
      {
        assertion = isRoot user || user.group != "";
        message = "users.users.${user.name}.group is unset; a system user needs one, as `group = \"${user.name}\";'";
      }
    ]
  ) users;
in
{
  options.users = {
    users = mkOption {
      type = types.attrsOf user;
      default = { };
      description = "Accounts: isNormalUser or isSystemUser, uid, group, extraGroups, home, shell, hashedPassword, keys.";
    };
    groups = mkOption {
      type = types.attrsOf group;
      default = { };
      description = "Groups: gid, members.";
    };
    defaultUserShell = mkOption {
      type = types.either types.path types.package;
      default = "/bin/bash";
      description = "Shell of normal users.";
    };
  };

  options.nxc.debian.accounts = mkOption {
    type = types.attrsOf types.unspecified;
    readOnly = true;
    description = "Users and groups as the builder wants them.";
  };

  config = {
    assertions = refusals;
    nxc.debian.accounts = {
      users = map document users;
      groups =
        builtins.attrValues (builtins.mapAttrs (_: group: { inherit (group) name gid members; }) cfg.groups)
        ++ map (name: {
          inherit name;
          gid = null;
          members = [ ];
        }) undeclared;
    };
    environment.systemPackages = lib.concatMap (
      user: user.packages ++ lib.filter lib.isDerivation [ user.shell ]
    ) users;
    environment.etc = lib.listToAttrs (
      map (user: {
        name = "ssh/authorized_keys.d/${user.name}";
        value = {
          mode = "0444";
          text = lib.concatMapStrings (key: "${key}\n") (keysOf user);
        };
      }) (lib.filter (user: keysOf user != [ ]) users)
    );
  };
}
