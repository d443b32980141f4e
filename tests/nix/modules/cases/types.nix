{ lib, helpers }:
let
  inherit (helpers) eval;
  inherit (lib) types;
  # The value of an option of a type, from some definitions.
  of =
    type: values:
    (eval ([ { options.x = lib.mkOption { inherit type; }; } ] ++ map (x: { inherit x; }) values)).x;
  # Which of some values a type takes.
  takes = type: map (v: (builtins.tryEval (builtins.deepSeq (of type [ v ]) true)).success);
  package = {
    type = "derivation";
    name = "package";
    outPath = "/nix/store/00000000000000000000000000000000-package";
  };
in
{
  bool = takes types.bool [ true false 0 "true" null ];
  int = takes types.int [ 1 (-1) 1.5 "1" true ];
  float = takes types.float [ 1.5 1 ];
  number = takes types.number [ 1.5 1 "1" ];
  str = takes types.str [ "" "a" 1 ./types.nix package ];
  strConflict = of types.str [ "a" "b" ];
  nonEmptyStr = takes types.nonEmptyStr [ "" " \n" "a" 1 ];
  singleLineStr = [
    (of types.singleLineStr [ "line\n" ])
    (takes types.singleLineStr [ "a\nb" "a" "a\n\n" ])
  ];
  strMatching = takes (types.strMatching "[a-z]+[0-9]?") [ "ab1" "1" "" 1 ];
  linesAgainstNumbers = takes types.lines [ "a" 1 [ "a" ] ];
  positive = takes types.ints.positive [ 1 0 (-1) "1" ];
  unsigned = takes types.ints.unsigned [ 1 0 (-1) ];
  between = takes (types.ints.between 2 4) [ 1 2 3 4 5 ];
  u8 = takes types.ints.u8 [ (-1) 0 255 256 ];
  u16 = takes types.ints.u16 [ 65535 65536 ];
  u32 = takes types.ints.u32 [ 4294967295 4294967296 ];
  s8 = takes types.ints.s8 [ (-129) (-128) 127 128 ];
  s16 = takes types.ints.s16 [ (-32769) (-32768) 32767 32768 ];
  port = takes types.port [ 0 22 65535 65536 (-1) "22" ];
  numbers = [
    (takes (types.numbers.between 0 1.5) [ 0.5 1.6 1 ])
    (takes types.numbers.positive [ 0 0.1 ])
    (takes types.numbers.nonnegative [ 0 (-0.1) ])
  ];
  path = takes types.path [ "/a" "a" ./types.nix 1 package ];
  pathInStore = takes types.pathInStore [ "/nix/store/00000000000000000000000000000000-x" "/a" "a" ];
  externalPath = takes types.externalPath [ "/a" "a" "/nix/store/00000000000000000000000000000000-x" ];
  package = [
    (takes types.package [ package "/a" "text" { } ])
    (of types.package [ package ]).name
  ];
  packageTwice = of types.package [ package package ];
  shellPackage = takes types.shellPackage [
    package
    (package // { shellPath = "/bin/sh"; })
  ];
  passwdEntry = takes (types.passwdEntry types.str) [ "a" "a:b" "a\nb" ];
  enum = [
    (takes (types.enum [ "a" 1 null ]) [ "a" 1 null "b" ])
    (of (types.enum [ "a" "b" ]) [ "a" "a" ])
  ];
  enumConflict = of (types.enum [ "a" "b" ]) [ "a" "b" ];
  attrs = takes types.attrs [ { } { a = 1; } [ ] ];
  listOf = takes (types.listOf types.int) [ [ ] [ 1 ] [ "a" ] 1 { } ];
  nonEmptyListOf = takes (types.nonEmptyListOf types.int) [ [ ] [ 1 ] [ "a" ] ];
  attrsOf = takes (types.attrsOf types.int) [ { } { a = 1; } { a = "a"; } [ ] ];
  attrsOfAttrsOf = of (types.attrsOf (types.attrsOf types.int)) [
    { a.b = 1; }
    { a.c = 2; }
  ];
  attrsWith = of (types.attrsWith { elemType = types.int; placeholder = "role"; }) [ { a = 1; } ];
  nullOr = [
    (takes (types.nullOr types.int) [ null 1 "a" ])
    (of (types.nullOr types.int) [ null null ])
    (of (types.nullOr (types.listOf types.int)) [ [ 1 ] [ 2 ] ])
  ];
  nullAndValue = of (types.nullOr types.int) [ null 1 ];
  nullOrEmpty = of (types.nullOr types.int) [ ];
  either = [
    (takes (types.either types.int types.str) [ 1 "a" true ])
    (of (types.either types.int (types.listOf types.int)) [ [ 1 ] [ 2 ] ])
  ];
  eitherMixed = of (types.either types.int types.str) [ 1 "a" ];
  eitherListOrString = of (types.either types.str (types.listOf types.str)) [ "a" [ "b" ] ];
  eitherIsShallow = of (types.either (types.listOf types.int) (types.listOf types.str)) [ [ "a" ] ];
  eitherConflict = of (types.either types.int types.str) [ 1 2 ];
  oneOf = takes (types.oneOf [ types.int types.str (types.listOf types.bool) ]) [ 1 "a" [ true ] [ 1 ] true null ];
  oneOfNothing = takes (types.oneOf [ ]) [ 1 ];
  coercedTo = [
    (of (types.coercedTo types.int toString types.str) [ 1 ])
    (of (types.coercedTo types.int toString types.str) [ "a" ])
    (of (types.coercedTo types.str lib.singleton (types.listOf types.str)) [ "a" [ "b" ] ])
    (takes (types.coercedTo types.int toString types.str) [ true [ ] ])
  ];
  coercedToEqual = of (types.coercedTo types.int toString types.str) [ 1 "1" ];
  coercedToConflict = of (types.coercedTo types.int toString types.str) [ 1 "2" ];
  coercedInList = of (types.listOf (types.coercedTo types.int toString types.str)) [ [ 1 "a" ] [ 2 ] ];
  coercedFromSubmodule = of (types.coercedTo (types.submodule { }) (_: 1) types.int) [ { } ];
  coercedToSubmodule = of (types.coercedTo types.str (name: { inherit name; }) (
    types.submodule {
      options.name = lib.mkOption { type = types.str; };
      options.n = lib.mkOption { default = 1; };
    }
  )) [ "a" { n = 2; } ];
  coercionThatDoesNotFit = of (types.coercedTo types.int (x: x) types.str) [ 1 ];
  addCheck = takes (types.addCheck types.int (x: x > 10)) [ 11 10 "a" ];
  addCheckOnList = takes (types.addCheck (types.listOf types.int) (xs: builtins.length xs < 3)) [
    [ 1 ]
    [ 1 2 3 ]
    [ "a" ]
  ];
  addCheckOnSubmodule = takes (types.addCheck (types.submodule { options.n = lib.mkOption { }; }) (x: x ? n)) [
    { n = 1; }
    { }
  ];
  addCheckInEither = takes (types.either (types.addCheck types.int (x: x > 10)) (types.enum [ 1 ])) [ 1 2 11 ];
  uniq = [
    (of (types.uniq (types.listOf types.int)) [ [ 1 ] ])
    (takes (types.uniq types.int) [ 1 "a" ])
  ];
  uniqTwice = of (types.uniq types.int) [ 1 1 ];
  uniqueTwice = of (types.unique { message = "only one"; } types.str) [ "a" "a" ];
  uniqueWithPriority = of (types.uniq types.int) [ (lib.mkDefault 1) 2 ];
  uniqueChecksInside = of (types.uniq (types.listOf types.int)) [ [ "a" ] ];
  functionTo = (of (types.functionTo types.str) [ (x: "got ${x}") ]) "it";
  functionToMerges =
    (of (types.functionTo (types.listOf types.int)) [
      (x: [ x ])
      (x: [ (x + 1) ])
    ])
      1;
  functionToWrongResult = (of (types.functionTo types.str) [ (_: 1) ]) null;
  functionToWrongValue = of (types.functionTo types.str) [ "text" ];
  functionToArguments = lib.functionArgs (
    of (types.functionTo types.str) [
      ({ a, b ? 1 }: "")
      ({ a ? 1, b ? 1, ... }: "")
    ]
  );
  functionToSubmodule =
    ((of (types.functionTo (
      types.submodule {
        options.n = lib.mkOption { type = types.int; };
        options.m = lib.mkOption { default = 2; };
      }
    )) [ (n: { inherit n; }) ])
      5
    );
  anythingSets = of types.anything [
    {
      a.b = 1;
      c = "c";
    }
    { a.d = null; }
  ];
  anythingEqual = of types.anything [ [ 1 ] [ 1 ] ];
  anythingLists = of types.anything [ [ 1 ] [ 2 ] ];
  anythingMixed = of types.anything [ 1 "a" ];
  anythingConflictInside = of types.anything [ { a = 1; } { a = 2; } ];
  anythingFunctions = (of types.anything [ (x: { a = x; }) (x: { b = x; }) ]) 1;
  anythingPriority = of types.anything [ { a = lib.mkDefault 1; } { a = 2; } ];
  anythingPackages = of types.anything [ package package ];
  anythingPackage = (of types.anything [ package ]).name;
  deferredModule = eval [
    (of types.deferredModule [
      { options.n = lib.mkOption { default = 1; }; }
      ({ lib, ... }: { n = lib.mkForce 2; })
    ])
  ];
  deferredModuleFiles = map (m: m._file) (of types.deferredModule [ { } ]).imports;
  deferredModuleWith = eval [
    (of (types.deferredModuleWith { staticModules = [ { options.n = lib.mkOption { default = 1; }; } ]; }) [
      { n = 3; }
    ])
  ];
  deferredModuleTakes = takes types.deferredModule [ { } (_: { }) ./types.nix 1 "text" ];
  optionType = (of types.optionType [ types.int ]).description;
  optionTypesJoin = (of types.optionType [ (types.enum [ 1 ]) (types.enum [ 2 ]) ]).description;
  optionTypesDoNotJoin = (of types.optionType [ types.int types.str ]).description;
  optionDeclaration = takes types.optionDeclaration [ (lib.mkOption { }) 1 ];
  json = takes types.json [ null 1 "a" { a = [ 1.5 { b = null; } ]; } (x: x) ];
  toml = takes types.toml [ null 1 { a = [ 1 ]; } ];
  attrTag = [
    (of (types.attrTag {
    file = lib.mkOption { type = types.path; };
    n = lib.mkOption { type = types.listOf types.int; };
  }) [
      { n = [ 1 ]; }
      { n = lib.mkBefore [ 2 ]; }
    ])
    (takes (types.attrTag {
    file = lib.mkOption { type = types.path; };
    n = lib.mkOption { type = types.listOf types.int; };
  }) [ { file = "/a"; } { file = 1; } { other = 1; } { } { file = "/a"; n = [ ]; } ])
  ];
  attrTagBoth = of (types.attrTag {
    file = lib.mkOption { type = types.path; };
    n = lib.mkOption { type = types.listOf types.int; };
  }) [ { n = [ ]; } { file = "/a"; } ];
  attrTagWithoutOption = takes (types.attrTag { n = types.int; }) [ { n = 1; } ];
  pathsNearTheStore = takes types.pathInStore [ "/nix/store" "/nix/store/" "/nix/store/.links" ];
  attrsOfIsLazyInValues = builtins.attrNames (of (types.attrsOf types.int) [ { a = throw "not looked at"; b = 1; } ]);
  lazyAttrsOfIsLazier = builtins.attrNames (of (types.lazyAttrsOf types.int) [ { a = throw "not looked at"; b = 1; } ]);
  listOfIsLazyInLength = builtins.length (of (types.listOf types.raw) [ [ 1 2 ] ]);
  ownType =
    of
      (lib.mkOptionType {
        name = "even";
        check = x: builtins.isInt x && lib.mod x 2 == 0;
        merge = _: defs: lib.foldl' (sum: d: sum + d.value) 0 defs;
      })
      [ 2 4 ];
  ownTypeRefuses =
    of
      (lib.mkOptionType {
        name = "even";
        check = x: builtins.isInt x && lib.mod x 2 == 0;
      })
      [ 3 ];
  descriptions = map (type: type.description) [
    types.int
    types.str
    types.port
    types.lines
    types.path
    types.package
    types.ints.positive
    (types.ints.between 1 3)
    (types.listOf types.str)
    (types.listOf (types.nullOr types.str))
    (types.attrsOf (types.listOf types.int))
    (types.lazyAttrsOf types.int)
    (types.nullOr types.ints.positive)
    (types.either types.int types.str)
    (types.either types.ints.positive types.str)
    (types.oneOf [ types.int types.str types.bool ])
    (types.oneOf [ (types.listOf types.int) types.str ])
    (types.enum [ "a" 1 true ])
    (types.enum [ "a" ])
    (types.enum [ ])
    (types.strMatching "[a-z]")
    (types.functionTo types.str)
    (types.coercedTo types.int toString types.str)
    (types.uniq types.str)
    (types.nonEmptyListOf types.str)
    (types.submodule { })
    (types.submodule { freeformType = types.attrsOf types.int; })
    (types.separatedString ", ")
    (types.passwdEntry types.str)
    types.singleLineStr
    types.numbers.positive
    types.deferredModule
    types.anything
    types.json
  ];
  names = map (type: type.name) [
    types.port
    (types.attrsOf types.int)
    (types.lazyAttrsOf types.int)
    (types.nullOr types.int)
    (types.submodule { })
    (types.strMatching "a")
    types.lines
  ];
}
