# One option: its declarations joined, its definitions merged.
{ lib }:
let
  inherit (builtins)
    addErrorContext
    all
    any
    concatMap
    filter
    foldl'
    head
    length
    mapAttrs
    tail
    ;
  inherit (lib.attrsets) zipAttrs;
  inherit (lib.modules)
    defaultOverridePriority
    dischargeProperties
    filterOverrides'
    mkOptionDefault
    pushDownProperties
    setDefaultModuleLocation
    sortProperties
    ;
  inherit (lib.options) showOption;
  problems = import ./problems.nix { inherit lib; };
in
rec {
  # Joins the declarations of one option. Their types must join, and only one may state a default.
  mergeOptionDecls =
    loc: declarations:
    let
      join =
        joined: d:
        let
          file = d.file or d._file;
          both = k: joined ? ${k} && d.options ? ${k};
          type = joined.type.typeMerge d.options.type.functor;
          refuse = problems.declaredTwice loc file joined.declarations;
          subModules = d.options.type.getSubModules or null;
        in
        if any both [
          "default"
          "example"
          "description"
          "apply"
        ] then
          refuse
        else
          d.options
          // joined
          // {
            declarations = joined.declarations ++ [ file ];
            declarationPositions = joined.declarationPositions ++ [
              (
                if d.pos or null != null then
                  d.pos
                else
                  {
                    inherit file;
                    line = null;
                    column = null;
                  }
              )
            ];
            options =
              if subModules == null then
                joined.options
              else
                map (setDefaultModuleLocation file) subModules ++ joined.options;
          }
          // (if both "type" then { type = if type == null then refuse else type; } else { });
    in
    foldl' join {
      inherit loc;
      declarations = [ ];
      declarationPositions = [ ];
      options = [ ];
    } declarations;

  # Gives a type the submodules that all declarations together contribute.
  fixupOptionType =
    _: option:
    if option.type.getSubModules or null == null then
      option // { type = option.type or lib.types.unspecified; }
    else
      option
      // {
        type = option.type.substSubModules option.options;
        options = [ ];
      };

  # An option with its value and with what is known of it.
  evalOptionValue = evalOptionValue' (file: { inherit file; });
  evalOptionValue' =
    origin: loc: option: definitions:
    let
      default = { value = mkOptionDefault option.default; } // origin (head option.declarations);
      all = if option ? default then [ default ] ++ definitions else definitions;
      merged = mergeDefinitions loc option.type all;
      value =
        if option.readOnly or false && length all > 1 then
          problems.readOnly loc all
        else if merged.isDefined || option.type.emptyValue ? value then
          merged.mergedValue
        else
          problems.missing loc option.declarations;
    in
    option
    // {
      value = addErrorContext "while evaluating the option `${showOption loc}':" (
        if option ? apply then option.apply value else value
      );
      inherit (merged.defsFinal') highestPrio;
      inherit (merged) isDefined;
      definitions = map (d: d.value) merged.defsFinal;
      files = map (d: d.file) merged.defsFinal;
      definitionsWithLocations = map (d: removeAttrs d [ "unknownOption" ]) merged.defsFinal;
      __toString = _: showOption loc;
    };

  # What is left of some definitions once conditions, priorities and orders are applied, and their merged value.
  mergeDefinitions =
    loc: type: definitions:
    let
      normalized = concatMap (
        d:
        map (
          v:
          if v._type or null == "definition" then
            d // v
          else
            d // { value = v; }
        ) (addErrorContext "while evaluating definitions from `${d.file}':" (dischargeProperties d.value))
      ) definitions;
      filtered = filterOverrides' normalized;
      isPlain = definitions != [ ] && tail definitions == [ ] && !(head definitions).value ? _type;
      invalid = filter (d: !type.check d.value) defsFinal;
      defsFinal' =
        if isPlain then
          {
            values = definitions;
            highestPrio = defaultOverridePriority;
          }
        else
          filtered // { values = sortProperties filtered.values; };
      defsFinal = defsFinal'.values;
      isDefined = defsFinal != [ ];
      mergedValue =
        if isDefined then
          if all (d: type.check d.value) defsFinal then
            type.merge loc defsFinal
          else
            problems.wrongType loc type invalid
        else if type.emptyValue ? value then
          type.emptyValue.value
        else
          problems.missing loc [ ];
    in
    {
      inherit
        defsFinal
        defsFinal'
        isDefined
        mergedValue
        ;
      optionalValue = if isDefined then { value = mergedValue; } else { };
    };

  # The attributes of an option of type attrsOf, each with the priority of its own definitions.
  mergeAttrDefinitionsWithPrio =
    option:
    let
      push = d: map (mapAttrs (_: value: d // { inherit value; })) (pushDownProperties d.value);
    in
    mapAttrs (
      n: defs:
      let
        merged = mergeDefinitions (option.loc ++ [ n ]) option.type.nestedTypes.elemType defs;
      in
      {
        value = merged.mergedValue;
        inherit (merged.defsFinal') highestPrio;
      }
    ) (zipAttrs (concatMap push option.definitionsWithLocations));
}
