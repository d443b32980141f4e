{ lib, helpers }:
let
  inherit (helpers) eval;
  inherit (lib) types mkOption;
  free = type: { _module.freeformType = type; };
  n = {
    options.n = mkOption {
      type = types.int;
      default = 0;
    };
  };
in
{
  attrsOfStrings = eval [
    (free (types.attrsOf types.str))
    { a = "a"; }
    { b = "b"; }
  ];
  wrongType = eval [
    (free (types.attrsOf types.str))
    { a = 1; }
  ];
  besideOptions = eval [
    (free (types.attrsOf types.str))
    n
    {
      a = "a";
      n = 1;
    }
  ];
  optionsKeepTheirType = eval [
    (free (types.attrsOf types.str))
    n
    { n = "one"; }
  ];
  belowOptions = eval [
    (free types.anything)
    { options.deep.n = mkOption { type = types.int; }; }
    {
      deep.n = 1;
      deep.other = [ 1 ];
    }
  ];
  shallowAttrsBelowOptions = eval [
    (free types.attrs)
    { options.deep.n = mkOption { type = types.int; }; }
    { deep.n = 1; }
    { deep.a = 1; }
    { top = 1; }
  ];
  priorities = eval [
    (free (types.attrsOf types.int))
    { a = lib.mkDefault 1; }
    { a = 2; }
    { b = lib.mkForce 3; }
    { b = 4; }
  ];
  conditions = eval [
    (free (types.attrsOf types.int))
    { a = lib.mkIf false 1; }
    { b = lib.mkIf true 1; }
  ];
  lazyConditions = builtins.attrNames (eval [
    (free (types.lazyAttrsOf types.int))
    { a = lib.mkIf false 1; }
    { b = lib.mkIf true 1; }
  ]);
  conditionOnConfig = eval [
    (free (types.lazyAttrsOf types.int))
    n
    ({ config, ... }: { a = lib.mkIf (config.n == 0) 1; })
  ];
  shorthandAttribute = eval [
    {
      freeformType = types.attrsOf types.int;
      a = 1;
    }
  ];
  declaredWithOptions = eval [
    {
      freeformType = types.attrsOf types.int;
      options.n = mkOption { default = "text"; };
      config.a = 1;
    }
  ];
  anythingJoins = eval [
    (free types.anything)
    { a.b.c = 1; }
    { a.b.d = [ 1 ]; }
  ];
  ofSubmodules = eval [
    (free (types.attrsOf (types.submodule n)))
    { a.n = 1; }
    { b = { }; }
  ];
  typesJoin = eval [
    (free (types.attrsOf (types.submodule n)))
    (free (types.attrsOf (types.submodule { options.m = mkOption { default = 2; }; })))
    { a = { }; }
  ];
  typesDoNotJoin = eval [
    (free (types.attrsOf types.int))
    (free (types.listOf types.int))
    { a = 1; }
  ];
  twoEqualTypes = eval [
    (free (types.attrsOf types.int))
    (free (types.attrsOf types.int))
    { a = 1; }
  ];
  nothingToTake = eval [
    (free (types.attrsOf types.int))
    n
  ];
  uncheckedInstead = eval [
    n
    {
      _module.check = false;
      unknown = 1;
    }
  ];
  listFreeform = eval [
    (free types.attrs)
    { a = [ 1 ]; }
    { a = [ 2 ]; }
  ];
}
