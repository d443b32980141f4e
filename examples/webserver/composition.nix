{ pkgs, ... }:
{
  roles = {
    server =
      { pkgs, ... }:
      {
        services.nginx = {
          enable = true;
          virtualHosts.default = {
            default = true;
            # This folder travels into the built system.
            root = ./site;
            locations."/status".return = "200 'all is well'";
          };
        };
      };

    client =
      { pkgs, ... }:
      {
        environment.systemPackages = [ pkgs.curl ];
      };
  };

  # One server, and two clients: client1 and client2.
  rolesDistribution = {
    server = 1;
    client = 2;
  };

  testScript = ''
    start_all()
    server.wait_for_unit("nginx.service")
    server.wait_for_open_port(80)
    for client in [client1, client2]:
        assert "Hello from nxc" in client.succeed("curl -sSf http://server/")
    assert "all is well" in client1.succeed("curl -sSf http://server/status")
    client1.fail("curl -sSf http://server/no-such-page")
  '';
}
