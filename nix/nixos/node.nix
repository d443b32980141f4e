# Makes a machine the node that its node.json says, and gives nxc its own way in: ../guest, fitted to NixOS.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkDefault mkIf;
  inherit (config.nxc) guest;
  compat = import ./compat.nix { inherit lib options pkgs; };

  programs = lib.makeBinPath [
    pkgs.coreutils
    pkgs.gnugrep
    pkgs.gnused
    compat.iproute2
    pkgs.jq
    pkgs.kmod
  ];
  # Where NixOS has a user's programs; without PAM nothing else tells a shell that is not bash.
  searched = lib.concatStringsSep ":" [
    "/run/wrappers/bin"
    "/root/.nix-profile/bin"
    "/etc/profiles/per-user/root/bin"
    "/nix/var/nix/profiles/default/bin"
    "/run/current-system/sw/bin"
  ];
  openssh = config.programs.ssh.package or pkgs.openssh;

  # Each file on its own: the others beside them are not part of any system.
  node = pkgs.runCommand "nxc-node" { } ''
    mkdir -p $out/lib/nxc $out/lib/systemd/system
    sed 's|^export PATH=|&${programs}:|' ${../guest/nxc-node} >$out/lib/nxc/nxc-node
    grep -q '^export PATH=${programs}:' $out/lib/nxc/nxc-node
    chmod 755 $out/lib/nxc/nxc-node
    cp ${../guest/common.sh} $out/lib/nxc/common.sh
    cp ${../guest/node.jq} $out/lib/nxc/node.jq
    sed "s|/usr/lib/nxc/|$out/lib/nxc/|" ${../guest/nxc-node.service} >$out/lib/systemd/system/nxc-node.service
    ${lib.optionalString (guest.kernel && guest.seed == "cpio") ''
      sed 's|^export PATH=|&${programs}:|' ${../guest/nxc-dhcp} >$out/lib/nxc/nxc-dhcp
      grep -q '^export PATH=${programs}:' $out/lib/nxc/nxc-dhcp
      chmod 755 $out/lib/nxc/nxc-dhcp
      ln -s ${pkgs.busybox}/bin/busybox $out/lib/nxc/busybox
      sed "s|/usr/lib/nxc/|$out/lib/nxc/|" ${../guest/nxc-dhcp.service} >$out/lib/systemd/system/nxc-dhcp@.service
    ''}
  '';
  sshd = pkgs.runCommand "nxc-sshd" { } ''
    mkdir -p $out/lib/nxc $out/lib/systemd/system
    cat ${../guest/sshd_config} >$out/lib/nxc/sshd_config
    echo 'SetEnv PATH=${searched}' >>$out/lib/nxc/sshd_config
    sed -e "s|/usr/lib/nxc/|$out/lib/nxc/|" -e 's|/usr/sbin/sshd|${openssh}/bin/sshd|' \
      -e 's|=/bin/kill|=${pkgs.coreutils}/bin/kill|' \
      ${../guest/nxc-sshd.service} >$out/lib/systemd/system/nxc-sshd.service
  '';

  # The node's own name resolves to its addresses, which nxc-node knows.
  hosts = pkgs.runCommand "hosts.extra" { } ''
    sed -e '/^127\.0\.0\.1 localhost$/d' -e '/^127\.0\.0\.2 /d' -e '/^::1 /d' -e '/^$/d' \
      ${config.environment.etc.hosts.source or (builtins.toFile "hosts" "")} >$out
  '';
in
{
  imports = [ ./database.nix ];

  config = lib.mkMerge [
    {
      networking.hostName = mkDefault "";
      environment.etc."nxc/hosts.extra".source = mkDefault hosts;
      systemd.packages = [ node ];
      # Where everyone finds nxc-node, on any base, to push a document.
      systemd.tmpfiles.rules = [ "L+ /usr/lib/nxc - - - - ${node}/lib/nxc" ];
      systemd.services.nxc-node = {
        wantedBy = [ "sysinit.target" ];
        # Where accounts are not made before systemd starts, root's password is not there to be unlocked until then.
        after = [
          "systemd-sysusers.service"
          "userborn.service"
        ];
        restartIfChanged = mkDefault false;
      };
    }
    (mkIf guest.ssh {
      systemd.packages = [ sshd ];
      systemd.services.nxc-sshd = {
        wantedBy = [ "sysinit.target" ];
        restartIfChanged = mkDefault false;
      };
      # A range, which stays when a role forces its own list of ports.
      networking.firewall.allowedTCPPortRanges = [
        {
          from = 2200;
          to = 2200;
        }
      ];
      # Of the role's own sshd only where that is enabled.
      users.users.sshd = {
        isSystemUser = mkDefault true;
        description = mkDefault "SSH privilege separation user";
        group = mkDefault "sshd";
      };
      users.groups.sshd = { };
    })
  ];
}
