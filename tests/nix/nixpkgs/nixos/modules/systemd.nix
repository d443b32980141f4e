# Units as attribute sets, and as the files that systemd reads.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  words = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
  section = mkOption {
    type = types.attrsOf (types.raw or types.unspecified);
    default = { };
  };
  lines = mkOption {
    type = types.lines;
    default = "";
  };
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };

  relations = {
    After = "after";
    Before = "before";
    Wants = "wants";
    Requires = "requires";
    Conflicts = "conflicts";
    PartOf = "partOf";
    BindsTo = "bindsTo";
  };
  common = {
    options = {
      enable = flag true;
      description = mkOption {
        type = types.str;
        default = "";
      };
      documentation = words;
      wantedBy = words;
      requiredBy = words;
      unitConfig = section;
    }
    // lib.genAttrs (lib.attrValues relations) (_: words);
  };
  service.options = {
    serviceConfig = section;
    environment = mkOption {
      type = types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package ]));
      default = { };
    };
    path = mkOption {
      type = types.listOf (types.either types.package types.str);
      default = [ ];
    };
    script = lines;
    preStart = lines;
    postStart = lines;
    restartIfChanged = flag true;
    reloadIfChanged = flag false;
    stopIfChanged = flag true;
    restartTriggers = mkOption {
      type = types.listOf (types.raw or types.unspecified);
      default = [ ];
    };
    startLimitIntervalSec = mkOption {
      type = types.nullOr types.int;
      default = null;
    };
  };
  socket.options = {
    socketConfig = section;
    listenStreams = words;
    listenDatagrams = words;
  };
  timer.options.timerConfig = section;
  mount.options = {
    mountConfig = section;
    what = mkOption { type = types.str; };
    where = mkOption { type = types.str; };
    type = mkOption {
      type = types.str;
      default = "";
    };
  };
  of =
    extra:
    mkOption {
      type = types.attrsOf (types.submodule [ common extra ]);
      default = { };
    };

  value = value: if builtins.isBool value then lib.boolToString value else toString value;
  setting = key: given: lib.concatMapStrings (one: "${key}=${value one}\n") (lib.toList given);
  settings = attrs: lib.concatStrings (lib.mapAttrsToList setting attrs);
  head =
    unit:
    "[Unit]\n"
    + lib.optionalString (unit.description != "") "Description=${unit.description}\n"
    + settings (lib.filterAttrs (_: list: list != [ ]) (lib.mapAttrs (_: key: unit.${key}) relations))
    + lib.optionalString (unit.startLimitIntervalSec or null != null)
      "StartLimitIntervalSec=${toString unit.startLimitIntervalSec}\n"
    + settings unit.unitConfig;

  command =
    name: kind: text:
    "${pkgs.writeShellScript "unit-script-${name}-${kind}" "set -e\n${text}"}";
  serviceText =
    name: unit:
    let
      path = unit.path ++ [
        pkgs.coreutils
        pkgs.findutils
        pkgs.gnugrep
        pkgs.gnused
        config.systemd.package
      ];
      search = lib.concatMapStringsSep ":" (package: "${package}/bin:${package}/sbin") path;
      environment = {
        PATH = search;
      }
      // lib.filterAttrs (_: value: value != null) unit.environment;
      run =
        key: kind:
        lib.optionalAttrs (unit.${kind} != "") { ${key} = command name kind unit.${kind}; };
    in
    head unit
    + "\n[Service]\n"
    + lib.concatStrings (
      lib.mapAttrsToList (key: value: "Environment=\"${key}=${value}\"\n") environment
    )
    + settings (
      run "ExecStartPre" "preStart"
      // run "ExecStart" "script"
      // run "ExecStartPost" "postStart"
      // unit.serviceConfig
    );

  # All units of a kind, with the text of their files in `body'.
  render =
    kind: body:
    lib.mapAttrs' (
      name: unit: lib.nameValuePair "${name}.${kind}" (unit // { body = body name unit; })
    ) config.systemd."${kind}s";
  rendered =
    render "service" serviceText
    // render "target" (_: head)
    // render "socket" (
      _: unit:
      head unit
      + "\n[Socket]\n"
      + setting "ListenStream" unit.listenStreams
      + setting "ListenDatagram" unit.listenDatagrams
      + settings unit.socketConfig
    )
    // render "timer" (_: unit: head unit + "\n[Timer]\n" + settings unit.timerConfig);

  # A unit that a package brings is only added to.
  place =
    name: unit:
    let
      file = pkgs.writeText (storeName name) unit.body;
    in
    if !unit.enable then
      "ln -sfn /dev/null $out/${lib.escapeShellArg name}\n"
    else
      ''
        if [ -e $out/${lib.escapeShellArg name} ]; then
          mkdir -p $out/${lib.escapeShellArg name}.d
          ln -s ${file} $out/${lib.escapeShellArg name}.d/overrides.conf
        else
          ln -s ${file} $out/${lib.escapeShellArg name}
        fi
      ''
      + lib.concatMapStrings (pull "wants" name) unit.wantedBy
      + lib.concatMapStrings (pull "requires" name) unit.requiredBy;
  storeName = name: "unit-" + builtins.replaceStrings [ "@" "\\" ] [ "-" "-" ] name;
  pull = kind: name: target: ''
    mkdir -p $out/${lib.escapeShellArg target}.${kind}
    ln -s ../${lib.escapeShellArg name} $out/${lib.escapeShellArg target}.${kind}/
  '';
  bring = package: ''
    for file in ${package}/lib/systemd/system/*; do
      ln -s "$file" $out/
    done
  '';
in
{
  options.systemd = {
    package = mkOption {
      type = types.package;
      default = pkgs.systemd;
    };
    services = of service;
    targets = of { };
    sockets = of socket;
    timers = of timer;
    mounts = mkOption {
      type = types.listOf (types.submodule [ common mount ]);
      default = [ ];
    };
    packages = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
    tmpfiles.rules = words;
    enableEmergencyMode = flag true;
    suppressedSystemUnits = words;
    defaultUnit = mkOption {
      type = types.str;
      default = "multi-user.target";
    };
    units = mkOption {
      type = types.attrsOf types.attrs;
      default = { };
    };
    network.enable = flag false;
  };
  config = {
    environment.etc."tmpfiles.d/00-nixos.conf".text = lib.concatMapStrings (
      rule: "${rule}\n"
    ) config.systemd.tmpfiles.rules;
    environment.etc."systemd/system".source = pkgs.runCommand "system-units" { } (
      "mkdir -p $out\n"
      + lib.concatMapStrings bring (lib.unique config.systemd.packages)
      + lib.concatStrings (
        lib.mapAttrsToList place (removeAttrs rendered config.systemd.suppressedSystemUnits)
      )
      # There they are not; here the machine's own would be.
      + lib.concatMapStrings (
        name: "ln -sfn /dev/null $out/${lib.escapeShellArg name}\n"
      ) config.systemd.suppressedSystemUnits
    );
  };
}
