{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.nginx;
  render = import ./nginx-config.nix { inherit lib; };

  flag =
    default: description:
    mkOption {
      inherit default description;
      type = types.bool;
    };
  lines =
    description:
    mkOption {
      inherit description;
      type = types.lines;
      default = "";
    };
  maybe =
    type: description:
    mkOption {
      inherit description;
      type = types.nullOr type;
      default = null;
    };

  location = types.submodule {
    options = {
      root = maybe types.path "Folder whose files are served.";
      alias = maybe types.path "Folder or file that stands for this location.";
      index = maybe types.str "Files shown for a folder.";
      tryFiles = maybe types.str "Files tried in order.";
      return = maybe (types.oneOf [
        types.str
        types.int
      ]) "Answer given without looking at files.";
      proxyPass = maybe types.str "Server that requests are passed to.";
      proxyWebsockets = flag false "Whether websockets pass too.";
      recommendedProxySettings = flag cfg.recommendedProxySettings "Whether usual headers are set for it.";
      fastcgiParams = mkOption {
        type = types.attrsOf (types.either types.str types.path);
        default = { };
        description = "FastCGI parameters.";
      };
      priority = mkOption {
        type = types.int;
        default = 1000;
        description = "Place among the locations; less comes first.";
      };
      extraConfig = lines "Lines added to this location.";
    };
  };

  listen = types.submodule {
    options = {
      addr = mkOption { type = types.str; };
      port = maybe types.port "Port; 80 without.";
      ssl = flag false "Whether TLS is spoken.";
      extraParameters = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
    };
  };

  upstreamServer = types.submodule {
    freeformType = types.attrsOf (
      types.oneOf [
        types.bool
        types.int
        types.str
      ]
    );
    options.backup = flag false "Whether it is asked only where the others do not answer.";
  };

  resolver = types.submodule {
    options = {
      addresses = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
      valid = mkOption {
        type = types.str;
        default = "";
      };
      ipv6 = flag true "Whether IPv6 addresses are asked for.";
    };
  };

  virtualHost = types.submodule (
    { name, ... }:
    {
      options = {
        serverName = mkOption {
          type = types.nullOr types.str;
          default = name;
          description = "Name of the host.";
        };
        serverAliases = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Its other names.";
        };
        listen = mkOption {
          type = types.listOf listen;
          default = [ ];
          description = "Addresses and ports; port 80 of all addresses without.";
        };
        listenAddresses = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Addresses for port 80.";
        };
        root = maybe types.path "Folder whose files are served.";
        default = flag false "Whether requests for unknown names come here.";
        globalRedirect = maybe types.str "Host that all requests are sent to.";
        addSSL = flag false "Refused.";
        onlySSL = flag false "Refused.";
        forceSSL = flag false "Refused.";
        enableACME = flag false "Refused.";
        extraConfig = lines "Lines added to this host.";
        locations = mkOption {
          type = types.attrsOf location;
          default = { };
          description = "What is served where.";
        };
      };
    }
  );
in
{
  options.services.nginx = {
    enable = flag false "Whether the role runs nginx.";
    package = mkOption {
      type = types.package;
      default = pkgs.nginx-light;
      description = "Debian package of nginx.";
    };
    user = mkOption {
      type = types.str;
      default = "www-data";
      description = "User of its workers.";
    };
    virtualHosts = mkOption {
      type = types.attrsOf virtualHost;
      default.localhost = { };
      description = "Hosts it serves.";
    };
    upstreams = mkOption {
      type = types.attrsOf (
        types.submodule {
          options.servers = mkOption {
            type = types.attrsOf upstreamServer;
            default = { };
          };
          options.extraConfig = lines "Lines added to it.";
        }
      );
      default = { };
      description = "Groups of servers for proxyPass.";
    };
    clientMaxBodySize = mkOption {
      type = types.str;
      default = "10m";
      description = "Largest request.";
    };
    recommendedProxySettings = flag false "Whether usual headers are set for proxied requests.";
    proxyTimeout = mkOption {
      type = types.str;
      default = "60s";
      description = "How long recommendedProxySettings waits for a server behind.";
    };
    proxyResolveWhileRunning = flag false "Whether names in proxyPass are looked up for each request, by resolver.";
    resolver = mkOption {
      type = resolver;
      default = { };
      description = "Name servers that it asks itself.";
    };
    recommendedOptimisation = flag false "Whether usual settings for speed are set.";
    recommendedGzipSettings = flag false "Whether answers are compressed.";
    recommendedTlsSettings = flag false "Accepted and without effect.";
    commonHttpConfig = lines "Lines at the start of the http block.";
    appendHttpConfig = lines "Lines at the end of the http block.";
    appendConfig = lines "Lines at the end of the configuration.";
    eventsConfig = lines "Lines of the events block.";
  };

  config = lib.mkIf cfg.enable {
    assertions =
      lib.mapAttrsToList (name: host: {
        assertion = !(host.addSSL || host.onlySSL || host.forceSSL || host.enableACME);
        message = "services.nginx.virtualHosts.${name}: the debian base sets up no TLS; write it in extraConfig, or use --base nixos";
      }) cfg.virtualHosts
      ++ lib.mapAttrsToList (name: group: {
        assertion = group.servers != { } || group.extraConfig != "";
        message = "services.nginx.upstreams.${name} has no servers: nginx would not start";
      }) cfg.upstreams
      ++ [
        {
          assertion = cfg.proxyResolveWhileRunning -> cfg.resolver.addresses != [ ];
          message = "services.nginx.proxyResolveWhileRunning looks names up by services.nginx.resolver, whose addresses are empty";
        }
      ];
    environment.systemPackages = [ cfg.package ];
    nxc.debian.enabledUnits = [ "nginx.service" ];
    systemd.services.nginx.wantedBy = [ "multi-user.target" ];
    environment.etc."nginx/nginx.conf" = {
      mode = "0644";
      text = render cfg;
    };
  };
}
