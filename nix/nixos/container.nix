# What NixOS does at boot that a container cannot, need not, or must not do to the machine around it.
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
  listed = builtins.fromJSON (builtins.readFile ../guest/manifest.json);

  # Over what NixOS says without mkDefault; what a role says by mkForce still wins.
  mkInstead = lib.mkOverride 90;
  # Over what NixOS says by mkDefault.
  mkRather = lib.mkOverride 900;
in
{
  config = mkIf (!guest.kernel) (
    lib.mkMerge [
      (compat.define [ "systemd" "suppressedSystemUnits" ] (
        listed.mask_in_container
        ++ lib.optionals guest.lean (lib.remove "systemd-logind.service" listed.mask_when_lean)
      ))
      (mkIf guest.lean {
        systemd.services.systemd-logind.enable = mkDefault false;
      })
      # The same units as on a machine of its own.
      (lib.optionalAttrs (compat.has [ "services" "openssh" "startWhenNeeded" ]) {
        services.openssh.startWhenNeeded = mkRather false;
      })
      # The engine mounted the store as it is to be.
      (compat.setDefault [ "nix" "readOnlyStore" ] false)
      (compat.setDefault [ "boot" "readOnlyNixStore" ] false)
      # A user of a unit's own takes a mount namespace, which not every container may make.
      (mkIf (config.services.nscd.enable or false) {
        systemd.services.nscd.serviceConfig.DynamicUser = mkInstead false;
        users.users.nscd = {
          isSystemUser = mkDefault true;
          group = mkDefault "nscd";
        };
        users.groups.nscd = { };
      })
      # What an engine mounted stays as it is. What a container may not mount becomes a folder.
      (lib.optionalAttrs (compat.has [ "boot" "specialFileSystems" ]) {
        system.activationScripts.specialfs = mkInstead ''
          specialMount() {
            mountpoint -q "$2" && return
            mkdir -m 0755 -p "$2"
            mount -t "$4" -o "$3" "$1" "$2" 2>/dev/null || true
          }
          source ${config.system.build.earlyMountScript}
        '';
      })
    ]
  );
}
