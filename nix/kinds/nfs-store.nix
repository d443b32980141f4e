# A small initrd; the store is a shared one, mounted over NFS before the system starts. The kernel command line says
# where it is, so that one image serves any server:
#   nxc.store=ADDRESS:/FOLDER      the folder that holds the store paths; an IPv6 address stands in brackets
#   nxc.store-options=OPTION,...   of the mount, such as vers=4.2
{ lib }:
let
  boot = import ./parts/boot.nix { inherit lib; };
  store = import ./parts/store.nix { inherit lib; };

  # Shell of both stages 1. `mount' must not ask for a helper, which an initrd has not: the kernel does it all.
  mountStore = root: giveUp: ''
    store= options=
    for word in $(cat /proc/cmdline); do
      case $word in
        nxc.store=*) store=''${word#*=} ;;
        nxc.store-options=*) options=,''${word#*=} ;;
      esac
    done
    if [ -z "$store" ]; then
      echo "nxc: failed: no nxc.store=ADDRESS:/FOLDER on the kernel command line"
      ${giveUp}
    fi
    address=''${store%%:/*}
    address=''${address#[}
    address=''${address%]}
    mkdir -p ${root}/nix/.ro-store ${root}/nix/.rw-store/store ${root}/nix/.rw-store/work ${root}/nix/store
    tries=0
    until mount -i -t nfs -o "ro,nolock,addr=$address$options" "$store" ${root}/nix/.ro-store; do
      tries=$((tries + 1))
      if [ "$tries" -ge 15 ]; then
        echo "nxc: failed: the store $store cannot be mounted"
        ${giveUp}
        break
      fi
      sleep 2
    done
    mount -t overlay -o lowerdir=${root}/nix/.ro-store,upperdir=${root}/nix/.rw-store/store,workdir=${root}/nix/.rw-store/work \
      overlay ${root}/nix/store || { echo "nxc: failed: the store cannot be stacked"; ${giveUp}; }
  '';
in
{
  module =
    {
      config,
      lib,
      options,
      pkgs,
      ...
    }@arguments:
    let
      compat = import ../nixos/compat.nix { inherit lib options pkgs; };
      bySystemd = config.boot.initrd.systemd.enable or false;
      memory = store.inMemory {
        modules = [
          "nfs"
          "nfsv3"
          "nfsv4"
        ];
      } arguments;
    in
    {
      config = lib.mkMerge [
        memory.config
        {
          boot.initrd.network.enable = lib.mkDefault true;
          # The store would go with the addresses; nor may stage 2 take them away.
          boot.initrd.network.flushBeforeStage2 = lib.mkDefault false;
          networking.dhcpcd.persistent = lib.mkDefault true;
          # Before what a guest is by default; a role still wins.
          networking.useDHCP = lib.mkOverride 990 true;
        }
        (compat.define [ "boot" "initrd" "postMountCommands" ] (
          lib.mkIf (!bySystemd) (lib.mkBefore (mountStore "$targetRoot" "fail"))
        ))
        # Old releases ask networking.useDHCP.
        (compat.setDefault [ "boot" "initrd" "network" "udhcpc" "enable" ] (!bySystemd))
        (lib.optionalAttrs (compat.has [ "boot" "initrd" "systemd" "network" ]) {
          boot.initrd.systemd = lib.mkIf bySystemd {
            network.enable = lib.mkDefault true;
            network.networks."90-nxc" = {
              matchConfig.Type = "ether";
              networkConfig = {
                DHCP = "yes";
                KeepConfiguration = "yes";
              };
            };
            services.nxc-store = {
              wantedBy = [ "initrd-fs.target" ];
              before = [
                "initrd-fs.target"
                "shutdown.target"
              ];
              conflicts = [ "shutdown.target" ];
              wants = [ "network-online.target" ];
              after = [ "network-online.target" ];
              unitConfig = {
                DefaultDependencies = false;
                RequiresMountsFor = "/sysroot/nix/.rw-store";
                OnFailure = "emergency.target";
              };
              serviceConfig = {
                Type = "oneshot";
                RemainAfterExit = true;
                StandardOutput = "journal+console";
                StandardError = "journal+console";
              };
              script = ''
                PATH=/bin:/sbin
                ${mountStore "/sysroot" "exit 1"}'';
            };
          };
        })
        (lib.mkIf bySystemd (
          lib.mkMerge [
            (compat.setDefault [ "boot" "initrd" "systemd" "network" "wait-online" "anyInterface" ] true)
            (compat.define [ "boot" "initrd" "systemd" "extraBin" ] {
              mount = lib.mkDefault "${pkgs.util-linux or pkgs.utillinux}/bin/mount";
            })
          ]
        ))
      ];
    };

  image =
    {
      pkgs,
      roles,
      guest,
      name,
    }:
    let
      closure = pkgs.closureInfo { rootPaths = store.toplevels roles; };
    in
    {
      boot = boot.images {
        inherit
          pkgs
          roles
          name
          ;
      };
      roles = boot.describe roles;
      # The folder of both is to be exported too: nxc.registration= names the registration there.
      files = {
        store-paths = "${closure}/store-paths";
        registration = "${closure}/registration";
      };
    };
}
