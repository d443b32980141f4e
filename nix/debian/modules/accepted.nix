# Options that compositions carry for NixOS and that change nothing in a Debian system.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  ignored =
    type: default: description:
    mkOption { inherit type default description; };
in
{
  options = {
    system.stateVersion = ignored (types.nullOr types.str) null "Accepted and without effect.";
    systemd.enableUnifiedCgroupHierarchy = ignored types.bool true "Accepted and without effect.";
    documentation.enable = ignored types.bool false "Accepted and without effect; documentation is not installed.";
    environment.noXlibs = ignored types.bool false "Accepted and without effect.";
    networking.hostName =
      ignored types.str ""
        "Accepted with a warning: nxc names a machine after its role.";
    users.mutableUsers = ignored types.bool true "Accepted and without effect.";
    networking.nftables.enable = ignored types.bool true "Accepted and without effect: the firewall is nftables.";
  };
  config.warnings = lib.optional (
    config.networking.hostName != ""
  ) "networking.hostName has no effect: nxc names a machine after its role";
}
