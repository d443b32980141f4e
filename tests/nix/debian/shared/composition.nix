# Shared folders where it is hard: /home itself, odd names, a firewall, a server that comes late. Booted by
# tests/integration/test_examples.py.
let
  users.names = [
    "ada"
    "grace"
  ];
in
{
  roles = {
    server = {
      nxc = {
        inherit users;
        sharedDirs = {
          "/home".export = true;
          "/my data".export = true;
          "/srv/deep/er".export = true;
        };
      };
      networking.firewall.enable = true;
    };
    client = {
      nxc = {
        inherit users;
        sharedDirs = {
          "/home".server = "server";
          "/my data".server = "server";
          "/srv/deep/er".server = "server";
        };
        postBootCommands = ''
          hostname > /run/name
          false
          touch /run/second
        '';
      };
      # A service from which homes are hidden starts without looking into them.
      systemd.services.guarded = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          ProtectHome = true;
          ExecStart = "/bin/sleep infinity";
        };
      };
    };
  };

  testScript = ''
    start_all()
    server.wait_for_unit("nfs-server.service")
    server.succeed("systemctl stop nfs-server")

    # Boot has not waited, nor failed; the commands went on after one that fails.
    client.wait_for_unit("multi-user.target")
    client.wait_for_unit("guarded.service")
    assert client.succeed("cat /run/name; ls /run/second").split() == ["client", "/run/second"]
    client.fail("mount -t nfs4 | grep .")

    # Who looks into a folder waits for its server.
    client.succeed("cat '/my data/note' > /tmp/got 2>&1 </dev/null & disown")
    server.succeed("echo here > '/my data/note'")
    server.succeed("systemctl start nfs-server")
    client.wait_until_succeeds("grep here /tmp/got")

    client.succeed("su - ada -c 'touch ~/mine'")
    assert server.succeed("stat -c '%U %a' /home/ada /home/ada/mine").split() == ["ada", "700", "ada", "644"]
    server.succeed("test -e /home/ada/.profile")
    client.succeed("echo 1 > /srv/deep/er/file")
    server.succeed("test -s /srv/deep/er/file")
  '';
}
