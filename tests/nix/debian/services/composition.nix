# PostgreSQL, nginx as a proxy, sockets, timers and path units, on machines that really boot; nothing here needs a kernel.
{ pkgs, lib, ... }:
{
  roles.server =
    { config, ... }:
    {
      services.postgresql = {
        enable = true;
        dataDir = "/srv/pg";
        port = 5433;
        enableTCPIP = true;
        settings = {
          max_connections = 21;
          log_line_prefix = "it's %p: ";
        };
        initdbArgs = [
          "--data-checksums"
          "--username=postgres"
        ];
        authentication = "host app app samenet trust";
        # So that root is the superuser.
        identMap = "postgres root postgres";
        initialScript = pkgs.writeText "first.sql" ''
          CREATE DATABASE first;
          CREATE TABLE starts ();
        '';
        ensureDatabases = [
          "app"
          "odd \"name's"
        ];
        ensureUsers = [
          {
            name = "app";
            ensureDBOwnership = true;
            ensureClauses = {
              createdb = true;
              login = true;
            };
          }
          {
            name = "reader";
            ensurePermissions = {
              "DATABASE first" = "CREATE, CONNECT";
              "ALL TABLES IN SCHEMA public" = "SELECT";
            };
          }
        ];
      };
      users.users.reader = {
        isSystemUser = true;
        group = "postgres";
      };

      services.nginx = {
        enable = true;
        recommendedProxySettings = true;
        upstreams.behind.servers = {
          "127.0.0.1:9" = { };
          "unix:/run/answers" = {
            backup = true;
          };
        };
        virtualHosts.default = {
          default = true;
          locations = {
            "/".proxyPass = "http://behind";
            "/direct/" = {
              proxyPass = "http://unix:/run/answers:/";
              proxyWebsockets = true;
              recommendedProxySettings = false;
            };
          };
        };
      };

      systemd = {
        # As for NixOS before and since 25.05.
        services.postgresql.postStart = lib.mkAfter ''$PSQL -d app -c "CREATE SCHEMA IF NOT EXISTS after"'';
        services.postgresql-setup.script = lib.mkAfter ''psql -d app -c "CREATE SCHEMA IF NOT EXISTS setup"'';

        # One service for each connection.
        sockets.answers = {
          wantedBy = [ "sockets.target" ];
          listenStreams = [ "/run/answers" ];
          socketConfig = {
            ListenStream = "127.0.0.1:7000";
            Accept = true;
            SocketMode = "0666";
          };
        };
        services."answers@" = {
          serviceConfig = {
            StandardInput = "socket";
            ExecStart = pkgs.writeShellScript "answer" ''
              request=
              while IFS= read -r line && [ "$line" != $'\r' ]; do request="$request$line "; done
              printf 'HTTP/1.0 200 OK\r\n\r\n%s' "$request"
            '';
          };
        };

        services.daily = {
          startAt = "daily";
          script = "touch /run/daily";
        };
        timers.daily.timerConfig = {
          OnActiveSec = "1s";
          AccuracySec = "1s";
        };

        paths.seen = {
          wantedBy = [ "multi-user.target" ];
          pathConfig.PathExists = "/run/asked";
        };
        services.seen = {
          script = "touch /run/seen";
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
          };
        };
      };
      environment.systemPackages = [ pkgs.curl ];
      environment.etc.where.text = "${pkgs.postgresql}/bin ${toString config.services.postgresql.settings.port}";
    };

  roles.client.environment.systemPackages = [
    pkgs.curl
    pkgs.postgresql
  ];

  testScript = ''
    start_all()
    server.wait_for_unit("postgresql.service")
    server.wait_for_unit("nginx.service")

    def ask(query, user="postgres", database="postgres"):
        psql = f"sudo -u {user} psql -v ON_ERROR_STOP=1 -p 5433 -d {database} -At"
        return server.succeed(f"cd /; {psql} <<'END'\n{query};\nEND").strip()

    with subtest("the server is ready, and what is ensured is there"):
        assert {"app", "first", "odd \"name's"} <= set(ask("SELECT datname FROM pg_database").splitlines())
        found = ask("""
            SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'app';
            SELECT rolcreatedb, rolcanlogin, rolsuper FROM pg_roles WHERE rolname = 'app';
            SELECT has_database_privilege('reader', 'first', 'CREATE');
            SELECT has_database_privilege('reader', 'app', 'CREATE')
        """)
        assert found.split() == ["app", "t|t|f", "t", "f"], found
        assert ask("SELECT count(*) FROM starts", user="reader") == "0"

    with subtest("settings"):
        found = ask("""
            SHOW max_connections; SHOW log_line_prefix; SHOW data_directory; SHOW data_checksums; SHOW jit
        """)
        assert found.splitlines() == ["21", "it's %p: ", "/srv/pg", "on", "off"], found
        assert server.succeed("psql -U postgres -p 5433 -Atc 'SELECT session_user'").strip() == "postgres"

    with subtest("who may come in"):
        on_server = "psql -h server -p 5433 -w -Atc 'SELECT session_user'"
        assert client.succeed(f"{on_server} -U app -d app").strip() == "app"
        client.fail(f"{on_server} -U app -d first")
        assert "no password supplied" in server.fail("psql -h localhost -p 5433 -w -U app -d first 2>&1")
        assert "Peer authentication failed" in server.fail("psql -p 5433 -U app -d first 2>&1")

    with subtest("other names, and what a role adds to them"):
        server.wait_for_unit("postgresql.target")
        server.wait_for_unit("postgresql-setup.service")
        assert ask("SELECT count(*) FROM pg_namespace WHERE nspname IN ('after', 'setup')", database="app") == "2"

    with subtest("no data but that of first boot, made once"):
        assert server.succeed("ls -A /etc/postgresql /var/lib/postgresql").split() == [
            "/etc/postgresql:", "/var/lib/postgresql:"
        ]
        server.succeed("test ! -e /etc/postgresql-common/createcluster.d")
        ask("CREATE TABLE kept ()", database="app")
        server.succeed("systemctl restart postgresql.service")
        server.wait_for_unit("postgresql-setup.service")
        assert ask("SELECT count(*) FROM kept", database="app") == "0"
        assert server.succeed("cat /etc/where").split()[1] == "5433"
        server.succeed("$(cut -d ' ' -f 1 /etc/where)/pg_isready -p 5433")

    with subtest("nginx passes requests to a socket that starts a service for each"):
        server.wait_for_unit("answers.socket")
        answer = client.succeed("curl -sSf http://server/x")
        assert answer.startswith("GET /x HTTP/1.1"), answer
        assert "Host: server" in answer, answer
        assert "X-Real-IP: " in answer and "X-Forwarded-Proto: http" in answer, answer
        assert "Upgrade: websocket" not in answer, answer
        answer = client.succeed("curl -sSf -H 'Upgrade: websocket' http://server/direct/y")
        assert answer.startswith("GET /y HTTP/1.1"), answer
        assert "Upgrade: websocket" in answer and "Connection: upgrade" in answer, answer
        assert "X-Real-IP" not in answer, answer
        server.succeed("curl -sSf http://127.0.0.1:7000/")

    with subtest("timers and path units"):
        server.wait_for_file("/run/daily")
        assert "OnCalendar=*-*-* 00:00:00" in server.succeed("systemctl show -p TimersCalendar daily.timer")
        server.fail("test -e /run/seen")
        server.succeed("touch /run/asked")
        server.wait_for_file("/run/seen")
  '';
}
