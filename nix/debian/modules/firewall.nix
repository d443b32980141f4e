{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking.firewall;

  # nxc's own way into every machine.
  ownPort = 2200;

  ports =
    description:
    mkOption {
      inherit description;
      type = types.listOf types.port;
      default = [ ];
      apply = list: lib.sort (a: b: a < b) (lib.unique list);
    };
  ranges =
    description:
    mkOption {
      inherit description;
      type = types.listOf (types.attrsOf types.port);
      default = [ ];
    };

  portSet =
    single: several:
    lib.concatStringsSep ", " (
      map toString single ++ map (range: "${toString range.from}-${toString range.to}") several
    );
  accept =
    protocol: single: several:
    lib.optional (single ++ several != [ ]) "${protocol} dport { ${portSet single several} } accept";
  acceptAll =
    ports:
    accept "tcp" ports.allowedTCPPorts ports.allowedTCPPortRanges
    ++ accept "udp" ports.allowedUDPPorts ports.allowedUDPPortRanges;
  rules =
    [
      "ct state established,related accept"
      "ct state invalid drop"
      "iifname \"lo\" accept"
      "tcp dport ${toString ownPort} accept"
    ]
    ++ lib.optional cfg.allowPing "icmp type echo-request accept"
    ++ [
      "icmp type { destination-unreachable, time-exceeded, parameter-problem } accept"
      (if cfg.allowPing then "meta l4proto ipv6-icmp accept" else "icmpv6 type != echo-request accept")
      "ip6 saddr fe80::/10 udp dport 546 accept"
    ]
    ++ map (name: "iifname \"${name}\" accept") cfg.trustedInterfaces
    ++ acceptAll cfg
    ++ lib.concatLists (
      lib.mapAttrsToList (name: ports: map (rule: "iifname \"${name}\" ${rule}") (acceptAll ports)) cfg.interfaces
    )
    ++ lib.optional cfg.logRefusedConnections "tcp flags & (fin|syn|rst|ack) == syn log prefix \"refused connection: \" level info"
    ++ lib.optional cfg.rejectPackets "reject";

  portOptions = {
    allowedTCPPorts = ports "TCP ports that others may reach.";
    allowedUDPPorts = ports "UDP ports that others may reach.";
    allowedTCPPortRanges = ranges "Ranges { from, to } of TCP ports that others may reach.";
    allowedUDPPortRanges = ranges "Ranges { from, to } of UDP ports that others may reach.";
  };
  flag =
    default: description:
    mkOption {
      inherit default description;
      type = types.bool;
    };
in
{
  options.networking.firewall = portOptions // {
    enable = flag false "Whether input is dropped but for what is allowed; unlike in NixOS not the default.";
    allowPing = flag true "Whether echo requests are answered.";
    rejectPackets = flag false "Whether refused packets are answered, rather than dropped.";
    logRefusedConnections = flag false "Whether refused connections are logged.";
    trustedInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Interfaces from which everything is accepted.";
    };
    interfaces = mkOption {
      type = types.attrsOf (types.submodule { options = portOptions; });
      default = { };
      description = "Ports allowed on one interface.";
    };
  };

  config = lib.mkIf cfg.enable {
    nxc.needs = [
      {
        need = "net-admin";
        option = "networking.firewall.enable";
      }
    ];
    nxc.debian.packages = [ "nftables" ];
    environment.etc."nxc/firewall.nft" = {
      mode = "0644";
      text = ''
        # `add` first: deleting a table that does not exist is an error.
        add table inet nxc
        delete table inet nxc
        table inet nxc {
          chain input {
            type filter hook input priority filter; policy drop;
            ${lib.concatStringsSep "\n    " rules}
          }
        }
      '';
    };
    systemd.services.nxc-firewall = {
      description = "Firewall of the role";
      wantedBy = [ "sysinit.target" ];
      wants = [ "network-pre.target" ];
      before = [
        "network-pre.target"
        "shutdown.target"
      ];
      after = [ "systemd-modules-load.service" ];
      conflicts = [ "shutdown.target" ];
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "/usr/sbin/nft -f /etc/nxc/firewall.nft";
        ExecReload = "/usr/sbin/nft -f /etc/nxc/firewall.nft";
        ExecStop = "/usr/sbin/nft delete table inet nxc";
      };
    };
  };
}
