# Evaluating modules: collecting what they import, joining what they declare, merging what they define.
{ lib }:
let
  inherit (builtins)
    addErrorContext
    all
    attrNames
    concatLists
    concatMap
    head
    isAttrs
    mapAttrs
    seq
    unsafeGetAttrPos
    ;
  inherit (lib.attrsets)
    mapAttrsRecursiveCond
    mapAttrsToList
    recursiveUpdate
    setAttrByPath
    zipAttrs
    ;
  inherit (lib.lists) reverseList;
  inherit (lib.modules)
    evalOptionValue'
    fixupOptionType
    mergeOptionDecls
    pushDownProperties
    ;
  inherit (lib.options) isOption mkOption;
  inherit (lib) types;

  problems = import ./problems.nix { inherit lib; };
  loader = import ./collect.nix { inherit lib problems; };

  # The options that every evaluation has.
  internalModule = prefix: arguments: specialArgs: {
    _file = "lib/modules.nix";
    key = "lib/modules.nix";
    options._module = {
      args = mkOption {
        type = types.lazyAttrsOf types.raw;
        internal = prefix != [ ];
        description = "Arguments for module functions, beside those that are always there.";
      };
      check = mkOption {
        type = types.bool;
        default = true;
        internal = true;
        description = "Whether a definition that no option takes is an error.";
      };
      freeformType = mkOption {
        type = types.nullOr types.optionType;
        default = null;
        internal = true;
        description = "The type that merges the definitions that no option takes.";
      };
      specialArgs = mkOption {
        readOnly = true;
        internal = true;
        description = "Arguments for module functions that imports may depend on.";
      };
    };
    config._module = {
      args = arguments;
      inherit specialArgs;
    };
  };
