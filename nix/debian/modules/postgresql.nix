# services.postgresql: its options and its configuration. The units are in postgresql-units.nix.
{
  lib,
  config,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.postgresql;
  # Not an alias: a wrong value is to be told with the name that was used, and its file.
  former =
    type: name:
    mkOption {
      inherit type;
      default = cfg.settings.${name};
      description = "Other name of settings.${name}.";
    };
  given =
    name:
    let
      option = options.services.postgresql.${name};
    in
    lib.mkIf (option.highestPrio < (lib.mkOptionDefault null).priority) (
      lib.mkOverride option.highestPrio cfg.${name}
    );

  flag =
    default: description:
    mkOption {
      inherit default description;
      type = types.bool;
    };
  lines =
    description:
    mkOption {
      inherit description;
      type = types.lines;
      default = "";
    };
  texts =
    description:
    mkOption {
      inherit description;
      type = types.listOf types.str;
      default = [ ];
    };
  clause = mkOption {
    type = types.nullOr types.bool;
    default = null;
  };

  user = types.submodule {
    options = {
      name = mkOption { type = types.str; };
      ensurePermissions = mkOption {
        type = types.attrsOf types.str;
        default = { };
      };
      ensureDBOwnership = mkOption {
        type = types.bool;
        default = false;
      };
      ensureClauses = lib.genAttrs [
        "superuser"
        "createrole"
        "createdb"
        "inherit"
        "login"
        "replication"
        "bypassrls"
      ] (_: clause);
    };
  };

  settings = types.submodule {
    freeformType = types.attrsOf (
      types.nullOr (
        types.oneOf [
          types.bool
          types.float
          types.int
          types.str
        ]
      )
    );
    options = {
      port = mkOption {
        type = types.port;
        default = 5432;
      };
      log_line_prefix = mkOption {
        type = types.str;
        default = "[%p] ";
      };
      shared_preload_libraries = mkOption {
        type = types.nullOr (types.coercedTo (types.listOf types.str) (lib.concatStringsSep ",") types.commas);
        default = null;
      };
    };
  };

  # Databases that a user is given something of.
  granted =
    user:
    map (target: named (lib.removePrefix "DATABASE " target)) (
      lib.filter (lib.hasPrefix "DATABASE ") (builtins.attrNames user.ensurePermissions)
    );
  named = name: lib.removePrefix "\"" (lib.removeSuffix "\"" name);
  there =
    name:
    builtins.elem name (
      cfg.ensureDatabases
      ++ [
        "postgres"
        "template0"
        "template1"
      ]
    );
  missing = option: user: name: {
    assertion = there name;
    message = "services.postgresql.ensureUsers: ${option} of `${user.name}' asks for a database `${name}', which is not in services.postgresql.ensureDatabases";
  };
in
{
  imports = [ ./postgresql-units.nix ];

  options.services.postgresql = {
    enable = flag false "Whether the role runs PostgreSQL; its databases are made when the machine first boots.";
    package = mkOption {
      type = types.package;
      default = pkgs.postgresql;
      apply =
        package:
        if package ? psqlSchema then
          package
        else
          throw "nxc: ${lib.concatStringsSep ", " options.services.postgresql.package.files}: services.postgresql.package: `${package.pname or package.name}' is no PostgreSQL server";
      description = "The server: pkgs.postgresql, or by its number if the Debian release has that one.";
    };
    finalPackage = mkOption {
      type = types.package;
      default = cfg.package;
      readOnly = true;
      description = "The same.";
    };
    superUser = mkOption {
      type = types.str;
      default = "postgres";
      readOnly = true;
      description = "Name of the superuser.";
    };
    port = former types.port "port";
    logLinePrefix = former types.str "log_line_prefix";
    dataDir = mkOption {
      type = types.path;
      default = "/var/lib/postgresql/${cfg.package.psqlSchema}";
      description = "Folder of its data; without it, one of its version's in /var/lib/postgresql.";
    };
    enableTCPIP = flag false "Whether it listens on all addresses, rather than on localhost only.";
    enableJIT = flag false "Whether queries are compiled.";
    checkConfig = flag true "Whether its settings are checked when the role is built.";
    settings = mkOption {
      type = settings;
      default = { };
      description = "Settings of postgresql.conf.";
    };
    extraConfig = lines "Lines added to postgresql.conf; its old name for settings.";
    authentication = lines "Lines of pg_hba.conf, before those of NixOS; mkForce replaces these too.";
    identMap = lines "Lines of pg_ident.conf: map, name of the system's user, name of the database's user.";
    initdbArgs = texts "Arguments added to initdb.";
    initialScript = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "SQL run once, when the server first starts, before ensureDatabases and ensureUsers.";
    };
    ensureDatabases = texts "Databases that are made where they are missing.";
    ensureUsers = mkOption {
      type = types.listOf user;
      default = [ ];
      description = "Users that are made where they are missing, and what they may.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = lib.concatMap (
      user:
      lib.optional user.ensureDBOwnership (missing "ensureDBOwnership" user user.name)
      # Its script may make any.
      ++ lib.optionals (cfg.initialScript == null) (
        map (missing "ensurePermissions" user) (granted user)
      )
    ) cfg.ensureUsers;

    services.postgresql = {
      settings = {
        port = given "port";
        log_line_prefix = given "logLinePrefix";
        hba_file = "${pkgs.writeText "pg_hba.conf" cfg.authentication}";
        ident_file = "${pkgs.writeText "pg_ident.conf" cfg.identMap}";
        log_destination = "stderr";
        listen_addresses = if cfg.enableTCPIP then "*" else "localhost";
        jit = lib.mkDefault (if cfg.enableJIT then "on" else "off");
      };
      authentication = lib.mkMerge [
        (lib.mkBefore "# Generated file; do not edit!")
        (lib.mkAfter ''
          # default value of services.postgresql.authentication
          local all postgres         peer map=postgres
          local all all              peer
          host  all all 127.0.0.1/32 md5
          host  all all ::1/128      md5
        '')
      ];
      identMap = lib.mkAfter ''
        postgres postgres postgres
      '';
    };

    users.users.postgres = {
      isSystemUser = true;
      group = "postgres";
      description = "PostgreSQL server user";
      home = cfg.dataDir;
      useDefaultShell = true;
    };
    users.groups.postgres = { };

    environment.systemPackages = [ cfg.package ];
    # In NixOS every system has it, and it is how root becomes this user.
    nxc.debian.packages = [ "sudo" ];
  };
}
