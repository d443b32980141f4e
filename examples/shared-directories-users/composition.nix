let
  # The same list in every role gives the same numbers, which is what NFS goes by.
  team = {
    names = [
      "ada"
      "grace"
    ];
    prefixHome = "/users";
  };
in
{
  roles = {
    # Keeps the homes.
    server = {
      nxc.users = team;
      nxc.sharedDirs."/users".export = true;
    };

    # Keeps two folders more, with a place for each member of the team in one of them.
    storage = {
      nxc.users = team;
      nxc.sharedDirs."/data".export = true;
      nxc.sharedDirs."/scratch".export = true;
      nxc.postBootCommands = ''
        for name in ${toString team.names}; do
          install -d -o "$name" /scratch/"$name"
        done
      '';
    };

    client = {
      nxc.users = team;
      nxc.sharedDirs."/users".server = "server";
      nxc.sharedDirs."/data".server = "storage";
      nxc.sharedDirs."/scratch".server = "storage";
    };
  };

  rolesDistribution = {
    client = 2;
  };

  testScript = ''
    start_all()

    # Root's file on one machine is seen by all that mount the folder.
    storage.succeed("echo measured > /data/result")
    for client in [client1, client2]:
        assert "measured" in client.succeed("cat /data/result")

    # A home is the same wherever its owner logs in, and nobody else's.
    client1.succeed("su - ada -c 'echo from client1 > ~/note'")
    assert "from client1" in client2.succeed("su - ada -c 'cat ~/note'")
    assert server.succeed("stat -c '%U %a' /users/ada").split() == ["ada", "700"]
    client2.fail("su - grace -c 'cat /users/ada/note'")

    # Both folders of the storage are writable by whom they belong to.
    client1.succeed("su grace -c 'touch /scratch/grace/run'")
    client1.fail("su grace -c 'touch /scratch/ada/run'")
    storage.succeed("test -e /scratch/grace/run")
    storage.fail("test -e /data/run")
  '';
}
