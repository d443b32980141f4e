# An ordinary Debian with sshd, sudo and kexec-tools, that knows nothing of nxc: what machines run before they are nodes.
# Who a machine is comes from outside, as from its administrator: name, host key, keys that may log in, networks.
{ pkgs, ... }:
{
  roles.former = {
    environment.systemPackages = [
      pkgs.kexec-tools
      pkgs.sudo
    ];
    services.openssh.enable = true;
    users.users.lab = {
      isNormalUser = true;
      shell = "/bin/bash";
    };
    environment.etc = {
      "sudoers.d/lab" = {
        text = "lab ALL=(ALL) NOPASSWD: ALL\n";
        mode = "0440";
      };
      # As on machines that are kexec'd by hand: a reboot goes through firmware.
      "default/kexec" = {
        text = "LOAD_KEXEC=false\n";
        mode = "0644";
      };
    };
    systemd.services.former = {
      wantedBy = [ "sysinit.target" ];
      before = [
        "systemd-networkd.service"
        "nxc-ssh-host-keys.service"
        "sysinit.target"
      ];
      unitConfig.DefaultDependencies = false;
      unitConfig.After = "systemd-remount-fs.service";
      serviceConfig.Type = "oneshot";
      script = ''
        given=/sys/firmware/qemu_fw_cfg/by_name/opt/former
        umask 077
        cat $given/host_key/raw > /etc/ssh/ssh_host_ed25519_key
        umask 022
        cat $given/hostname/raw > /etc/hostname
        cat /etc/hostname > /proc/sys/kernel/hostname
        echo "127.0.1.1 $(cat /etc/hostname)" >> /etc/hosts
        echo "nameserver 10.0.2.3" > /etc/resolv.conf
        mkdir -p /etc/ssh/authorized_keys.d /etc/systemd/network
        for user in lab root; do
          cat $given/authorized_keys/raw > /etc/ssh/authorized_keys.d/$user
        done
        for card in $given/*.network; do
          cat $card/raw > /etc/systemd/network/''${card##*/}
        done
        echo "this is an ordinary Debian" > /dev/console
      '';
    };
    systemd.services.systemd-networkd.wantedBy = [ "multi-user.target" ];
  };
}
