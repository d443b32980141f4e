{ lib, helpers }:
let
  inherit (helpers) eval declare;
  inherit (lib) types;
  n = declare { n = types.int; };
  xs = declare { xs = types.listOf types.str; };
  set = declare { set = types.attrsOf types.int; };
in
{
  plainValue = eval [
    n
    { n = 1; }
  ];
  equalValuesAgree = eval [
    n
    { n = 1; }
    { n = 1; }
  ];
  differentValuesConflict = eval [
    n
    { n = 1; }
    { n = 2; }
  ];
  defaultGivesWay = eval [
    n
    { n = lib.mkDefault 1; }
    { n = 2; }
  ];
  twoDefaultsConflict = eval [
    n
    { n = lib.mkDefault 1; }
    { n = lib.mkDefault 2; }
  ];
  forceWins = eval [
    n
    { n = 1; }
    { n = lib.mkForce 2; }
    { n = lib.mkDefault 3; }
  ];
  twoForcesConflict = eval [
    n
    { n = lib.mkForce 1; }
    { n = lib.mkForce 2; }
  ];
  vmOverrideBeatsForce = eval [
    n
    { n = lib.mkForce 1; }
    { n = lib.mkVMOverride 2; }
  ];
  imageMediaOverride = eval [
    n
    { n = 1; }
    { n = lib.mkImageMediaOverride 2; }
  ];
  ownNumbers = eval [
    n
    { n = lib.mkOverride 30 1; }
    { n = lib.mkOverride 29 2; }
    { n = lib.mkOverride 31 3; }
  ];
  optionDefaultIsWeakest = eval [
    { options.n = lib.mkOption { default = 1; }; }
    { n = lib.mkDefault 2; }
  ];
  optionDefaultAgainstItself = eval [
    {
      options.n = lib.mkOption {
        type = types.int;
        default = 1;
      };
    }
    { n = lib.mkOptionDefault 2; }
  ];
  listsOfOnePriorityOnly = eval [
    xs
    { xs = lib.mkDefault [ "default" ]; }
    { xs = [ "a" ]; }
    { xs = [ "b" ]; }
  ];
  forcedListReplaces = eval [
    xs
    { xs = [ "a" ]; }
    { xs = lib.mkForce [ ]; }
  ];
  optionDefaultListIsReplaced = eval [
    {
      options.xs = lib.mkOption {
        type = types.listOf types.str;
        default = [ "default" ];
      };
    }
    { xs = [ "a" ]; }
  ];
  forceInsideAttrs = eval [
    set
    {
      set = {
        a = 1;
        b = 1;
      };
    }
    { set.a = lib.mkForce 2; }
  ];
  forceOfAttrsReplaces = eval [
    set
    {
      set = {
        a = 1;
        b = 1;
      };
    }
    { set = lib.mkForce { a = 2; }; }
  ];
  defaultOfAttrsIsDropped = eval [
    set
    {
      set = lib.mkDefault {
        a = 1;
        b = 1;
      };
    }
    { set.a = 2; }
  ];
  defaultAboveTheOption = eval [
    { options.deep.n = lib.mkOption { type = types.int; }; }
    { deep = lib.mkDefault { n = 1; }; }
    { deep.n = 2; }
  ];
  forceOnAWholeModule = eval [
    n
    { n = 1; }
    (lib.mkForce { n = 2; })
  ];
  forceInAnImport = eval [
    n
    {
      imports = [ (helpers.fixtures + "/forces.nix") ];
      n = 1;
    }
  ];
  forceOfAnIf = eval [
    n
    { n = 1; }
    { n = lib.mkForce (lib.mkIf true 2); }
  ];
  ifOfAForce = eval [
    n
    { n = 1; }
    { n = lib.mkIf true (lib.mkForce 2); }
  ];
  mergeOfDefaultAndValue = eval [
    n
    {
      n = lib.mkMerge [
        (lib.mkDefault 1)
        2
      ];
    }
  ];
  forceOfNull = eval [
    (declare { n = types.nullOr types.int; })
    { n = 1; }
    { n = lib.mkForce null; }
  ];
  overrideOfOverride = eval [
    n
    { n = lib.mkForce (lib.mkDefault 1); }
  ];
  derivedPriority = eval [
    (declare {
      from = types.int;
      to = types.int;
    })
    (
      { options, ... }:
      {
        from = lib.mkForce 1;
        to = lib.mkDerivedConfig options.from (x: x + 1);
      }
    )
    { to = 9; }
  ];
}
