{ pkgs, ... }:
{
  roles = {
    database =
      { config, ... }:
      {
        services.postgresql = {
          enable = true;
          enableTCPIP = true;
          # The machines of this deployment need no password.
          authentication = "host visits visits samenet trust";
          # Run once, when the server first starts.
          initialScript = ./schema.sql;
        };

        # Every few seconds, how many visits there were.
        systemd.services.report = {
          requires = [ "postgresql.service" ];
          after = [ "postgresql.service" ];
          path = [ config.services.postgresql.package ];
          script = ''psql -At -c "SELECT count(*) FROM visits" visits > "$STATE_DIRECTORY/visits"'';
          serviceConfig = {
            Type = "oneshot";
            User = "postgres";
            StateDirectory = "report";
          };
        };
        systemd.timers.report = {
          wantedBy = [ "timers.target" ];
          timerConfig = {
            OnActiveSec = "1s";
            OnUnitInactiveSec = "5s";
            AccuracySec = "1s";
          };
        };
      };

    web =
      { pkgs, ... }:
      let
        visits = pkgs.writers.writePython3Bin "visits" {
          libraries = [ pkgs.python3Packages.psycopg2 ];
        } (builtins.readFile ./visits.py);
      in
      {
        services.nginx = {
          enable = true;
          recommendedProxySettings = true;
          upstreams.visits.servers."127.0.0.1:8000" = { };
          virtualHosts.default = {
            default = true;
            locations."/".proxyPass = "http://visits";
          };
        };

        # The first request starts the service.
        systemd.sockets.visits = {
          wantedBy = [ "sockets.target" ];
          listenStreams = [ "127.0.0.1:8000" ];
        };
        systemd.services.visits.serviceConfig = {
          ExecStart = "${visits}/bin/visits";
          User = "visits";
        };
        users = {
          users.visits = {
            isSystemUser = true;
            group = "visits";
          };
          groups.visits = { };
        };
      };

    client =
      { pkgs, ... }:
      {
        environment.systemPackages = [ pkgs.curl ];
      };
  };

  testScript = ''
    start_all()
    database.wait_for_unit("postgresql.service")
    web.wait_for_unit("nginx.service")
    web.fail("systemctl is-active visits.service")
    assert "visit 1 from" in client.succeed("curl -sSf http://web/")
    assert "visit 2 from" in client.succeed("curl -sSf http://web/")
    web.succeed("systemctl is-active visits.service")
    database.wait_until_succeeds("grep -qx 2 /var/lib/report/visits")
  '';
}
