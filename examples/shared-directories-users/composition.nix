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

    # Keeps two folders more, in one of them a place for each member of the team; their homes are the server's.
    storage = {
      nxc.users = team;
      nxc.sharedDirs."/users".server = "server";
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

  testScript = ''
    start_all()

    # Root's file on one machine is seen by all that mount the folder.
    storage.succeed("echo measured > /data/result")
    assert "measured" in client.succeed("cat /data/result")

    # A home is the same wherever its owner logs in, and nobody else's.
    client.succeed("su - ada -c 'echo from the client > ~/note'")
    assert "from the client" in storage.succeed("su - ada -c 'cat ~/note'")
    assert server.succeed("stat -c '%U %a' /users/ada").split() == ["ada", "700"]
    storage.fail("su - grace -c 'cat /users/ada/note'")

    # Both folders of the storage are shared, and what is in them belongs to whom it belongs there.
    client.succeed("su grace -c 'touch /scratch/grace/run'")
    client.fail("su grace -c 'touch /scratch/ada/run'")
    storage.succeed("test -e /scratch/grace/run")
    storage.fail("test -e /data/run")
  '';
}
