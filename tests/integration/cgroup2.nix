# Machines with container engines of Debian 13: control groups of version 2 alone, and AppArmor.
{ pkgs, ... }:
let
  # An engine stacks its images, which it cannot do on the stack of layers that is the machine's root.
  inMemory = {
    device = "tmpfs";
    fsType = "tmpfs";
    options = [
      "size=2g"
      "mode=755"
    ];
  };
  apparmor = {
    environment.systemPackages = [ pkgs.apparmor ];
    systemd.services.apparmor.wantedBy = [ "sysinit.target" ];
  };
  docker = [
    pkgs.docker
    pkgs."docker-cli"
    pkgs.docker-compose
    pkgs.iptables
  ];
  podman = [
    pkgs."aardvark-dns"
    pkgs.nftables
    pkgs.podman
  ];
in
{
  roles.docker = {
    imports = [ apparmor ];
    environment.systemPackages = docker;
    fileSystems."/var/lib/docker" = inMemory;
    systemd.services.docker.wantedBy = [ "multi-user.target" ];
  };

  roles.podman = {
    imports = [ apparmor ];
    environment.systemPackages = podman;
    fileSystems."/var/lib/containers" = inMemory;
    systemd.services.podman.wantedBy = [ "multi-user.target" ];
  };

  # Both engines as a user's own, who never logs in.
  roles.rootless = {
    imports = [ apparmor ];
    environment.systemPackages =
      docker
      ++ podman
      ++ [
        pkgs."dbus-user-session"
        pkgs.passt
        pkgs.rootlesskit
        pkgs.slirp4netns
        pkgs.uidmap
      ];
    fileSystems."/home" = inMemory;
    users.users.alice = {
      isNormalUser = true;
      uid = 1000;
    };
    systemd.tmpfiles.rules = [
      "d /home/alice 0700 alice users -"
      "f /var/lib/systemd/linger/alice 0644 root root -"
    ];
    environment.etc = {
      "subuid".text = "alice:100000:65536\n";
      "subgid".text = "alice:100000:65536\n";
      "systemd/user/docker.service".text = ''
        [Service]
        Type=notify
        NotifyAccess=all
        Delegate=yes
        ExecStart=/usr/share/docker.io/contrib/dockerd-rootless.sh
      '';
      "systemd/user/default.target.wants/docker.service".source = "/etc/systemd/user/docker.service";
      "systemd/user/sockets.target.wants/podman.socket".source = "/usr/lib/systemd/user/podman.socket";
    };
  };
}
