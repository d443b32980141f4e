{ lib, helpers }:
let
  inherit (helpers) eval evalOptions;
  inherit (lib) types mkOption;
  target = {
    options.new.x = mkOption {
      type = types.listOf types.int;
      default = [ ];
    };
  };
  warnings = {
    options.warnings = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    options.assertions = mkOption {
      type = types.listOf types.attrs;
      default = [ ];
    };
  };
  renamed = lib.mkRenamedOptionModule [ "old" "x" ] [ "new" "x" ];
  alias = lib.mkAliasOptionModule [ "old" "x" ] [ "new" "x" ];
in
{
  forwards = (eval [
    target
    warnings
    renamed
    { old.x = [ 1 ]; }
  ]).new;
  warns = (eval [
    target
    warnings
    renamed
    {
      _file = "user.nix";
      old.x = [ 1 ];
    }
  ]).warnings;
  quietWhenUnused = (eval [
    target
    warnings
    renamed
  ]).warnings;
  withoutWarningsOption = (eval [
    target
    renamed
    { old.x = [ 1 ]; }
  ]).new;
  joinsBoth = (eval [
    target
    alias
    { old.x = [ 1 ]; }
    { new.x = [ 2 ]; }
  ]).new;
  readsTheNew = (eval [
    target
    alias
    { new.x = [ 2 ]; }
  ]).old;
  keepsPriority = (eval [
    target
    alias
    { old.x = lib.mkForce [ 1 ]; }
    { new.x = [ 2 ]; }
  ]).new;
  keepsWeakPriority = (eval [
    target
    alias
    { old.x = lib.mkDefault [ 1 ]; }
    { new.x = [ 2 ]; }
  ]).new;
  aliasIsQuiet = (eval [
    target
    warnings
    alias
    { old.x = [ 1 ]; }
  ]).warnings;
  aliasHasTheType = (evalOptions [
    target
    alias
  ]).old.x.type.description;
  aliasOfMissing = eval [
    alias
    { old.x = [ 1 ]; }
  ];
  removedUnused = (eval [
    warnings
    (lib.mkRemovedOptionModule [ "gone" ] "Use something else.")
  ]).warnings;
  removedAssertion = map (a: a.assertion) (eval [
    warnings
    (lib.mkRemovedOptionModule [ "gone" ] "Use something else.")
    { gone = 1; }
  ]).assertions;
  removedRead = (eval [
    warnings
    (lib.mkRemovedOptionModule [ "gone" ] "Use something else.")
    { gone = 1; }
  ]).gone;
  changed = (eval [
    warnings
    { options.level = mkOption { type = types.str; }; }
    (lib.mkChangedOptionModule [ "number" ] [ "level" ] (
      config: if config.number > 100 then "high" else "normal"
    ))
    { number = 101; }
  ]).level;
  merged =
    let
      config = eval [
        warnings
        {
          options.out = mkOption {
            type = types.str;
            default = "neither";
          };
        }
        (lib.mkMergedOptionModule
          [
            [ "a" ]
            [ "b" ]
          ]
          [ "out" ]
          (config: "a is ${toString config.a}")
        )
        {
          _file = "user.nix";
          a = 1;
        }
      ];
    in
    [
      config.out
      config.warnings
    ];
  renamedWith = (eval [
    target
    warnings
    (lib.mkRenamedOptionModuleWith {
      from = [ "old" "x" ];
      to = [ "new" "x" ];
      sinceRelease = 2211;
    })
    {
      _file = "user.nix";
      old.x = [ 1 ];
    }
  ]).warnings;
  aliasDefinitions = (eval [
    target
    { options.other = mkOption { type = types.listOf types.int; }; }
    ({ options, ... }: { new.x = lib.mkAliasDefinitions options.other; })
    { other = [ 1 ]; }
    { other = [ 2 ]; }
  ]).new;
  mapDefinitionValue = (eval [
    target
    {
      new.x = lib.modules.mapDefinitionValue (xs: map (x: x + 1) xs) (
        lib.mkIf true (lib.mkForce (lib.mkMerge [ [ 1 ] ]))
      );
    }
    { new.x = lib.modules.mapDefinitionValue (map (x: x + 1)) (lib.mkIf true (lib.mkBefore [ 1 ])); }
  ]).new;
}
