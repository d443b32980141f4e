{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking;
  byAddress = lib.filterAttrs (_: names: names != [ ]) cfg.hosts;
  lines =
    lib.concatStrings (
      lib.mapAttrsToList (address: names: "${address} ${lib.concatStringsSep " " names}\n") byAddress
    )
    + cfg.extraHosts;
in
{
  options.networking = {
    hosts = mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
      description = "Names by address, added to /etc/hosts.";
    };
    extraHosts = mkOption {
      type = types.lines;
      default = "";
      description = "Lines added to /etc/hosts.";
    };
  };
  # /etc/hosts itself is composed at boot: only then are the deployment's addresses known.
  config.environment.etc."nxc/hosts.extra" = lib.mkIf (lines != "") {
    mode = "0644";
    text = lib.removeSuffix "\n" lines + "\n";
  };
}
