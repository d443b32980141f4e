# Options of NixOS Compose for what nxc does otherwise: accepted, so that compositions that set them still evaluate.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.nxc;
  unneeded = default: {
    enable = mkOption {
      type = types.bool;
      inherit default;
      description = "Accepted and without effect, with a warning when it is not the default.";
    };
  };
  warn = name: reason: lib.optional (cfg.${name}.enable != defaults.${name}) "nxc.${name}.enable has no effect: ${reason}";
  defaults = {
    wait-online = false;
    root-sshKeys = false;
    baseBootCommands = true;
    qemu-script = false;
  };
in
{
  options.nxc = builtins.mapAttrs (_: unneeded) defaults;

  config.warnings =
    warn "wait-online" "a node has its addresses before any service starts"
    ++ warn "root-sshKeys" "each deployment has keys of its own, and no key is shared between deployments"
    ++ warn "baseBootCommands" "a node gets its name, addresses and keys from the unit nxc-node, which it needs"
    ++ warn "qemu-script" "nxc starts QEMU itself, and puts no script into the image";
}
