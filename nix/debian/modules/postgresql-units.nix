# services.postgresql: how it starts. Its data is made at first boot, so that no layer has any.
{
  lib,
  config,
  options,
  pkgs,
  ...
}:
let
  cfg = config.services.postgresql;

  toText =
    value:
    if value == true then
      "yes"
    else if value == false then
      "no"
    else if builtins.isString value then
      "'${lib.replaceStrings [ "'" ] [ "''" ] value}'"
    else
      toString value;
  configuration = pkgs.writeTextDir "postgresql.conf" (
    lib.concatStrings (
      lib.mapAttrsToList (name: value: "${name} = ${toText value}\n") (
        lib.filterAttrs (_: value: value != null) cfg.settings
      )
    )
    + cfg.extraConfig
  );
  # Named so that a wrong setting's error names the option.
  checked = pkgs.runCommand "services.postgresql.settings" { } ''
    if ! said=$(${cfg.package}/bin/postgres -C config_file -D ${configuration} 2>&1 > /dev/null); then
      sed -e '/skipping missing/d' -e 's/^[^]]*] //' -e 's/ in file ".*//' -e 's/ file "[^"]*"//' >&2 <<< "$said"
      exit 1
    fi
    mkdir "$out"
    ln -s ${configuration}/postgresql.conf "$out"
  '';
  configFile = "${if cfg.checkConfig then checked else configuration}/postgresql.conf";

  script =
    let
      given = cfg.initialScript;
      refuse =
        what:
        throw "nxc: ${lib.concatStringsSep ", " options.services.postgresql.initialScript.files}: services.postgresql.initialScript: ${toString given} ${what}";
    in
    # Of a path outside the project Nix itself says what is wrong; a text is a file on the machine.
    if !builtins.isPath given then
      "${given}"
    else if !builtins.pathExists given && builtins.pathExists (dirOf given) then
      refuse "does not exist"
    else if builtins.pathExists given && (builtins.readDir (dirOf given)).${baseNameOf given} == "directory" then
      refuse "is a folder, not a file of SQL"
    else
      "${given}";

  literal = name: "'${lib.replaceStrings [ "'" ] [ "''" ] name}'";
  identifier = name: "\"${lib.replaceStrings [ "\"" ] [ "\"\"" ] name}\"";
  made = what: name: table: column: ''
    SELECT format('CREATE ${what} %I', ${literal name}) WHERE NOT EXISTS (SELECT FROM ${table} WHERE ${column} = ${literal name}) \gexec
  '';
  clauses =
    user:
    lib.mapAttrsToList (name: value: if value then name else "no${name}") (
      lib.filterAttrs (_: value: value != null) user.ensureClauses
    );
  ensure = pkgs.writeText "postgresql-ensure.sql" (
    lib.concatMapStrings (name: made "DATABASE" name "pg_database" "datname") cfg.ensureDatabases
    + lib.concatMapStrings (
      user:
      made "USER" user.name "pg_roles" "rolname"
      + lib.optionalString (
        clauses user != [ ]
      ) "ALTER ROLE ${identifier user.name} ${lib.concatStringsSep " " (clauses user)};\n"
      + lib.concatStrings (
        lib.mapAttrsToList (
          target: permission: "GRANT ${permission} ON ${target} TO ${identifier user.name};\n"
        ) user.ensurePermissions
      )
      + lib.optionalString user.ensureDBOwnership "ALTER DATABASE ${identifier user.name} OWNER TO ${identifier user.name};\n"
    ) cfg.ensureUsers
  );

  usual = "/var/lib/postgresql/${cfg.package.psqlSchema}";
in
{
  config = lib.mkIf cfg.enable {
    systemd.tmpfiles.rules = lib.mkIf (cfg.dataDir != usual) [
      "d ${cfg.dataDir} 0750 postgres postgres -"
    ];

    systemd.services.postgresql = {
      description = "PostgreSQL Server";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      environment.PGDATA = cfg.dataDir;
      path = [ cfg.package ];

      # One sync at the end, rather than one for each of a thousand files.
      preStart = ''
        if ! test -e "$PGDATA/PG_VERSION"; then
          rm -f "$PGDATA"/*.conf
          initdb -U ${cfg.superUser} --no-sync ${lib.escapeShellArgs cfg.initdbArgs}
          touch "$PGDATA/.first_startup"
          sync -f "$PGDATA"
        fi
        ln -sfn ${configFile} "$PGDATA/postgresql.conf"
      '';

      # The unit is active when this has ended.
      postStart = ''
        PSQL="psql --port=${toString cfg.settings.port}"
        while ! $PSQL -d postgres -c "" 2> /dev/null; do
          if ! kill -0 "$MAINPID"; then exit 1; fi
          sleep 0.1
        done
        if test -e "$PGDATA/.first_startup"; then
          ${lib.optionalString (cfg.initialScript != null) ''$PSQL -d postgres -f "${script}"''}
          rm -f "$PGDATA/.first_startup"
        fi
        $PSQL -d postgres --quiet -v ON_ERROR_STOP=1 -f ${ensure}
      '';

      unitConfig.RequiresMountsFor = cfg.dataDir;
      serviceConfig = {
        Type = "notify";
        ExecStart = "${cfg.package}/bin/postgres";
        ExecReload = "/bin/kill -HUP $MAINPID";
        User = "postgres";
        Group = "postgres";
        RuntimeDirectory = "postgresql";
        KillSignal = "SIGINT";
        KillMode = "mixed";
        UMask = "0027";
        # Longer than NixOS has it: an emulated machine takes its time to make a cluster.
        TimeoutSec = 600;
      }
      // lib.optionalAttrs (cfg.dataDir == usual) {
        StateDirectory = "postgresql postgresql/${cfg.package.psqlSchema}";
        StateDirectoryMode = "0750";
      };
    };

    # What newer NixOS has beside the service, for those who wait for it or add to it.
    systemd.services.postgresql-setup = {
      description = "PostgreSQL Setup Scripts";
      wantedBy = [ "postgresql.service" ];
      requires = [ "postgresql.service" ];
      after = [ "postgresql.service" ];
      environment.PGPORT = cfg.settings.port;
      path = [ cfg.package ];
      script = ":";
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        User = "postgres";
        Group = "postgres";
      };
    };
    systemd.targets.postgresql = {
      description = "PostgreSQL";
      wantedBy = [ "postgresql.service" ];
      requires = [
        "postgresql.service"
        "postgresql-setup.service"
      ];
    };
  };
}
