{ lib, helpers }:
let
  set = {
    a = 1;
    b = {
      c = 2;
      d.e = 3;
    };
  };
in
{
  paths = [
    (lib.attrByPath [ "b" "d" "e" ] null set)
    (lib.attrByPath [ "b" "x" ] "default" set)
    (lib.attrByPath [ "a" "x" ] "default" set)
    (lib.attrByPath [ ] null 1)
    (lib.hasAttrByPath [ "b" "c" ] set)
    (lib.hasAttrByPath [ "b" "x" ] set)
    (lib.getAttrFromPath [ "b" "c" ] set)
    (lib.setAttrByPath [ "x" "y" ] 1)
    (lib.setAttrByPath [ ] 1)
    (lib.attrsets.longestValidPathPrefix [ "b" "d" "x" ] set)
    (lib.showAttrPath [ "a" "b.c" ])
    (lib.showAttrPath [ ])
  ];
  updateManyAttrsByPath = lib.updateManyAttrsByPath [
    {
      path = [ "b" "c" ];
      update = old: old + 1;
    }
    {
      path = [ "b" ];
      update = old: old // { new = true; };
    }
    {
      path = [ "x" "y" ];
      update = _: "made";
    }
  ] set;
  updateMissing = lib.updateManyAttrsByPath [ { path = [ "x" ]; update = old: old; } ] set;
  mapping = [
    (lib.mapAttrs (n: v: "${n}${toString v}") { a = 1; })
    (lib.mapAttrs' (n: v: lib.nameValuePair "x-${n}" v) { a = 1; })
    (lib.mapAttrsToList (n: v: [ n v ]) { b = 2; a = 1; })
    (lib.attrsToList { a = 1; })
    (lib.concatMapAttrs (n: v: { ${n} = v; "${n}2" = v; }) { a = 1; b = 2; })
    (lib.concatMapAttrs (n: v: { same = n; }) { a = 1; b = 2; })
    (lib.mapAttrsRecursive (path: v: "${lib.concatStringsSep "." path}=${toString v}") set)
    (lib.mapAttrsRecursiveCond (v: !v ? c) (path: v: path) set)
    (lib.mapAttrsToListRecursive (path: v: [ path v ]) set)
  ];
  selecting = [
    (lib.filterAttrs (n: v: v > 1) { a = 1; b = 2; })
    (lib.filterAttrsRecursive (n: v: n != "c") set)
    (lib.getAttrs [ "a" ] set)
    (lib.attrVals [ "a" ] set)
    (lib.optionalAttrs true { a = 1; })
    (lib.optionalAttrs false { a = 1; })
    (lib.catAttrs "a" [ { a = 1; } { b = 2; } { a = 3; } ])
    (lib.collect builtins.isInt set)
    (lib.collect (v: v ? c) set)
    (lib.intersectAttrs { a = 1; } set)
    (removeAttrs set [ "b" ])
  ];
  making = [
    (lib.genAttrs [ "a" "b" ] (n: "<${n}>"))
    (lib.genAttrs' [ 1 2 ] (n: lib.nameValuePair "n${toString n}" n))
    (lib.listToAttrs [ { name = "a"; value = 1; } { name = "a"; value = 2; } ])
    (lib.cartesianProduct { a = [ 1 2 ]; b = [ 3 4 ]; })
    (lib.mapCartesianProduct ({ a, b }: a + b) { a = [ 1 2 ]; b = [ 3 4 ]; })
  ];
  folding = [
    (lib.foldlAttrs (acc: n: v: "${acc}${n}${toString v}") "" { a = 1; b = 2; })
    (lib.foldAttrs (x: acc: [ x ] ++ acc) [ ] [ { a = 1; b = 9; } { a = 2; } ])
  ];
  joining = [
    (lib.recursiveUpdate set { b.d.f = 4; b.c = 5; })
    (lib.recursiveUpdate { a.b = 1; } { a = 1; })
    (lib.recursiveUpdate { a = 1; } { a.b = 1; })
    (lib.recursiveUpdateUntil (path: l: r: path == [ "a" ]) { a.x = 1; b.x = 1; } { a.y = 1; b.y = 1; })
    (lib.zipAttrsWith (n: vs: vs) [ { a = 1; } { a = 2; b = 3; } ])
    (lib.zipAttrs [ { a = 1; } { a = 2; } ])
    (lib.zipAttrsWithNames [ "a" ] (n: vs: vs) [ { a = 1; } { a = 2; b = 3; } ])
    (lib.mergeAttrsList [ { a = 1; b = 1; } { b = 2; } { } ])
    (lib.mergeAttrsList [ ])
    (lib.overrideExisting { a = 1; b = 2; } { b = 3; c = 4; })
    (lib.attrsets.unionOfDisjoint { a = 1; } { b = 2; })
  ];
  unionOverlaps = lib.attrsets.unionOfDisjoint { a = 1; } { a = 2; };
  recursiveUpdateIsLazy = (lib.recursiveUpdate { a = throw "no"; b = 1; } { b = 2; }).b;
  matchAttrs = [
    (lib.matchAttrs { a = 1; } set)
    (lib.matchAttrs { b.c = 2; } set)
    (lib.matchAttrs { b.c = 3; } set)
    (lib.matchAttrs { x = 1; } set)
  ];
  outputs = [
    (lib.getBin { bin = "b"; out = "o"; })
    (lib.getBin { out = "o"; })
    (lib.getLib { lib = "l"; })
    (lib.getDev { outputSpecified = true; x = 1; }).x
    (lib.getOutput "doc" { doc = "d"; })
    (lib.getMan { man = "m"; })
    (lib.getInclude { include = "i"; })
    (lib.isDerivation { type = "derivation"; })
    (lib.isDerivation { })
    (lib.isDerivation 1)
    (lib.recurseIntoAttrs { })
  ];
}
