# services.nginx as nginx.conf.
{ lib }:
cfg:
let
  indent =
    text:
    lib.concatMapStrings (line: if line == "" then "" else "  ${line}\n") (lib.splitString "\n" text);
  # A text may lack its last line end, or end in a comment.
  lines = text: lib.optionalString (text != "") (lib.removeSuffix "\n" text + "\n");
  block = head: body: "${head} {\n${indent body}}\n";
  directive = name: value: lib.optionalString (value != null) "${name} ${toString value};\n";
  # A folder of the composition becomes a store path only inside a string.
  pathDirective = name: value: lib.optionalString (value != null) "${name} ${"${value}"};\n";

  proxyHeaders = ''
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Server $host;
  '';

  # With a variable in it, the name is looked up for each request and not at start.
  proxyPass =
    value:
    if value.proxyPass != null && cfg.proxyResolveWhileRunning then
      "set $nix_proxy_target \"${value.proxyPass}\";\nproxy_pass $nix_proxy_target;\n"
    else
      directive "proxy_pass" value.proxyPass;

  location =
    { name, value }:
    block "location ${name}" (
      lib.concatStrings [
        (proxyPass value)
        (lib.optionalString value.proxyWebsockets ''
          proxy_http_version 1.1;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection $connection_upgrade;
        '')
        (lib.optionalString (value.fastcgiParams != { }) (
          lib.concatStrings (
            lib.mapAttrsToList (key: item: "fastcgi_param ${key} \"${item}\";\n") value.fastcgiParams
          )
        ))
        (directive "index" value.index)
        (directive "try_files" value.tryFiles)
        (pathDirective "root" value.root)
        (pathDirective "alias" value.alias)
        (lines value.extraConfig)
        (directive "return" value.return)
        (lib.optionalString (value.proxyPass != null && value.recommendedProxySettings) proxyHeaders)
      ]
    );
  ordered =
    locations:
    lib.sort (a: b: a.value.priority < b.value.priority) (
      lib.mapAttrsToList lib.nameValuePair locations
    );

  listenLine =
    host: entry:
    let
      port = toString (if entry.port == null then 80 else entry.port);
    in
    "listen ${entry.addr}${
      lib.optionalString (!lib.hasPrefix "unix:" entry.addr) ":${port}"
    }${lib.optionalString host.default " default_server"}${lib.optionalString entry.ssl " ssl"}${
      lib.concatMapStrings (parameter: " ${parameter}") entry.extraParameters
    };\n";
  entries =
    host:
    if host.listen != [ ] then
      host.listen
    else
      map
        (addr: {
          inherit addr;
          port = 80;
          ssl = false;
          extraParameters = [ ];
        })
        (
          if host.listenAddresses != [ ] then
            host.listenAddresses
          else
            [
              "0.0.0.0"
              "[::0]"
            ]
        );

  server =
    host:
    block "server" (
      lib.concatStrings [
        (lib.concatMapStrings (listenLine host) (entries host))
        "server_name ${lib.concatStringsSep " " ([ host.serverName ] ++ host.serverAliases)};\n"
        (pathDirective "root" host.root)
        (lib.optionalString (host.globalRedirect != null) (
          block "location /" "return 301 $scheme://${host.globalRedirect}$request_uri;"
        ))
        (lib.concatMapStrings location (ordered host.locations))
        (lines host.extraConfig)
      ]
    );

  upstream =
    name: group:
    block "upstream ${name}" (
      lib.concatStrings (
        lib.mapAttrsToList (
          address: parameters:
          "server ${address}${
            lib.concatStrings (
              lib.mapAttrsToList (
                key: value:
                if builtins.isBool value then
                  lib.optionalString value " ${key}"
                else
                  " ${key}=${toString value}"
              ) parameters
            )
          };\n"
        ) group.servers
      )
      + lines group.extraConfig
    );

  proxying = ''
    proxy_redirect off;
    proxy_connect_timeout ${cfg.proxyTimeout};
    proxy_send_timeout ${cfg.proxyTimeout};
    proxy_read_timeout ${cfg.proxyTimeout};
    proxy_http_version 1.1;
    proxy_set_header "Connection" "";
  ''
  + proxyHeaders;

  resolver = lib.optionalString (cfg.resolver.addresses != [ ]) "resolver ${
    lib.concatStringsSep " " (
      cfg.resolver.addresses
      ++ lib.optional (cfg.resolver.valid != "") "valid=${cfg.resolver.valid}"
      ++ lib.optional (!cfg.resolver.ipv6) "ipv6=off"
    )
  };\n";

  optimisation = ''
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 65;
  '';
  compression = ''
    gzip on;
    gzip_comp_level 5;
    gzip_proxied any;
    gzip_vary on;
    gzip_types application/javascript application/json application/xml image/svg+xml text/css text/javascript text/plain;
  '';
in
''
  user ${cfg.user};
  worker_processes auto;
  pid /run/nginx.pid;
  error_log /var/log/nginx/error.log;
  include /etc/nginx/modules-enabled/*.conf;
''
+ block "events" cfg.eventsConfig
+ block "http" (
  lib.concatStrings [
    ''
      include /etc/nginx/mime.types;
      default_type application/octet-stream;
      access_log /var/log/nginx/access.log;
      client_max_body_size ${cfg.clientMaxBodySize};
      server_tokens off;
    ''
    # So that many or long host names never stop it from starting.
    "server_names_hash_bucket_size 128;\n"
    (block "map $http_upgrade $connection_upgrade" ''
      default upgrade;
      "" close;
    '')
    (lines cfg.commonHttpConfig)
    (lib.optionalString cfg.recommendedOptimisation optimisation)
    (lib.optionalString cfg.recommendedGzipSettings compression)
    (lib.optionalString cfg.recommendedProxySettings proxying)
    resolver
    (lib.concatStrings (lib.mapAttrsToList upstream cfg.upstreams))
    (lib.concatMapStrings server (builtins.attrValues cfg.virtualHosts))
    (lines cfg.appendHttpConfig)
  ]
)
+ lines cfg.appendConfig
