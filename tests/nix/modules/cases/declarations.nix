{ lib, helpers }:
let
  inherit (helpers) eval evalOptions declare;
  inherit (lib) types mkOption;
  twice =
    a: b: values:
    (eval (
      [
        (declare { x = a; })
        (declare { x = b; })
      ]
      ++ map (x: { inherit x; }) values
    )).x;
in
{
  noValue = eval [ (declare { x = types.int; }) ];
  emptyList = eval [ (declare { x = types.listOf types.int; }) ];
  emptySet = eval [ (declare { x = types.attrsOf types.int; }) ];
  noValueUnlooked = builtins.attrNames (eval [ (declare { x = types.int; }) ]);
  noEmptyValueForNonEmptyList = eval [ (declare { x = types.nonEmptyListOf types.int; }) ];
  default = eval [ { options.x = mkOption { default = 1; }; } ];
  defaultIsChecked = eval [
    {
      options.x = mkOption {
        type = types.int;
        default = "text";
      };
    }
  ];
  defaultText =
    (evalOptions [
      {
        options.x = mkOption {
          default = 1;
          defaultText = lib.literalExpression "one";
        };
      }
    ]).x.defaultText;
  defaultFromConfig = eval [
    (
      { config, ... }:
      {
        options.a = mkOption { default = 1; };
        options.b = mkOption { default = config.a + 1; };
      }
    )
  ];
  apply = eval [
    {
      options.x = mkOption {
        type = types.int;
        apply = x: "applied to ${toString x}";
      };
    }
    { x = 1; }
  ];
  applyToDefault = eval [
    {
      options.x = mkOption {
        default = 1;
        apply = x: x + 1;
      };
    }
  ];
  applyAfterMerging = eval [
    {
      options.x = mkOption {
        type = types.listOf types.int;
        apply = lib.foldl' builtins.add 0;
      };
    }
    { x = [ 1 ]; }
    { x = [ 2 ]; }
  ];
  applyTwice = eval [
    {
      options.x = mkOption {
        type = types.int;
        apply = x: x;
      };
    }
    {
      options.x = mkOption {
        type = types.int;
        apply = x: x;
      };
    }
    { x = 1; }
  ];
  readOnlyOnce = eval [
    { options.x = mkOption { readOnly = true; }; }
    { x = 1; }
  ];
  readOnlyDefault = eval [
    {
      options.x = mkOption {
        readOnly = true;
        default = 1;
      };
    }
  ];
  readOnlyTwice = eval [
    { options.x = mkOption { readOnly = true; }; }
    { x = 1; }
    { x = 1; }
  ];
  readOnlyDefaultAndValue = eval [
    {
      options.x = mkOption {
        readOnly = true;
        default = 1;
      };
    }
    { x = 2; }
  ];
  readOnlyWithFalseIf = eval [
    { options.x = mkOption { readOnly = true; }; }
    { x = 1; }
    { x = lib.mkIf false 2; }
  ];
  readOnlyFromTheSecondDeclaration = eval [
    { options.x = mkOption { type = types.int; }; }
    {
      options.x = mkOption {
        type = types.int;
        readOnly = true;
      };
    }
    { x = 1; }
    { x = 1; }
  ];
  enableOption = eval [
    { options.x.enable = lib.mkEnableOption "x"; }
    { options.y.enable = lib.mkEnableOption "y"; }
    { x.enable = true; }
  ];
  enableOptionText = (lib.mkEnableOption "the thing").description;
  packageOption = eval [
    {
      options.p = lib.mkPackageOption { hello.outPath = "/nix/store/00000000000000000000000000000000-hello"; hello.type = "derivation"; } "hello" { };
    }
  ];
  packageOptionPath =
    let
      option = lib.mkPackageOption { a.b.type = "derivation"; } [ "a" "b" ] { };
    in
    [
      option.description
      option.defaultText
      option.default.type
    ];
  packageOptionNullable =
    let
      option = lib.mkPackageOption { } "dbus" {
        nullable = true;
        default = null;
        example = "pkgs.other";
        extraDescription = "Or not.";
      };
    in
    [
      option.default
      option.description
      option.type.description
      option.example
    ];
  packageOptionMissing = (lib.mkPackageOption { } "nothing" { }).default;
  unknownOption = eval [
    (declare { x = types.int; })
    { y = 1; }
  ];
  unknownNestedOption = eval [
    { options.a.b = mkOption { default = 1; }; }
    { a.c = 1; }
  ];
  unknownBelowAnOption = eval [
    (declare { x = types.int; })
    { x.y = 1; }
  ];
  optionSetDefinedByANumber = eval [
    { options.a.b = mkOption { default = 1; }; }
    { a = 1; }
  ];
  unknownFound = builtins.attrNames (evalOptions [ (declare { x = types.int; }) { y = 1; } ]);
  configReadsAround = (eval [
    (declare { x = types.int; })
    ({ config, ... }: { x = builtins.length (builtins.attrNames config); })
  ]).x;
  optionInConfig = eval [ { x = mkOption { default = 1; }; } ];
  bareType = eval [ { options.x = types.int; } ];
  numberAsDeclaration = eval [ { options.x = 1; } ];
  twiceWithoutType = eval [
    { options.x = mkOption { default = 1; }; }
    { options.x = mkOption { description = "more of it"; }; }
  ];
  twiceWithDefaults = eval [
    { options.x = mkOption { default = 1; }; }
    { options.x = mkOption { default = 1; }; }
  ];
  twiceWithDescriptions = eval [
    { options.x = mkOption { description = "a"; }; }
    { options.x = mkOption { description = "b"; }; }
    { x = 1; }
  ];
  twiceTheSameType = twice types.int types.int [ 1 ];
  twiceDifferentTypes = twice types.int types.str [ 1 ];
  twiceOneWithoutType = eval [
    { options.x = mkOption { type = types.int; }; }
    { options.x = mkOption { default = 4; }; }
  ];
  twiceEnum = twice (types.enum [ "a" ]) (types.enum [ "b" ]) [ "b" ];
  twiceListOfEnum = twice (types.listOf (types.enum [ "a" ])) (types.listOf (types.enum [ "b" ])) [
    [ "a" ]
    [ "b" ]
  ];
  twiceLines = twice types.lines types.lines [ "a" "b" ];
  twiceLinesAndCommas = twice types.lines types.commas [ "a" ];
  twiceNullOr = twice (types.nullOr types.int) (types.nullOr types.int) [ 1 ];
  twiceNullOrDifferent = twice (types.nullOr types.int) (types.nullOr types.str) [ 1 ];
  twiceEither = twice (types.either types.int types.str) (types.either types.int types.str) [ 1 ];
  twiceCoerced = twice (types.coercedTo types.int toString types.str) (types.coercedTo types.int toString types.str) [ 1 ];
  twiceStrMatching = twice (types.strMatching "a") (types.strMatching "a") [ "a" ];
  twicePort = twice types.port types.port [ 1 ];
  twiceBetween = twice (types.ints.between 1 2) (types.ints.between 1 5) [ 4 ];
  twiceAttrsOfAndLazy = twice (types.attrsOf types.int) (types.lazyAttrsOf types.int) [ { } ];
  twicePath = twice types.path types.path [ "/a" ];
  twicePackage = twice types.package types.package [ ];
  twiceFunctionTo = (twice (types.functionTo types.int) (types.functionTo types.int) [ (x: x) ]) 1;
  twiceAnything = twice types.anything types.anything [ { a = 1; } ];
  twiceUniq = twice (types.uniq types.int) (types.uniq types.int) [ 1 ];
  twiceDeferred = (eval [
    (twice (types.deferredModuleWith { staticModules = [ { options.a = mkOption { default = 1; }; } ]; })
      (types.deferredModuleWith { staticModules = [ { options.b = mkOption { default = 2; }; } ]; })
      [ { a = 3; } ]
    )
  ]);
  twiceSubmoduleSameOption = eval [
    (declare { p = types.submodule { options.n = mkOption { default = 1; }; }; })
    (declare { p = types.submodule { options.n = mkOption { default = 2; }; }; })
    { p = { }; }
  ];
  optionAndSet = eval [
    { options.x = mkOption { type = types.int; }; }
    { options.x.y = mkOption { type = types.int; }; }
    { x = 1; }
  ];
  invisibleOptionsWork = eval [
    {
      options.x = mkOption {
        default = 1;
        internal = true;
        visible = false;
      };
    }
  ];
  sink = eval [
    { options.x = lib.mkSinkUndeclaredOptions { }; }
    { x = 1; }
  ];
  sinkUnread = builtins.attrNames (eval [
    { options.x = lib.mkSinkUndeclaredOptions { }; }
    { x.y.z = 1; }
  ]);
  deepTree = eval [
    { options.a.b.c.d = mkOption { type = types.listOf types.int; }; }
    { options.a.b.e = mkOption { default = 1; }; }
    { a.b.c.d = [ 1 ]; }
    { a.b = { c.d = [ 2 ]; }; }
    { a = { b = { c = { d = [ 3 ]; }; }; }; }
  ];
}
