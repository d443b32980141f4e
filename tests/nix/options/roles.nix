# One role per promise of nxc's own options; tests/unit/test_nix_options.py says what each must give.
{
  roles = {
    silent = { };

    several.nxc.sharedDirs = {
      "/users".export = true;
      "/users/deep".export = true;
      "/with space's".export = true;
    };

    homes = {
      nxc.users = {
        names = [
          "ada"
          "grace"
        ];
        prefixHome = "/users";
      };
      nxc.sharedDirs."/users".export = true;
      users.users.grace.uid = 4242;
    };

    visitor = {
      nxc.users = {
        names = [
          "ada"
          "grace"
          "ada"
        ];
        prefixHome = "/users/";
      };
      nxc.sharedDirs."/users".server = "server";
      nxc.sharedDirs."/my data".server = "storage.local";
    };

    elsewhere = {
      nxc.users.names = [ "ada" ];
      nxc.sharedDirs."/users".server = "server";
      users.users.ada.home = "/srv/ada";
    };

    starting.nxc = {
      sharedDirsBootCommands = "echo first";
      postBootCommands = "echo second";
    };

    contained = {
      nxc.container = {
        ports = [
          80
          "8443:443"
          "127.0.0.1:5353:53/udp"
          "[::1]:9000-9010:9000-9010"
        ];
        volumes = [
          "/data:/data:ro"
          "cache:/var/cache"
        ];
        memory = "512m";
        cpus = 1.5;
        pids = 500;
      };
    };

    tuned =
      { lib, ... }:
      {
        boot.kernel.sysctl = {
          "net.ipv4.ip_forward" = true;
          "net/ipv4/conf/eth0.5/forwarding" = false;
          "net.core.somaxconn" = lib.mkDefault 4096;
          "net.core.rmem_max" = 1;
          "kernel.sem" = "250 32000 32 128";
          "kernel.semaphores" = 1;
          "kernel.shmmax" = 1024;
          "fs.mqueue.msg_max" = 20;
          "vm.swappiness" = 10;
          "kernel.kptr_restrict" = lib.mkForce 2;
          "kernel.panic" = null;
        };
      };

    asking.nxc = {
      wait-online.enable = true;
      root-sshKeys.enable = true;
      baseBootCommands.enable = false;
      qemu-script.enable = true;
    };

    usual.nxc = {
      wait-online.enable = false;
      baseBootCommands.enable = true;
    };

    wrong.nxc.sharedDirs = {
      "relative".export = true;
      "/".export = true;
      "/up/../etc".export = true;
      "/slash/".export = true;
      "/quote\"".export = true;
      "/both" = {
        export = true;
        server = "other";
      };
      "/neither" = { };
    };

    mixed = {
      nxc.sharedDirs."/users".export = true;
      services.nfs.server.exports = "/srv *(rw)";
    };
  };
}
