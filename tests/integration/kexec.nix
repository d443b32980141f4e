# Two roles for machines that are taken over by kexec.
{ pkgs, ... }:
{
  roles = {
    server =
      { pkgs, ... }:
      {
        environment.etc.greeting.text = "hello from the server\n";
        networking.firewall = {
          enable = true;
          allowedTCPPorts = [ 8080 ];
        };
        systemd.services = pkgs.lib.genAttrs [ "greet8080" "greet8081" ] (name: {
          wantedBy = [ "multi-user.target" ];
          serviceConfig.ExecStart = "/usr/bin/systemd-socket-activate --inetd -a -l ${builtins.substring 5 4 name} /bin/cat /etc/greeting";
        });
      };
    client = {
      environment.etc.role.text = "the client\n";
    };
  };
}
