{ pkgs, ... }:
let
  # Readable by whoever can read the composition or its image, as everything in it is: good for an experiment.
  k3sToken = "not-a-secret-of-anyone";
in
{
  nodes = {
    server =
      { pkgs, ... }:
      {
        environment.systemPackages = with pkgs; [
          k3s
          gzip
        ];
        networking.firewall.allowedTCPPorts = [ 6443 ];
        services.k3s = {
          enable = true;
          role = "server";
          package = pkgs.k3s;
          extraFlags = "--agent-token ${k3sToken}";
        };
      };

    agent =
      { pkgs, ... }:
      {
        environment.systemPackages = with pkgs; [
          k3s
          gzip
        ];
        services.k3s = {
          enable = true;
          role = "agent";
          serverAddr = "https://server:6443";
          token = k3sToken;
        };
      };
  };

  testScript = ''
    start_all()
    server.wait_for_unit("k3s.service")
    server.wait_for_open_port(6443)
    agent.wait_for_unit("k3s.service")
    # `-w`: a node that is NotReady is not Ready.
    for node in ["server", "agent"]:
        server.wait_until_succeeds(f"k3s kubectl get node {node} --no-headers | grep -w Ready")
  '';
}
