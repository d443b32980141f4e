# One role per group of options; tests/unit/test_nix_services.py says what each must give.
{ pkgs, lib, ... }:
{
  roles = {
    plain.services.postgresql.enable = true;

    database =
      { config, ... }:
      {
        services.postgresql = {
          enable = true;
          package = pkgs.postgresql_15;
          settings = {
            port = 5433;
            max_connections = 10;
            autovacuum = false;
            wal_level = null;
            application_name = "it's";
            shared_preload_libraries = [
              "a"
              "b"
            ];
          };
          extraConfig = "work_mem = '5MB'\n";
          logLinePrefix = "%m ";
          enableTCPIP = true;
          enableJIT = true;
          dataDir = "/srv/pg";
          initdbArgs = [ "--locale=de DE" ];
          initialScript = ./file;
          authentication = "host all all samenet trust";
          identMap = "postgres root postgres";
          ensureDatabases = [ "o'x\"" ];
          ensureUsers = [
            {
              name = "o'x\"";
              ensureDBOwnership = true;
              ensureClauses = {
                createdb = true;
                login = false;
              };
              ensurePermissions."DATABASE later" = "ALL PRIVILEGES";
            }
          ];
        };
        environment.etc.x.text = "${toString config.services.postgresql.port} ${lib.getExe pkgs.postgresql}";
      };

    own.services.postgresql = {
      enable = true;
      authentication = lib.mkForce "local all all trust";
      checkConfig = false;
    };

    astray.services.postgresql = {
      enable = true;
      ensureDatabases = [ "there" ];
      ensureUsers = [
        {
          name = "owner";
          ensureDBOwnership = true;
        }
        {
          name = "user";
          ensurePermissions = {
            "DATABASE there" = "ALL PRIVILEGES";
            "DATABASE \"astray\"" = "ALL PRIVILEGES";
            "ALL TABLES IN SCHEMA public" = "SELECT";
          };
        }
      ];
    };

    # A script may make any database.
    scripted.services.postgresql = {
      enable = true;
      initialScript = "/run/made/by/hand.sql";
      ensureUsers = [
        {
          name = "user";
          ensurePermissions."DATABASE scripted" = "ALL PRIVILEGES";
        }
      ];
    };

    proxy.services.nginx = {
      enable = true;
      recommendedProxySettings = true;
      proxyTimeout = "7s";
      proxyResolveWhileRunning = true;
      resolver = {
        addresses = [ "10.0.0.1" ];
        valid = "5s";
        ipv6 = false;
      };
      upstreams.behind = {
        servers = {
          "a:1".weight = 3;
          "unix:/run/b" = {
            backup = true;
          };
        };
        extraConfig = "keepalive 4;";
      };
      virtualHosts.x.locations = {
        "/".proxyPass = "http://behind";
        "/ws" = {
          proxyPass = "http://c:2/";
          proxyWebsockets = true;
          recommendedProxySettings = false;
        };
        "/here".root = "/srv";
      };
    };

    unproxied.services.nginx = {
      enable = true;
      proxyResolveWhileRunning = true;
      upstreams.empty = { };
      virtualHosts.x.locations."/".proxyPass = "http://behind";
    };

    units = {
      imports = [
        {
          systemd.services.both = {
            startAt = "hourly";
            script = "true";
            serviceConfig.ExecStartPre = [ "/bin/a" ];
            unitConfig.ConditionPathExists = lib.mkAfter [ "/last" ];
          };
        }
      ];
      systemd = {
        services.both = {
          startAt = [
            "daily"
            "weekly"
          ];
          serviceConfig.ExecStartPre = "/bin/b";
          unitConfig.ConditionPathExists = [ "/first" ];
        };
        timers.both = {
          wantedBy = [ "other.target" ];
          timerConfig = {
            OnCalendar = "yearly";
            Persistent = true;
          };
        };
        services.never = {
          enable = false;
          startAt = "daily";
        };
        sockets.answer = {
          wantedBy = [ "sockets.target" ];
          listenStreams = [ "/run/answer" ];
          listenDatagrams = [ "53" ];
          socketConfig = {
            ListenStream = "80";
            Accept = true;
          };
        };
        services."answer@".serviceConfig.ExecStart = "/bin/cat";
        targets.more.wants = [ "answer@7.service" ];
        paths.seen.pathConfig = {
          PathExists = [
            "/a"
            "/b"
          ];
          Unit = "both.service";
        };
      };
    };
  };
}
