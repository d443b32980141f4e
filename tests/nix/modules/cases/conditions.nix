{ lib, helpers }:
let
  inherit (helpers) eval declare;
  inherit (lib) types;
  base = declare {
    on = types.bool;
    n = types.int;
    xs = types.listOf types.str;
    set = types.attrsOf types.int;
    lazy = types.lazyAttrsOf types.int;
  };
  part = names: config: lib.getAttrs names config;
in
{
  dependsOnConfig = part [ "n" ] (eval [
    base
    { on = true; }
    ({ config, ... }: { n = lib.mkIf config.on 1; })
  ]);
  wholeModuleDependsOnConfig = part [ "on" "n" ] (eval [
    base
    ({ config, ... }: lib.mkIf config.on { n = 1; })
    { on = true; }
    { n = lib.mkDefault 2; }
  ]);
  configAttributeDependsOnConfig = part [ "n" ] (eval [
    base
    (
      { config, ... }:
      {
        config = lib.mkIf config.on { n = 1; };
      }
    )
    { on = true; }
  ]);
  dependsOnANeighbour = part [ "on" "n" ] (eval [
    base
    ({ config, ... }: lib.mkIf (config.n == 3) { on = true; })
    { n = 3; }
  ]);
  falseIsAbsent = part [ "n" ] (eval [
    base
    { n = lib.mkIf false 1; }
  ]);
  falseLeavesTheDefault = eval [
    { options.n = lib.mkOption { default = 5; }; }
    { n = lib.mkIf false 1; }
  ];
  nested = part [ "n" ] (eval [
    base
    { n = lib.mkIf true (lib.mkIf true 1); }
  ]);
  nestedFalse = part [ "xs" ] (eval [
    base
    { xs = lib.mkIf true (lib.mkIf false [ "a" ]); }
    { xs = [ ]; }
  ]);
  mergeInIf = part [ "xs" ] (eval [
    base
    {
      xs = lib.mkIf true (
        lib.mkMerge [
          [ "a" ]
          (lib.mkIf false [ "b" ])
          [ "c" ]
        ]
      );
    }
  ]);
  mergeOfModules = part [ "n" "xs" ] (eval [
    base
    {
      config = lib.mkMerge [
        { n = 1; }
        (lib.mkIf true { xs = [ "a" ]; })
        (lib.mkIf false { n = 2; })
        (lib.mkMerge [ { xs = [ "b" ]; } ])
      ];
    }
  ]);
  conditionMustBeBool = part [ "n" ] (eval [
    base
    { n = lib.mkIf "yes" 1; }
  ]);
  undefinedAttributeStays = builtins.attrNames (eval [
    base
    { set.a = lib.mkIf false 1; }
    { set.b = 1; }
  ]).set;
  lazyAttributeStays = builtins.attrNames (eval [
    base
    { lazy.a = lib.mkIf false 1; }
    { lazy.b = 1; }
  ]).lazy;
  lazyAttributeHasNoValue = (eval [
    base
    { lazy.a = lib.mkIf false 1; }
  ]).lazy.a;
  lazyNestedEmptyValue = (eval [
    (declare { lazy = types.lazyAttrsOf (types.listOf types.int); })
    { lazy.a = lib.mkIf false [ 1 ]; }
  ]).lazy.a;
  lazyRecursion = (eval [
    base
    (
      { config, ... }:
      {
        lazy = {
          a = config.lazy.b + 1;
          b = 1;
        };
      }
    )
  ]).lazy;
  unknownUnderFalse = part [ "n" ] (eval [
    base
    { n = 1; }
    { unknown = lib.mkIf false 1; }
  ]);
  falseModuleWithUnknown = part [ "n" ] (eval [
    base
    { n = 1; }
    (lib.mkIf false { unknown = 1; })
  ]);
  assertHolds = part [ "n" ] (eval [
    base
    { n = lib.mkAssert true "never" 1; }
  ]);
  assertFails = part [ "n" ] (eval [
    base
    { n = lib.mkAssert false "always" 1; }
  ]);
  optionalAttrsOnOptions = part [ "n" ] (eval [
    base
    (
      { options, ... }:
      {
        config = lib.mkMerge [
          (lib.optionalAttrs (options ? n) { n = 1; })
          (lib.optionalAttrs (options ? other) { other = 1; })
        ];
      }
    )
  ]);
  ifAboveNestedOptions = eval [
    {
      options.a.b.c = lib.mkOption { type = types.int; };
      options.a.b.d = lib.mkOption {
        type = types.int;
        default = 0;
      };
    }
    { a = lib.mkIf true { b = lib.mkIf true { c = 1; }; }; }
    { a.b = lib.mkIf false { d = 1; }; }
  ];
}