in
rec {
  inherit (loader) setDefaultModuleLocation unifyModuleSyntax;

  # As nixpkgs' evalModules, and `unknownOption`: a function of { loc, files, near } that words the error for a
  # definition that no option takes, in this evaluation and in its submodules.
  evalModules =
    {
      modules,
      prefix ? [ ],
      specialArgs ? { },
      class ? null,
      unknownOption ? null,
      args ? { },
      check ? true,
    }@evaluation:
    let
      ownModules =
        modules
        ++ lib.lists.optional (evaluation ? args) { config._module.args = args; }
        ++ lib.lists.optional (evaluation ? check) {
          config._module.check = lib.modules.mkDefault check;
        };
      collected =
        loader.collectModules {
          inherit class;
          modulesPath = specialArgs.modulesPath or "";
          arguments = {
            inherit lib options specialArgs;
            config = addErrorContext "while using `config' (on infinite recursion: `imports' may not depend on `config')" config;
            _class = class;
            _prefix = prefix;
          }
          // specialArgs;
        } (ownModules ++ [ (internalModule prefix { inherit extendModules moduleType; } specialArgs) ]);

      merged = mergeModules' unknownOption prefix (reverseList collected);
      inherit (merged) options;
      declared = mapAttrsRecursiveCond (v: !isOption v) (_: option: option.value) options;
      freeform = declared._module.freeformType;
      free = map (d: {
        inherit (d) file;
        value = setAttrByPath d.loc d.value;
      }) merged.unmatched;
      config =
        if freeform == null then
          declared
        else if free == [ ] then
          declared
        else
          recursiveUpdate (freeform.merge prefix free) declared;

      checked =
        if declared._module.check && freeform == null && merged.unmatched != [ ] then
          problems.unknown {
            inherit options prefix;
            hook = unknownOption;
          } merged.unmatched
        else
          null;

      moduleType = types.submoduleWith { inherit modules specialArgs class; };
      extendModules =
        {
          modules ? [ ],
          specialArgs ? { },
          prefix ? evaluation.prefix or [ ],
        }:
        evalModules (
          evaluation
          // {
            inherit prefix;
            modules = evaluation.modules ++ modules;
            specialArgs = evaluation.specialArgs or { } // specialArgs;
          }
        );
    in
    {
      _type = "configuration";
      options = seq checked options;
      config = seq checked (removeAttrs config [ "_module" ]);
      _module = seq checked config._module;
      type = moduleType;
      inherit extendModules class;
    };

  # From modules (the last first) to { options, unmatched }: the options with their values, and the definitions
  # that none takes.
  mergeModules =
    prefix: modules:
    let
      merged = mergeModules' null prefix modules;
    in
    {
      matchedOptions = merged.options;
      unmatchedDefns = map (d: {
        inherit (d) file value;
        prefix = d.loc;
      }) merged.unmatched;
    };
  mergeModules' =
    unknownOption: prefix: modules:
    let
      definitions = m: map (value: { inherit value; } // origin m._file) (pushDownProperties m.config);
      # Submodules take the wording of unknown options from the definitions they are merged from.
      origin = file: if unknownOption == null then { inherit file; } else { inherit file unknownOption; };
    in
    mergeTree origin prefix (map (m: {
      file = m._file;
      inherit (m) options;
    }) modules) (concatMap definitions modules);

  mergeTree =
    origin: prefix: declarations: definitions:
    let
      declarationsByName = zipAttrs (
        map (
          d:
          if !isAttrs d.options then
            problems.notDeclaration prefix d.file (builtins.typeOf d.options)
          else
            mapAttrs (n: options: {
              inherit (d) file;
              inherit options;
              pos = unsafeGetAttrPos n d.options;
            }) d.options
        ) declarations
      );
      definitionsByName = zipAttrs (
        map (
          d:
          if isAttrs d.value then
            mapAttrs (_: value: d // { inherit value; }) d.value
          else
            problems.notAttrs prefix d.file d.value
        ) definitions
      );
      results = mapAttrs (
        n: decls: mergeNamed origin (prefix ++ [ n ]) decls (definitionsByName.${n} or [ ])
      ) declarationsByName;
      below = n: map (d: d // { loc = [ n ] ++ d.loc; });
    in
    {
      options = mapAttrs (_: r: r.options) results;
      # Without definitions nothing can be unmatched, and the options need not be looked at.
      unmatched =
        if definitions == [ ] then
          [ ]
        else
          concatLists (mapAttrsToList (n: r: below n r.unmatched) results)
          ++ concatLists (
            mapAttrsToList (n: map (d: d // { loc = [ n ]; })) (
              removeAttrs definitionsByName (attrNames declarationsByName)
            )
          );
    };

  # One name of the tree: an option, or a set that holds options.
  mergeNamed =
    origin: loc: declarations: definitions:
    let
      isDeclared =
        d:
        d.options ? _type
        && (isOption d.options || problems.notDeclaration loc d.file "a value of type ${toString d.options._type}");
      split = builtins.partition isDeclared declarations;
      leaf = decls: {
        options = evalOptionValue' origin loc (fixupOptionType loc (mergeOptionDecls loc decls)) definitions;
        unmatched = [ ];
      };
      parent = head split.right;
    in
    if split.wrong == [ ] then
      leaf declarations
    else if split.right == [ ] then
      mergeTree origin loc declarations (
        concatMap (d: map (value: d // { inherit value; }) (pushDownProperties d.value)) definitions
      )
    else if all (d: d.options.type.name or null == "submodule") split.right then
      leaf (map (d: if isOption d.options then d else asSubmodule d) declarations)
    else
      problems.parentOfOptions loc parent.file parent.options.type or { } (map (d: d.file) split.wrong);

  # Options declared below an option of type submodule are added to the submodule.
  asSubmodule =
    d:
    d
    // {
      options = mkOption {
        type = types.submoduleWith {
          modules = [ { inherit (d) options; } ];
          shorthandOnlyDefinesConfig = null;
        };
      };
    };
}
