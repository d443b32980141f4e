# Roles for the tests of what a container promises; what only a kernel of its own gives is in machines.nix.
{ pkgs, ... }:
{
  roles = {
    # A neighbour without a firewall.
    other = { };

    plain =
      { pkgs, ... }:
      {
        environment.systemPackages = [ pkgs.curl ];
      };

    # Does what it can to shut nxc out.
    strict =
      { pkgs, ... }:
      {
        environment.systemPackages = [ pkgs.python3 ];
        environment.etc."nxc-test/secret" = {
          text = "hush\n";
          mode = "0600";
        };
        services.openssh = {
          enable = true;
          settings.PermitRootLogin = "no";
        };
        networking.firewall = {
          enable = true;
          allowedTCPPorts = [ 8080 ];
        };
        boot.kernel.sysctl."net.ipv4.ip_forward" = 1;
        users.users.alice = {
          isNormalUser = true;
          uid = 1234;
        };
        systemd.tmpfiles.rules = [ "d /var/lib/brick 0750 alice users -" ];
        systemd.services.brick = {
          wantedBy = [ "multi-user.target" ];
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
          };
          script = "echo made > /var/lib/brick/done";
        };
      };
  };
}
