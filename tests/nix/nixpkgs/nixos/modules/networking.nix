# Names, cards and the firewall.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };
  ports = mkOption {
    type = types.listOf types.port;
    default = [ ];
    apply = list: lib.unique (lib.sort (a: b: a < b) list);
  };
  ranges = mkOption {
    type = types.listOf (types.attrsOf types.port);
    default = [ ];
  };
  names = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
  cfg = config.networking;
in
{
  options.networking = {
    hostName = mkOption {
      type = types.str;
      default = "nixos";
    };
    hosts = mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
    };
    extraHosts = mkOption {
      type = types.lines;
      default = "";
    };
    useDHCP = flag true;
    dhcpcd.enable = flag true;
    useNetworkd = flag false;
    usePredictableInterfaceNames = flag true;
    nameservers = names;
    interfaces = mkOption {
      type = types.attrsOf types.attrs;
      default = { };
    };
    firewall = {
      enable = flag true;
      allowPing = flag true;
      allowedTCPPorts = ports;
      allowedUDPPorts = ports;
      allowedTCPPortRanges = ranges;
      allowedUDPPortRanges = ranges;
      trustedInterfaces = names;
      extraCommands = mkOption {
        type = types.lines;
        default = "";
      };
    };
  };
  config.environment.etc = {
    hostname = lib.mkIf (cfg.hostName != "") { text = cfg.hostName + "\n"; };
    hosts.text = ''
      127.0.0.1 localhost
      ${lib.concatStrings (
        lib.mapAttrsToList (address: names: "${address} ${lib.concatStringsSep " " names}\n") cfg.hosts
      )}${cfg.extraHosts}
    '';
    # What a firewall would let in, so that a test can read it.
    "firewall.json".text = builtins.toJSON {
      inherit (cfg.firewall) enable allowedTCPPorts allowedUDPPorts allowedTCPPortRanges;
    };
  };
}
