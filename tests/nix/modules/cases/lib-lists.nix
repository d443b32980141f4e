{ lib, helpers }:
{
  range = [ (lib.range 2 5) (lib.range 3 3) (lib.range 3 2) ];
  genList = lib.genList (n: n * n) 4;
  imap = [
    (lib.imap0 (n: x: "${toString n}${x}") [ "a" "b" ])
    (lib.imap1 (n: x: "${toString n}${x}") [ "a" "b" ])
    (lib.ifilter0 (n: x: lib.mod n 2 == 0) [ "a" "b" "c" ])
  ];
  unique = [ (lib.unique [ 3 1 3 2 1 ]) (lib.allUnique [ 1 2 ]) (lib.allUnique [ 1 1 ]) (lib.uniqueStrings [ "b" "a" "b" ]) ];
  flatten = [ (lib.flatten [ 1 [ 2 [ [ 3 ] ] ] [ ] ]) (lib.flatten 1) ];
  folds = [
    (lib.foldr (x: acc: "${x}${acc}") "." [ "a" "b" ])
    (lib.foldl (acc: x: "${acc}${x}") "." [ "a" "b" ])
    (lib.foldl' (acc: x: acc + x) 0 [ 1 2 3 ])
  ];
  foldrIsLazy = lib.foldr (x: acc: x) null [ 1 (throw "not looked at") ];
  zip = [
    (lib.zipLists [ 1 2 3 ] [ "a" "b" ])
    (lib.zipListsWith (a: b: a + b) [ 1 2 ] [ 3 4 5 ])
  ];
  parts = [
    (lib.take 2 [ 1 2 3 ])
    (lib.take 9 [ 1 ])
    (lib.drop 2 [ 1 2 3 ])
    (lib.drop 9 [ 1 ])
    (lib.takeEnd 2 [ 1 2 3 ])
    (lib.dropEnd 1 [ 1 2 3 ])
    (lib.sublist 1 2 [ 1 2 3 4 ])
    (lib.sublist 5 2 [ 1 2 3 4 ])
    (lib.last [ 1 2 ])
    (lib.init [ 1 2 ])
    (lib.head [ 1 2 ])
    (lib.tail [ 1 2 ])
  ];
  lastOfNothing = lib.last [ ];
  initOfNothing = lib.init [ ];
  optionals = [ (lib.optional true 1) (lib.optional false 1) (lib.optionals true [ 1 ]) (lib.optionals false [ 1 ]) ];
  toList = [ (lib.toList 1) (lib.toList [ 1 ]) (lib.singleton [ 1 ]) ];
  finding = [
    (lib.findFirst (x: x > 1) null [ 1 2 3 ])
    (lib.findFirst (x: x > 9) "none" [ 1 2 3 ])
    (lib.lists.findFirstIndex (x: x > 1) null [ 1 2 3 ])
    (lib.findSingle (x: x > 2) "none" "many" [ 1 2 3 ])
    (lib.findSingle (x: x > 1) "none" "many" [ 1 2 3 ])
    (lib.findSingle (x: x > 9) "none" "many" [ 1 2 3 ])
    (lib.count (x: x > 1) [ 1 2 3 ])
    (lib.any (x: x > 2) [ 1 2 3 ])
    (lib.all (x: x > 2) [ 1 2 3 ])
    (lib.elem 2 [ 1 2 ])
  ];
  findFirstStopsLooking = lib.findFirst (x: x > 1) null [ 2 (throw "not looked at") ];
  sorting = [
    (lib.sort (a: b: a > b) [ 1 3 2 ])
    (lib.sortOn (x: -x) [ 1 3 2 ])
    (lib.sortOn lib.stringLength [ "ccc" "a" "bb" "d" ])
    (lib.naturalSort [ "n10" "n9" "n1" "m2" ])
    (lib.reverseList [ 1 2 3 ])
    (lib.compareLists lib.compare [ 1 2 ] [ 1 3 ])
    (lib.compareLists lib.compare [ ] [ ])
    (lib.compareLists lib.compare [ 1 ] [ ])
  ];
  sets = [
    (lib.intersectLists [ 1 2 3 ] [ 3 2 5 ])
    (lib.subtractLists [ 3 2 ] [ 1 2 3 4 ])
    (lib.mutuallyExclusive [ 1 ] [ 2 ])
    (lib.mutuallyExclusive [ 1 2 ] [ 2 ])
    (lib.remove 1 [ 1 2 1 ])
  ];
  grouping = [
    (lib.partition (x: x > 1) [ 1 2 3 ])
    (lib.groupBy (x: if x > 1 then "big" else "small") [ 1 2 3 ])
    (lib.groupBy' builtins.add 0 (x: if x > 1 then "big" else "small") [ 1 2 3 ])
  ];
  crossLists = lib.concatMap (x: map (y: "${x}${y}") [ "1" "2" ]) [ "a" "b" ];
  concatLists = [ (lib.concatLists [ [ 1 ] [ 2 ] ]) (lib.concatMap (x: [ x x ]) [ 1 2 ]) (lib.concatAttrValues { a = [ 1 ]; b = [ 2 ]; }) ];
  forEach = lib.forEach [ 1 2 ] (x: x + 1);
  replicate = lib.lists.replicate 2 "a";
  prefixes = [
    (lib.lists.hasPrefix [ 1 ] [ 1 2 ])
    (lib.lists.removePrefix [ 1 ] [ 1 2 ])
    (lib.lists.commonPrefix [ 1 2 3 ] [ 1 2 4 ])
    (lib.lists.commonPrefix [ 1 2 ] [ 1 2 4 ])
  ];
  notAPrefix = lib.lists.removePrefix [ 2 ] [ 1 2 ];
  replaceElemAt = lib.replaceElemAt [ 1 2 3 ] 1 "x";
  replaceElemOutside = lib.replaceElemAt [ 1 ] 1 "x";
  toposort = [
    (lib.toposort lib.hasPrefix [ "/home/user" "other" "/" "/home" ])
    (lib.toposort (a: b: a < b) [ 3 2 1 ])
    (lib.toposort (a: b: true) [ 1 ])
    (lib.toposort (a: b: true) [ ])
  ];
  toposortCycle = (lib.toposort (a: b: (a == 1 && b == 2) || (a == 2 && b == 1)) [ 1 2 ]) ? cycle;
  long = lib.length (lib.flatten (lib.range 1 5000));
}
