# Finding all modules that some modules import, in one shape: { _file, key, imports, options, config, ... }.
{ lib, problems }:
let
  inherit (builtins)
    attrNames
    concatMap
    elem
    filter
    genericClosure
    isAttrs
    isList
    isString
    mapAttrs
    ;
  inherit (lib.lists) imap1;
  inherit (lib.modules) mkMerge;
  inherit (lib.options) unknownModule;
  inherit (lib.trivial) functionArgs isFunction;
in
rec {
  setDefaultModuleLocation = file: module: {
    _file = file;
    imports = [ module ];
  };

  # A module may leave out `config` if it declares nothing: all it holds is then configuration.
  unifyModuleSyntax =
    file: key: m:
    let
      withFreeform =
        config:
        if m ? freeformType then
          mkMerge [
            config
            { _module.freeformType = m.freeformType; }
          ]
        else
          config;
      withMeta =
        config:
        if m ? meta then
          mkMerge [
            config
            { inherit (m) meta; }
          ]
        else
          config;
      structure = [
        "_class"
        "_file"
        "key"
        "disabledModules"
        "imports"
        "freeformType"
      ];
      stray = attrNames (
        removeAttrs m (
          structure
          ++ [
            "options"
            "config"
            "meta"
          ]
        )
      );
      isExplicit = m ? config || m ? options;
    in
    if !isAttrs m then
      problems.notModule file (builtins.typeOf m)
    else if isExplicit && stray != [ ] then
      problems.strayAttribute file stray
    else
      {
        _file = toString m._file or file;
        _class = m._class or null;
        key = toString m.key or key;
        disabledModules = m.disabledModules or [ ];
        imports = (if isExplicit then [ ] else m.require or [ ]) ++ m.imports or [ ];
        options = m.options or { };
        config =
          if isExplicit then
            withFreeform (withMeta m.config or { })
          else
            withFreeform (removeAttrs m (structure ++ [ "require" ]));
      };

  # Arguments that are not given come from `_module.args`, and only when they are used.
  applyArguments =
    file: f: arguments:
    f (
      arguments
      // mapAttrs (
        n: _: arguments.${n} or (arguments.config._module.args.${n} or (problems.noArgument file n))
      ) (functionArgs f)
    );

  # `file` and `key` stand in where the module has none of its own.
  load =
    arguments: file: key: m:
    if isFunction m then
      unifyModuleSyntax file key (applyArguments file m arguments)
    else if isAttrs m && m._type or "module" == "module" then
      unifyModuleSyntax file key m
    else if isAttrs m && (m._type == "if" || m._type == "override") then
      unifyModuleSyntax file key { config = m; }
    else if isAttrs m then
      problems.notModule file "a value of type ${toString m._type}"
    else if isList m then
      problems.notModule file "a list within `imports'"
    else if isString m || builtins.isPath m then
      let
        path = toString m;
        imported = import m;
      in
      unifyModuleSyntax path path (
        if isFunction imported then applyArguments path imported arguments else imported
      )
    else
      problems.notModule file (builtins.typeOf m);

  collectModules =
    {
      class,
      modulesPath,
      arguments,
    }:
    modules:
    let
      structured =
        file: key: ms:
        imap1 (
          n: m:
          let
            module = ofClass (load arguments file "${key}:anon-${toString n}" m);
          in
          {
            inherit module;
            inherit (module) key;
          }
        ) ms;
      ofClass =
        m:
        if class == null || m._class == null || m._class == class then
          m
        else
          problems.wrongClass m class;
      imports = x: structured x.module._file x.module.key x.module.imports;
      closure =
        keep:
        genericClosure {
          startSet = filter keep (structured unknownModule "" modules);
          operator = x: filter keep (imports x);
        };
      everything = closure (_: true);
      disabled = concatMap (x: map (disabledKey modulesPath x.module) x.module.disabledModules) everything;
      kept = if disabled == [ ] then everything else closure (x: !elem x.key disabled);
    in
    map (x: x.module) kept;

  disabledKey =
    modulesPath: by: m:
    if isString m && builtins.substring 0 1 m != "/" then
      "${toString modulesPath}/${m}"
    else if isAttrs m && m ? key && !(lib.strings.isStringLike m && m.key != toString m) then
      m.key
    else if lib.strings.isConvertibleWithToString m && !(m ? key) then
      toString m
    else
      problems.notModule by._file "an entry of `disabledModules' that is neither a path nor has one `key'";
}
