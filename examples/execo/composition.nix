{ pkgs, ... }:
let
  bricks = import ./bricks { inherit pkgs; };
in
{
  roles = {
    # Answers the clients' measures.
    server = {
      environment.systemPackages = [
        bricks.describe
        bricks.serve
      ];
    };
    client = {
      environment.systemPackages = [
        bricks.describe
        bricks.measure
      ];
    };
  };

  # experiment.py says how many nodes there are; these are for `nxc up`.
  rolesDistribution.client = 2;

  testScript = ''
    start_all()
    assert '"node": "client1"' in client1.succeed("describe")
    server.succeed("serve >/dev/null 2>&1 &")
    client2.wait_until_succeeds("measure server 1 1 | grep bits_per_second", timeout=60)
  '';
}
