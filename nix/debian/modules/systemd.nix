{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.systemd;
  render = import ./unit-text.nix { inherit lib; };

  names = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
  # Of a setting that systemd takes several times, lists are added up; any other has one value.
  setting = lib.mkOptionType {
    name = "systemd option";
    description = "text, number, boolean, path, package, or list of these";
    check =
      value:
      builtins.all (item: !builtins.isFunction item && (!builtins.isAttrs item || lib.isDerivation item)) (
        lib.toList value
      );
    merge =
      loc: defs:
      if builtins.any (def: builtins.isList def.value) defs then
        lib.concatMap (def: lib.toList def.value) defs
      else
        lib.mergeEqualOption loc defs;
  };
  section = mkOption {
    type = types.attrsOf setting;
    default = { };
  };
  code = mkOption {
    type = types.lines;
    default = "";
  };

  common = {
    enable = mkOption {
      type = types.bool;
      default = true;
    };
    description = mkOption {
      type = types.singleLineStr;
      default = "";
    };
    documentation = names;
    unitConfig = section;
    wantedBy = names;
    requiredBy = names;
    after = names;
    before = names;
    requires = names;
    requisite = names;
    wants = names;
    bindsTo = names;
    partOf = names;
    conflicts = names;
    onFailure = names;
    onSuccess = names;
    overrideStrategy = mkOption {
      type = types.enum [
        "asDropinIfExists"
        "asDropin"
      ];
      default = "asDropinIfExists";
    };
  };

  service = types.submodule {
    options = common // {
      serviceConfig = section;
      script = code;
      scriptArgs = mkOption {
        type = types.str;
        default = "";
      };
      preStart = code;
      postStart = code;
      reload = code;
      preStop = code;
      postStop = code;
      path = mkOption {
        type = types.listOf (types.either types.package types.str);
        default = [ ];
      };
      environment = mkOption {
        type = types.attrsOf (
          types.nullOr (
            types.oneOf [
              types.int
              types.str
              types.path
              types.package
            ]
          )
        );
        default = { };
      };
      startAt = mkOption {
        type = types.coercedTo types.str lib.singleton (types.listOf types.str);
        default = [ ];
      };
      restartIfChanged = mkOption {
        type = types.bool;
        default = true;
      };
      reloadIfChanged = mkOption {
        type = types.bool;
        default = false;
      };
      stopIfChanged = mkOption {
        type = types.bool;
        default = true;
      };
      restartTriggers = mkOption {
        type = types.listOf types.unspecified;
        default = [ ];
      };
      reloadTriggers = mkOption {
        type = types.listOf types.unspecified;
        default = [ ];
      };
      enableDefaultPath = mkOption {
        type = types.bool;
        default = true;
      };
    };
  };
  withSection =
    name: extra:
    types.submodule {
      options = common // {
        ${name} = section;
      } // extra;
    };
  named = name: description: mkOption {
    inherit description;
    type = types.attrsOf (
      if name == "service" then
        service
      else if name == "target" then
        types.submodule { options = common; }
      else
        withSection "${name}Config" (
          lib.optionalAttrs (name == "socket") {
            listenStreams = names;
            listenDatagrams = names;
          }
        )
    );
    default = { };
  };

  # A unit of the role as { file | dropin, wants, requires, mask }.
  scriptOf =
    name: suffix: text:
    "${pkgs.writeShellScript "unit-${name}-${suffix}" "set -e\n${text}"}";
  serviceText =
    name: unit:
    render.service {
      inherit unit;
      isDropin = isDropin "${name}.service" unit;
      script = suffix: text: scriptOf name suffix text;
    };

  shipped = unitName: builtins.elem unitName config.nxc.debian.enabledUnits;
  # Without a command of its own it can only add to a unit that a Debian package ships.
  isDropin =
    unitName: unit:
    shipped unitName
    || unit.overrideStrategy == "asDropin"
    || (
      unit ? serviceConfig
      && unit.script == ""
      && !(unit.serviceConfig ? ExecStart)
      && !(unit.serviceConfig ? ExecStop)
      && unit.preStop == ""
      && unit.postStop == ""
    );

  units =
    lib.mapAttrs' (
      name: unit: lib.nameValuePair "${name}.service" (unit // { text = serviceText name unit; })
    ) cfg.services
    // others "timer" cfg.timers
    // others "socket" cfg.sockets
    // others "path" cfg.paths
    // lib.mapAttrs' (
      name: unit: lib.nameValuePair "${name}.target" (unit // { text = render.plain "" unit { }; })
    ) cfg.targets;
  listening =
    unit: key: streams:
    lib.optionalAttrs (streams != [ ]) {
      ${key} = lib.toList (unit.socketConfig.${key} or [ ]) ++ streams;
    };
  others =
    kind: set:
    lib.mapAttrs' (
      name: unit:
      lib.nameValuePair "${name}.${kind}" (
        unit
        // {
          text = render.plain kind unit (
            unit."${kind}Config"
            // lib.optionalAttrs (kind == "socket") (
              listening unit "ListenStream" unit.listenStreams
              // listening unit "ListenDatagram" unit.listenDatagrams
            )
          );
        }
      )
    ) set;

  # `wantedBy = mkForce [ ]` keeps also a shipped unit from starting.
  startsAtBoot = name: !(units ? ${name}) || units.${name}.enable && units.${name}.wantedBy != [ ];

  enabled = lib.filterAttrs (_: unit: unit.enable) units;
  links =
    attr:
    builtins.mapAttrs (_: lib.unique) (
      lib.foldAttrs (name: list: [ name ] ++ list) [ ] (
        lib.concatLists (
          lib.mapAttrsToList (name: unit: map (target: { ${target} = name; }) unit.${attr}) enabled
        )
      )
    );
in
{
  options.systemd = {
    services = named "service" "Services: script or serviceConfig.ExecStart and when they start.";
    timers = named "timer" "Timers: timerConfig and when they start.";
    sockets = named "socket" "Sockets: listenStreams or socketConfig.";
    paths = named "path" "Path units: pathConfig.";
    targets = named "target" "Targets.";
  };

  options.nxc.debian.units = mkOption {
    type = types.attrsOf types.unspecified;
    readOnly = true;
    description = "The units of the role as the builder wants them.";
  };

  config.systemd.timers = builtins.mapAttrs (_: service: {
    wantedBy = [ "timers.target" ];
    timerConfig.OnCalendar = service.startAt;
  }) (lib.filterAttrs (_: service: service.enable && service.startAt != [ ]) cfg.services);

  config.nxc.debian.units = {
    files = builtins.mapAttrs (_: unit: unit.text) (lib.filterAttrs (name: unit: !isDropin name unit) enabled);
    dropins = builtins.mapAttrs (_: unit: unit.text) (
      lib.filterAttrs (name: unit: isDropin name unit && unit.text != "") enabled
    );
    wants = links "wantedBy";
    requires = links "requiredBy";
    enable = lib.sort (a: b: a < b) (
      lib.unique (lib.filter startsAtBoot config.nxc.debian.enabledUnits)
    );
    mask = builtins.attrNames (lib.filterAttrs (_: unit: !unit.enable) units);
  };
}
