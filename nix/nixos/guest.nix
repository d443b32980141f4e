# What a flavour needs of the system inside (nxc_core/model.py: Guest), and what that means for NixOS. A role wins.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkDefault types;
  inherit (config.nxc) guest;
  compat = import ./compat.nix { inherit lib options pkgs; };

  option =
    type: default: description:
    lib.mkOption {
      inherit type default description;
      internal = true;
    };

  # What serves seats, disks and later boots.
  unneeded = map (path: compat.setDefault path false) [
    [ "boot" "bcache" "enable" ]
    [ "boot" "enableContainers" ]
    [ "boot" "swraid" "enable" ]
    [ "fonts" "fontconfig" "enable" ]
    [ "powerManagement" "enable" ]
    [ "programs" "command-not-found" "enable" ]
    [ "programs" "nano" "enable" ]
    [ "services" "logrotate" "enable" ]
    [ "services" "lvm" "enable" ]
    [ "services" "timesyncd" "enable" ]
    [ "systemd" "coredump" "enable" ]
    [ "systemd" "oomd" "enable" ]
    [ "xdg" "autostart" "enable" ]
    [ "xdg" "icons" "enable" ]
    [ "xdg" "menus" "enable" ]
    [ "xdg" "mime" "enable" ]
    [ "xdg" "sounds" "enable" ]
  ];
  terminals = [
    "autovt@"
    "getty@tty1"
    "serial-getty@hvc0"
  ]
  ++ lib.optional (guest.console != null) "serial-getty@${builtins.head (lib.splitString "," guest.console)}";

  # Machines that somebody else has put together: udev finds out what is in them.
  isHardware = guest.kernel && (guest.firmware || guest.seed == "cpio" || guest.seed == "push");
  listed = (builtins.fromJSON (builtins.readFile ../guest/manifest.json)).hardware;
  # All of it would be half of a ramdisk.
  firmware = pkgs.runCommand "nxc-firmware" { } ''
    mkdir -p $out/lib/firmware
    cd ${pkgs.linux-firmware or pkgs.firmwareLinuxNonfree}/lib/firmware
    for path in ${toString listed.firmware}; do
      [ ! -e "$path" ] || cp -r --parents "$path" $out/lib/firmware
    done
  '';

  # Somebody else than nxc-node finds the name servers.
  hasResolver =
    config.networking.useDHCP
    || config.networking.nameservers != [ ]
    || lib.any (card: card.useDHCP or null == true) (lib.attrValues config.networking.interfaces);
in
{
  options.nxc.guest = {
    init = option types.bool true "Whether systemd runs.";
    ssh = option types.bool true "Whether the node is reached by ssh, through an sshd of nxc's own.";
    console = option (types.nullOr types.str) null "The console that the host reads, such as ttyS0.";
    kernel = option types.bool true "Whether it boots a kernel; a container does not.";
    kernelModules = option (types.listOf types.str) [ ] "Drivers that the machine needs early.";
    firmware = option types.bool false "Whether it is real hardware, which needs firmware and has addresses of its site.";
    root = option (types.enum [
      "container"
      "tmpfs"
      "ext4"
    ]) "tmpfs" "What the root file system is.";
    seed = option (types.enum [
      "mount"
      "fw_cfg"
      "cpio"
      "push"
    ]) "mount" "How node.json arrives.";
    lean = option types.bool false "Whether to leave out what a short experiment does not need.";
    share = option (types.nullOr (
      types.enum [
        "9p"
        "virtiofs"
      ]
    )) null "How it reaches the store of its host.";
  };

  config = lib.mkMerge (
    [
      {
        boot.isContainer = mkDefault (!guest.kernel);
        documentation.enable = mkDefault false;
        networking = {
          firewall.enable = mkDefault false;
          # Where it is there before the network, node.json says which cards ask for an address.
          useDHCP = mkDefault (isHardware && guest.seed != "cpio");
        };
        security.polkit.enable = mkDefault false;
        services.udisks2.enable = mkDefault false;
        # Keeps resolvconf from emptying what nxc-node wrote; a container engine's own mount stays.
        environment.etc = lib.mkIf (!hasResolver) {
          "resolv.conf".text = mkDefault "# nxc-node writes the name servers of this node here.\n";
        };
      }
      (lib.mkIf guest.kernel {
        boot = {
          loader.grub.enable = mkDefault false;
          # The last console is the one that programs write to.
          kernelParams = lib.mkIf (guest.console != null) (lib.mkAfter [ "console=${guest.console}" ]);
          initrd = {
            availableKernelModules = guest.kernelModules;
            # Some of what a virtual machine has goes by no alias.
            kernelModules = lib.mkIf (!isHardware) guest.kernelModules;
          };
        };
        hardware.firmware = lib.mkIf guest.firmware [ firmware ];
      })
      (lib.optionalAttrs (compat.has [ "system" "nixos" "release" ]) {
        # Nodes have no earlier state to stay compatible with.
        system.stateVersion = mkDefault config.system.nixos.release;
      })
      # Nobody is locked out: nxc has its own way in.
      (compat.setDefault [ "users" "allowNoPasswordLogin" ] true)
      (lib.mkIf guest.lean {
        systemd.services = lib.genAttrs terminals (_: {
          enable = mkDefault false;
        });
      })
      (lib.mkIf guest.lean (compat.setDefault [ "environment" "defaultPackages" ] [ ]))
    ]
    ++ map (lib.mkIf guest.lean) unneeded
  );
}
