{ lib, helpers }:
let
  inherit (helpers) eval declare;
  inherit (lib) types;
  xs = declare { xs = types.listOf types.str; };
  text = declare { text = types.lines; };
  three =
    name: wrap:
    map (v: { ${name} = wrap v; }) [
      "a"
      "b"
      "c"
    ];
in
{
  listsInReverse = eval ([ xs ] ++ three "xs" (v: [ v ]));
  linesInReverse = eval ([ text ] ++ three "text" (v: v));
  commasInReverse = eval ([ (declare { text = types.commas; }) ] ++ three "text" (v: v));
  envVar = eval ([ (declare { text = types.envVar; }) ] ++ three "text" (v: v));
  ownSeparator = eval ([ (declare { text = types.separatedString " | "; }) ] ++ three "text" (v: v));
  attrsTypeFirstWins = eval [
    (declare { set = types.attrs; })
    {
      set = {
        a = 1;
        b = 1;
      };
    }
    {
      set = {
        b = 2;
        c = 2;
      };
    }
  ];
  attrsTypeIsShallow = eval [
    (declare { set = types.attrs; })
    { set.deep.a = 1; }
    { set.deep.b = 2; }
  ];
  attrsOfJoins = eval [
    (declare { set = types.attrsOf (types.listOf types.int); })
    { set.a = [ 1 ]; }
    {
      set = {
        a = [ 2 ];
        b = [ 3 ];
      };
    }
  ];
  beforeAndAfter = eval [
    xs
    { xs = lib.mkAfter [ "after" ]; }
    { xs = [ "a" ]; }
    { xs = lib.mkBefore [ "before" ]; }
    { xs = [ "b" ]; }
  ];
  ownOrders = eval [
    xs
    { xs = lib.mkOrder 700 [ "700" ]; }
    { xs = lib.mkOrder 10 [ "10" ]; }
    { xs = lib.mkOrder 2000 [ "2000" ]; }
    { xs = [ "1000" ]; }
    { xs = lib.mkOrder 700 [ "700 too" ]; }
  ];
  orderedLines = eval [
    text
    { text = lib.mkAfter "after"; }
    { text = "middle"; }
    { text = lib.mkBefore "before"; }
  ];
  orderInsideForce = eval [
    xs
    { xs = lib.mkForce (lib.mkAfter [ "after" ]); }
    { xs = lib.mkForce [ "a" ]; }
    { xs = [ "lost" ]; }
  ];
  forceInsideOrder = eval [
    xs
    { xs = lib.mkAfter (lib.mkForce [ "after" ]); }
    { xs = [ "a" ]; }
  ];
  orderInsideIf = eval [
    xs
    { xs = [ "a" ]; }
    { xs = lib.mkIf true (lib.mkBefore [ "before" ]); }
  ];
  orderInsideMerge = eval [
    xs
    {
      xs = lib.mkMerge [
        (lib.mkAfter [ "after" ])
        [ "a" ]
        (lib.mkBefore [ "before" ])
      ];
    }
  ];
  mergeKeepsItsOrder = eval [
    xs
    {
      xs = lib.mkMerge [
        [ "a" ]
        [ "b" ]
        (lib.mkMerge [
          [ "c" ]
          [ "d" ]
        ])
      ];
    }
    { xs = [ "e" ]; }
  ];
  orderInAttrs = eval [
    (declare { set = types.attrsOf (types.listOf types.int); })
    { set.a = lib.mkAfter [ 1 ]; }
    { set.a = [ 2 ]; }
  ];
  singleOrder = eval [
    xs
    { xs = lib.mkBefore [ "a" ]; }
  ];
  listWithIfInside = eval [
    xs
    {
      xs = [
        "a"
        (lib.mkIf false "b")
        (lib.mkIf true "c")
      ];
    }
  ];
  listWithMergeInside = eval [
    (declare { xs = types.listOf types.lines; })
    {
      xs = [
        (lib.mkMerge [
          "a"
          "b"
        ])
      ];
    }
  ];
  listOfLists = eval [
    (declare { xs = types.listOf (types.listOf types.int); })
    { xs = [ [ 1 ] ]; }
    { xs = [ [ 2 ] ]; }
  ];
  untypedSets = eval [
    { options.x = lib.mkOption { }; }
    { x.a = 1; }
    { x.b = 2; }
  ];
  untypedStrings = eval [
    { options.x = lib.mkOption { }; }
    { x = "a"; }
    { x = "b"; }
  ];
  untypedBooleans = eval [
    { options.x = lib.mkOption { }; }
    { x = false; }
    { x = true; }
  ];
  untypedLists = eval [
    { options.x = lib.mkOption { }; }
    { x = [ 1 ]; }
    { x = [ 2 ]; }
  ];
  untypedNumbersConflict = eval [
    { options.x = lib.mkOption { }; }
    { x = 1; }
    { x = 2; }
  ];
  untypedMixtureConflicts = eval [
    { options.x = lib.mkOption { }; }
    { x = 1; }
    { x = "a"; }
  ];
  rawTwice = eval [
    (declare { x = types.raw; })
    { x = 1; }
    { x = 1; }
  ];
  rawKeepsPropertiesInside = eval [
    (declare { x = types.raw; })
    { x.inside = lib.mkIf false 1; }
  ];
  boolByOr = eval [
    (declare { x = types.boolByOr; })
    { x = false; }
    { x = true; }
  ];
  definitionWithFile =
    (helpers.evalOptions [
      xs
      {
        xs = lib.mkMerge [
          (lib.mkDefinition {
            file = "elsewhere.nix";
            value = [ "a" ];
          })
          (lib.mkDefinition {
            file = "here.nix";
            value = lib.mkBefore [ "b" ];
          })
        ];
      }
    ]).xs.definitionsWithLocations;
}
