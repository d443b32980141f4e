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
