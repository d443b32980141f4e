# Units as text, as NixOS writes them.
{ lib }:
let
  # A path becomes one in the store, which the built system has, only inside a string.
  plain = value: if builtins.isPath value then "${value}" else toString value;
  atom = value: if builtins.isBool value then lib.boolToString value else plain value;
  line =
    name: value:
    if value == null then
      ""
    else
      lib.concatMapStrings (item: "${name}=${atom item}\n") (if builtins.isList value then value else [ value ]);
  section =
    title: settings:
    let
      body = lib.concatStrings (lib.mapAttrsToList line settings);
    in
    lib.optionalString (body != "") "[${title}]\n${body}";

  # One line per unit list, as systemd wants it.
  words = list: if list == [ ] then null else lib.concatStringsSep " " list;
  unitSection =
    unit:
    section "Unit" (
      {
        Description = if unit.description == "" then null else unit.description;
        Documentation = words unit.documentation;
        After = words unit.after;
        Before = words unit.before;
        Requires = words unit.requires;
        Requisite = words unit.requisite;
        Wants = words unit.wants;
        BindsTo = words unit.bindsTo;
        PartOf = words unit.partOf;
        Conflicts = words unit.conflicts;
        OnFailure = words unit.onFailure;
        OnSuccess = words unit.onSuccess;
      }
      // unit.unitConfig
    );

  upper = word: lib.toUpper (builtins.substring 0 1 word) + builtins.substring 1 (-1) word;

  systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  searchPath =
    unit:
    lib.optionalString (unit.path != [ ]) (
      line "Environment" (
        builtins.toJSON "PATH=${
          lib.concatMapStringsSep ":" (item: "${item}/bin:${item}/sbin") unit.path
        }:${systemPath}"
      )
    );
  environment =
    unit:
    lib.concatStrings (
      lib.mapAttrsToList (
        name: value:
        lib.optionalString (value != null) (
          line "Environment" (builtins.toJSON "${name}=${plain value}")
        )
      ) unit.environment
    );

  asList = value: if builtins.isList value then value else [ value ];
  # A command beside those that serviceConfig has already.
  command =
    unit: key: text: path:
    lib.optionalAttrs (text != "") { ${key} = [ path ] ++ asList (unit.serviceConfig.${key} or [ ]); };
in
{
  plain =
    kind: unit: settings:
    unitSection unit + lib.optionalString (kind != "") (section (upper kind) settings);

  service =
    {
      unit,
      isDropin,
      script,
    }:
    let
      arguments = lib.optionalString (unit.scriptArgs != "") " ${unit.scriptArgs}";
      startLine = "${script "start" unit.script}${arguments}";
      commands =
        lib.optionalAttrs (unit.script != "") { ExecStart = startLine; }
        // command unit "ExecStartPre" unit.preStart (script "pre-start" unit.preStart)
        // command unit "ExecStartPost" unit.postStart (script "post-start" unit.postStart)
        // command unit "ExecReload" unit.reload (script "reload" unit.reload)
        // command unit "ExecStop" unit.preStop (script "pre-stop" unit.preStop)
        // command unit "ExecStopPost" unit.postStop (script "post-stop" unit.postStop);
      settings = unit.serviceConfig // commands;
      # Of the shipped unit's start command there can be one only; the empty line takes it away.
      replaced =
        if isDropin && settings ? ExecStart then
          settings
          // {
            ExecStart = [ "" ] ++ lib.filter (item: item != "") (asList settings.ExecStart);
          }
        else
          settings;
      body = searchPath unit + environment unit + lib.concatStrings (lib.mapAttrsToList line replaced);
    in
    unitSection unit + lib.optionalString (body != "") "[Service]\n${body}";
}
