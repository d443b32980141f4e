# Functions of lists.
{ lib }:
let
  inherit (builtins)
    concatLists
    concatMap
    elem
    elemAt
    filter
    genList
    head
    isList
    length
    sort
    tail
    ;
  inherit (lib.trivial)
    assertMsg
    compare
    max
    min
    ;
in
rec {
  inherit (builtins)
    all
    any
    concatLists
    concatMap
    elem
    elemAt
    filter
    genList
    groupBy
    head
    isList
    length
    map
    partition
    sort
    tail
    ;

  singleton = x: [ x ];
  forEach = xs: f: map f xs;
  toList = x: if isList x then x else [ x ];
  optional = cond: x: if cond then [ x ] else [ ];
  optionals = cond: xs: if cond then xs else [ ];
  range = first: last: genList (n: first + n) (max 0 (last - first + 1));
  replicate = n: x: genList (_: x) n;

  # The built-in one does not force the first accumulator.
  foldl' = f: acc: builtins.seq acc (builtins.foldl' f acc);
  foldl =
    f: init: xs:
    let
      upTo = n: if n == 0 then init else f (upTo (n - 1)) (elemAt xs (n - 1));
    in
    upTo (length xs);
  foldr =
    f: init: xs:
    let
      from = n: if n == length xs then init else f (elemAt xs n) (from (n + 1));
    in
    from 0;
  fold = foldr;

  imap0 = f: xs: genList (n: f n (elemAt xs n)) (length xs);
  imap1 = f: xs: genList (n: f (n + 1) (elemAt xs n)) (length xs);
  ifilter0 = pred: xs: map (n: elemAt xs n) (filter (n: pred n (elemAt xs n)) (genList (n: n) (length xs)));
  flatten = x: if isList x then concatMap flatten x else [ x ];
  remove = x: filter (y: y != x);
  count = pred: xs: length (filter pred xs);
  reverseList = xs: genList (n: elemAt xs (length xs - 1 - n)) (length xs);
  concatAttrValues = set: concatLists (builtins.attrValues set);

  # Folds, so that a long list does not exhaust the stack, and looks at no element after the one found.
  findFirstIndex =
    pred: default: xs:
    let
      step = found: n: if found != null || !pred (elemAt xs n) then found else n;
      index = builtins.foldl' step null (genList (n: n) (length xs));
    in
    if index == null then default else index;
  findFirst =
    pred: default: xs:
    let
      index = findFirstIndex pred null xs;
    in
    if index == null then default else elemAt xs index;
  findSingle =
    pred: default: multiple: xs:
    let
      found = filter pred xs;
    in
    if found == [ ] then
      default
    else if tail found == [ ] then
      head found
    else
      multiple;

  sublist =
    start: count: xs:
    genList (n: elemAt xs (start + n)) (max 0 (min count (length xs - start)));
  take = n: sublist 0 n;
  drop = n: xs: sublist n (length xs) xs;
  takeEnd = n: xs: drop (max 0 (length xs - n)) xs;
  dropEnd = n: xs: take (max 0 (length xs - n)) xs;
  last =
    xs:
    assert assertMsg (xs != [ ]) "lists.last: the list is empty";
    elemAt xs (length xs - 1);
  init =
    xs:
    assert assertMsg (xs != [ ]) "lists.init: the list is empty";
    dropEnd 1 xs;
  hasPrefix = prefix: xs: take (length prefix) xs == prefix;
  removePrefix =
    prefix: xs:
    assert assertMsg (hasPrefix prefix xs) "lists.removePrefix: not a prefix of the list";
    drop (length prefix) xs;
  commonPrefix =
    xs: ys:
    let
      differs = zipListsWith (x: y: x != y) xs ys;
    in
    take (findFirstIndex (d: d) (length differs) differs) xs;
  replaceElemAt =
    xs: index: x:
    assert assertMsg (index >= 0 && index < length xs) "lists.replaceElemAt: no element ${toString index}";
    imap0 (n: y: if n == index then x else y) xs;

  zipListsWith =
    f: xs: ys:
    genList (n: f (elemAt xs n) (elemAt ys n)) (min (length xs) (length ys));
  zipLists = zipListsWith (fst: snd: { inherit fst snd; });
  crossLists = f: foldl (fs: xs: concatMap (g: map g xs) fs) [ f ];

  unique = builtins.foldl' (seen: x: if elem x seen then seen else seen ++ [ x ]) [ ];
  uniqueStrings = xs: builtins.attrNames (builtins.groupBy (x: x) xs);
  allUnique = xs: length (unique xs) == length xs;
  intersectLists = xs: filter (y: elem y xs);
  subtractLists = xs: filter (y: !elem y xs);
  mutuallyExclusive = xs: ys: !builtins.any (x: elem x ys) xs;
  groupBy' =
    f: init: key: xs:
    builtins.mapAttrs (_: foldl f init) (builtins.groupBy key xs);

  sortOn =
    key: xs:
    let
      keyed = map (x: {
        key = key x;
        inherit x;
      }) xs;
    in
    map (k: k.x) (sort (a: b: a.key < b.key) keyed);
  compareLists =
    cmp: xs: ys:
    if xs == [ ] then
      (if ys == [ ] then 0 else -1)
    else if ys == [ ] then
      1
    else
      let
        first = cmp (head xs) (head ys);
      in
      if first != 0 then first else compareLists cmp (tail xs) (tail ys);
  naturalSort =
    xs:
    let
      number = part: if isList part then lib.strings.toInt (head part) else part;
      keyed = map (x: {
        key = map number (builtins.split "(0|[1-9][0-9]*)" x);
        inherit x;
      }) xs;
    in
    map (k: k.x) (sort (a: b: compareLists compare a.key b.key < 0) keyed);

  # { result } in an order that `before` allows, or { cycle, loops }.
  toposort =
    before: xs:
    let
      # Walks from the first element to one that nothing stands before.
      descend =
        path: here: rest:
        let
          split = builtins.partition (x: before x here) rest;
          loops = filter (x: before x here) path;
        in
        if loops != [ ] then
          {
            cycle = reverseList ([ here ] ++ path);
            inherit loops;
          }
        else if split.right == [ ] then
          {
            minimal = here;
            others = path ++ rest;
          }
        else
          descend ([ here ] ++ path) (head split.right) (tail split.right ++ split.wrong);
      first = descend [ ] (head xs) (tail xs);
      others = toposort before first.others;
    in
    if length xs < 2 then
      { result = xs; }
    else if first ? cycle then
      first
    else if others ? cycle then
      others
    else
      { result = [ first.minimal ] ++ others.result; };
}
