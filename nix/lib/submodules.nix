# Option types whose values are modules.
{ lib }:
let
  inherit (builtins) intersectAttrs isAttrs;
  inherit (lib.lists) last toList;
  inherit (lib.modules) evalModules mkForce mkOptionDefault setDefaultModuleLocation;
  inherit (lib.options) showOption;
  inherit (lib.trivial) isFunction;
  inherit (lib.types) defaultFunctor mkOptionType;

  isModule = x: isAttrs x || isFunction x || lib.types.path.check x;
  unchecked = {
    _file = "lib/submodules.nix";
    config._module.check = mkForce false;
  };
in
rec {
  submodule =
    modules:
    submoduleWith {
      modules = toList modules;
      shorthandOnlyDefinesConfig = true;
    };

  # With `shorthandOnlyDefinesConfig` a set is configuration throughout; otherwise it is a module, which may
  # declare and import.
  submoduleWith =
    {
      modules,
      specialArgs ? { },
      shorthandOnlyDefinesConfig ? false,
      description ? null,
      class ? null,
    }@attrs:
    let
      evaluate =
        prefix: unknownOption: name: more:
        evalModules {
          inherit
            class
            specialArgs
            prefix
            unknownOption
            ;
          modules = modules ++ [ { _module.args = { inherit name; }; } ] ++ more;
        };
      # Without a name, as the manual shows it.
      nameless = evaluate [ ] null (mkOptionDefault "‹name›") [ ];
      documented = prefix: evaluate prefix null (mkOptionDefault "‹name›") [ unchecked ];
      freeformType = nameless._module.freeformType;
      asModule =
        d:
        if isAttrs d.value && shorthandOnlyDefinesConfig == true then
          {
            _file = d.file;
            config = d.value;
          }
        else
          setDefaultModuleLocation d.file d.value;
    in
    mkOptionType {
      name = "submodule";
      description =
        let
          free = (documented [ ])._module.freeformType;
          phrase = lib.types.optionDescriptionPhrase (class: class == "noun" || class == "composite") free;
        in
        if description != null then
          description
        else if free ? description then
          "open submodule of ${phrase}"
        else
          "submodule";
      check = isModule;
      merge =
        loc: defs:
        (evaluate loc (builtins.head defs).unknownOption or null (last loc) (map asModule defs)).config;
      emptyValue.value = nameless.config;
      getSubOptions =
        prefix:
        let
          evaluated = documented prefix;
          free = evaluated._module.freeformType;
        in
        evaluated.options
        // lib.attrsets.optionalAttrs (free != null) { _freeformOptions = free.getSubOptions prefix; };
      getSubModules = modules;
      substSubModules = modules: submoduleWith (attrs // { inherit modules; });
      nestedTypes = lib.attrsets.optionalAttrs (freeformType != null) { inherit freeformType; };
      functor = defaultFunctor "submodule" // {
        type = submoduleWith;
        payload = {
          inherit
            modules
            class
            specialArgs
            shorthandOnlyDefinesConfig
            description
            ;
        };
        binOp = joinSubmodules;
      };
    };

  # The arguments of submoduleWith for an option declared twice.
  joinSubmodules =
    a: b:
    let
      agree =
        what:
        if a.${what} == null then
          b.${what}
        else if b.${what} == null || a.${what} == b.${what} then
          a.${what}
        else
          throw "nxc: a submodule is declared twice with different values of ${what}";
      shared = builtins.attrNames (intersectAttrs a.specialArgs b.specialArgs);
    in
    {
      modules = a.modules ++ b.modules;
      specialArgs =
        if shared == [ ] then
          a.specialArgs // b.specialArgs
        else
          throw "nxc: a submodule is declared twice with the special argument `${builtins.head shared}'";
      class = agree "class";
      shorthandOnlyDefinesConfig = agree "shorthandOnlyDefinesConfig";
      description = agree "description";
    };

  # A module as a value, to be imported elsewhere.
  deferredModule = deferredModuleWith { };
  deferredModuleWith =
    {
      staticModules ? [ ],
    }:
    mkOptionType {
      name = "deferredModule";
      description = "module";
      descriptionClass = "noun";
      check = isModule;
      merge = loc: defs: {
        imports =
          staticModules
          ++ map (d: setDefaultModuleLocation "${d.file}, via option ${showOption loc}" d.value) defs;
      };
      inherit (submoduleWith { modules = staticModules; }) getSubOptions getSubModules;
      substSubModules = ms: deferredModuleWith { staticModules = ms; };
      functor = defaultFunctor "deferredModuleWith" // {
        type = deferredModuleWith;
        payload = { inherit staticModules; };
        binOp = a: b: { staticModules = a.staticModules ++ b.staticModules; };
      };
    };
}
