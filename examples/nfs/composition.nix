{ pkgs, ... }:
{
  roles = {
    server = {
      services.nfs.server = {
        enable = true;
        exports = ''
          /srv/shared *(rw,no_subtree_check,no_root_squash,fsid=0)
        '';
      };
      # In memory, since the root of a machine that was booted from memory cannot be exported. For the same reason the
      # folder is itself the root of what NFS shows (fsid=0): the folders above it cannot be.
      fileSystems."/srv/shared" = {
        device = "tmpfs";
        fsType = "tmpfs";
        options = [ "mode=1777" ];
      };
      networking.firewall = {
        enable = true;
        allowedTCPPorts = [ 2049 ];
      };
    };

    client = {
      fileSystems."/mnt/shared" = {
        device = "server:/";
        fsType = "nfs";
      };
    };
  };

  rolesDistribution = {
    client = 2;
  };

  testScript = ''
    start_all()
    server.wait_for_unit("nfs-server.service")
    for client in [client1, client2]:
        client.wait_until_succeeds("mountpoint -q /mnt/shared")
    client1.succeed("echo written by client1 > /mnt/shared/note")
    assert "written by client1" in client2.succeed("cat /mnt/shared/note")
    server.succeed("grep -q client1 /srv/shared/note")
  '';
}
