# What surrounds a value in a definition: a condition, a priority, an order, or several values at once.
{ lib }:
let
  inherit (builtins)
    any
    concatMap
    filter
    foldl'
    isAttrs
    isBool
    mapAttrs
    ;
  inherit (lib.trivial) id min;
  kind = v: v._type or null;
in
rec {
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkAssert =
    assertion: message: content:
    mkIf (assertion || throw "\nFailed assertion: ${message}") content;
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkDefinition = { file, value, ... }@attrs: attrs // { _type = "definition"; };

  # The lowest number wins.
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  defaultOverridePriority = 100;
  mkOptionDefault = mkOverride 1500;
  mkDefault = mkOverride 1000;
  mkImageMediaOverride = mkOverride 60;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;

  # The lowest number comes first.
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };
  defaultOrderPriority = 1000;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;

  # Definitions of one option as those of another.
  mkAliasDefinitions = mkAliasAndWrapDefinitions id;
  mkAliasAndWrapDefinitions =
    wrap: option: mkIf option.isDefined (wrap (mkMerge option.definitions));
  mkAliasAndWrapDefsWithPriority =
    wrap: option:
    let
      priority = option.highestPrio or defaultOverridePriority;
    in
    mkIf option.isDefined (wrap (mkMerge (map (mkOverride priority) option.definitions)));
  mkDerivedConfig =
    option: f: mkOverride (option.highestPrio or defaultOverridePriority) (f option.value);

  # Changes the value and leaves what surrounds it.
  mapDefinitionValue =
    f: v:
    {
      merge = v // {
        contents = map (mapDefinitionValue f) v.contents;
      };
      "if" = v // {
        content = mapDefinitionValue f v.content;
      };
      override = v // {
        content = mapDefinitionValue f v.content;
      };
      order = v // {
        content = mapDefinitionValue f v.content;
      };
      definition = v // {
        value = mapDefinitionValue f v.value;
      };
    }
    .${toString (kind v)} or (f v);

  # Moves properties from a set to its attributes, so that conditions may depend on the whole configuration
  # without the names of what is defined depending on them.
  pushDownProperties =
    v:
    let
      onEach = wrap: inner: if isAttrs inner then mapAttrs (_: wrap) inner else inner;
    in
    if kind v == "merge" then
      concatMap pushDownProperties v.contents
    else if kind v == "if" then
      map (onEach (mkIf v.condition)) (pushDownProperties v.content)
    else if kind v == "override" then
      map (onEach (mkOverride v.priority)) (pushDownProperties v.content)
    else
      [ v ];

  # The values that remain once conditions are decided.
  dischargeProperties =
    v:
    if kind v == "merge" then
      concatMap dischargeProperties v.contents
    else if kind v == "if" then
      if !isBool v.condition then
        throw "nxc: the condition of lib.mkIf is a ${builtins.typeOf v.condition}, not a boolean"
      else if v.condition then
        dischargeProperties v.content
      else
        [ ]
    else
      [ v ];

  # Keeps the definitions of the strongest priority.
  filterOverrides = defs: (filterOverrides' defs).values;
  filterOverrides' =
    defs:
    let
      priority = d: if kind d.value == "override" then d.value.priority else defaultOverridePriority;
      strip = d: if kind d.value == "override" then d // { value = d.value.content; } else d;
      highestPrio = foldl' (p: d: min p (priority d)) 9999 defs;
    in
    {
      inherit highestPrio;
      values = map strip (filter (d: priority d == highestPrio) defs);
    };

  sortProperties =
    defs:
    let
      isOrdered = d: kind d.value == "order";
      strip =
        d:
        if isOrdered d then
          d
          // {
            value = d.value.content;
            inherit (d.value) priority;
          }
        else
          d;
      rank = d: d.priority or defaultOrderPriority;
    in
    if any isOrdered defs then builtins.sort (a: b: rank a < rank b) (map strip defs) else defs;
}
