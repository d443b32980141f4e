# Two roles for the tests of what a booted system promises.
{ pkgs, ... }:
let
  greet = pkgs.writeShellScriptBin "greet" ''
    echo "$(cat /run/brick/prepared) greeted" > /run/brick/done
  '';
in
{
  roles = {
    plain =
      { pkgs, ... }:
      {
        environment.systemPackages = [
          pkgs.curl
          pkgs.iperf3 # its package disables its unit, in folders that are empty then
          pkgs.tcpdump
          pkgs.iputils
        ];
      };

    # Does what it can to shut nxc out, and uses most options.
    strict =
      { pkgs, ... }:
      {
        environment.systemPackages = [
          pkgs.python3
          greet
        ];
        environment.variables.NXC_TEST = "variable";
        environment.etc."nxc-test/secret" = {
          text = "hush\n";
          mode = "0600";
        };
        services.openssh = {
          enable = true;
          ports = [ 2222 ];
          settings.PermitRootLogin = "no";
        };
        networking.firewall = {
          enable = true;
          allowedTCPPorts = [ 8080 ];
        };
        users.groups.lab.gid = 4321;
        users.users.alice = {
          isNormalUser = true;
          uid = 1234;
          shell = "/bin/bash";
          extraGroups = [ "lab" ];
          openssh.authorizedKeys.keys = [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKfNOwkEHZ8cN2CrUzXFzGWTQ1cO5kDHMnAPxJO7dGKt alice"
          ];
        };
        systemd.tmpfiles.rules = [ "d /var/lib/brick 0750 alice lab -" ];
        systemd.services.brick = {
          wantedBy = [ "multi-user.target" ];
          path = [ greet ];
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            RuntimeDirectory = "brick";
            RuntimeDirectoryPreserve = true;
          };
          preStart = "echo -n prepared > /run/brick/prepared";
          script = "greet";
        };
        boot.kernel.sysctl."vm.swappiness" = 7;
        boot.kernelModules = [ "dummy" ];
        boot.kernelParams = [ "nxc.test=1" ];
      };
  };
}
