# Two roles for what systemd-nspawn gives and control groups limit. @here@ is a folder of the test.
{ pkgs, ... }:
{
  roles = {
    limited = {
      nxc.container = {
        memory = "96m";
        cpus = 0.5;
        pids = 50;
        volumes = [
          "@here@/data:/data"
          "@here@/data:/in the way/read:ro"
          "shared:/shared"
        ];
      };
      boot.kernel.sysctl = {
        "net.ipv4.ip_forward" = 1;
        "kernel.shmmax" = 123456;
      };
    };
    web = {
      nxc.container.volumes = [ "shared:/shared" ];
      services.nginx = {
        enable = true;
        virtualHosts.default = {
          default = true;
          locations."/".return = "200 'from the node'";
        };
      };
    };
  };
}
