# Functions of attribute sets.
{ lib }:
let
  inherit (builtins)
    attrNames
    attrValues
    catAttrs
    concatMap
    elemAt
    filter
    foldl'
    head
    intersectAttrs
    isAttrs
    length
    listToAttrs
    mapAttrs
    tail
    zipAttrsWith
    ;
  inherit (lib.lists) foldl foldr;
in
rec {
  inherit (builtins)
    attrNames
    attrValues
    catAttrs
    getAttr
    hasAttr
    intersectAttrs
    isAttrs
    listToAttrs
    mapAttrs
    removeAttrs
    zipAttrsWith
    ;

  # Paths.
  attrByPath =
    path: default: set:
    if path == [ ] then
      set
    else if set ? ${head path} then
      attrByPath (tail path) default set.${head path}
    else
      default;
  hasAttrByPath =
    path: set: path == [ ] || (set ? ${head path} && hasAttrByPath (tail path) set.${head path});
  getAttrFromPath =
    path: attrByPath path (abort "cannot find attribute `${builtins.concatStringsSep "." path}'");
  setAttrByPath =
    path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };
  longestValidPathPrefix =
    path: set:
    if path == [ ] || !set ? ${head path} then
      [ ]
    else
      [ (head path) ] ++ longestValidPathPrefix (tail path) set.${head path};
  showAttrPath =
    path:
    if path == [ ] then
      "<root attribute path>"
    else
      lib.strings.concatMapStringsSep "." lib.strings.escapeNixIdentifier path;

  # [ { path = [ "a" "b" ]; update = old: new; } ] applied in order, the deeper ones first.
  updateManyAttrsByPath =
    updates: value:
    let
      at =
        depth: has: value: updates:
        let
          split = builtins.partition (u: length u.path == depth) updates;
          nested = builtins.groupBy (u: elemAt u.path depth) split.wrong;
          missing = throw "updateManyAttrsByPath: the path `${showAttrPath (head updates).path}' does not exist";
          inner =
            if split.wrong == [ ] then
              (if has then value else missing)
            else if !has then
              mapAttrs (_: at (depth + 1) false null) nested
            else if isAttrs value then
              value // mapAttrs (n: at (depth + 1) (value ? ${n}) value.${n}) nested
            else
              throw "updateManyAttrsByPath: `${showAttrPath (lib.lists.take depth (head split.wrong).path)}' is not a set";
        in
        foldl (acc: u: u.update acc) inner split.right;
    in
    at 0 true value updates;

  # Making and selecting.
  nameValuePair = name: value: { inherit name value; };
  genAttrs' = xs: f: listToAttrs (map f xs);
  genAttrs = names: f: genAttrs' names (n: nameValuePair n (f n));
  attrVals = names: set: map (n: set.${n}) names;
  getAttrs = names: set: genAttrs names (n: set.${n});
  optionalAttrs = cond: set: if cond then set else { };
  filterAttrs = pred: set: removeAttrs set (filter (n: !pred n set.${n}) (attrNames set));
  filterAttrsRecursive =
    pred: set:
    mapAttrs (_: v: if isAttrs v then filterAttrsRecursive pred v else v) (filterAttrs pred set);

  # Mapping and folding.
  mapAttrsToList = f: set: attrValues (mapAttrs f set);
  mapAttrs' = f: set: listToAttrs (mapAttrsToList f set);
  attrsToList = mapAttrsToList nameValuePair;
  concatMapAttrs = f: set: mergeAttrsList (mapAttrsToList f set);
  mapAttrsRecursive = mapAttrsRecursiveCond (_: true);
  mapAttrsRecursiveCond =
    cond: f: set:
    let
      under =
        path:
        mapAttrs (
          n: v:
          let
            here = path ++ [ n ];
          in
          if isAttrs v && cond v then under here v else f here v
        );
    in
    under [ ] set;
  mapAttrsToListRecursive = mapAttrsToListRecursiveCond (_: _: true);
  mapAttrsToListRecursiveCond =
    cond: f: set:
    let
      under =
        path: v: if isAttrs v && (path == [ ] || cond path v) then
          concatMap (n: under (path ++ [ n ]) v.${n}) (attrNames v)
        else
          [ (f path v) ];
    in
    under [ ] set;
  foldlAttrs =
    f: init: set:
    lib.lists.foldl' (acc: n: f acc n set.${n}) init (attrNames set);
  foldAttrs = f: init: sets: zipAttrsWith (_: foldr f init) sets;
  collect =
    pred: v:
    if pred v then
      [ v ]
    else if isAttrs v then
      concatMap (collect pred) (attrValues v)
    else
      [ ];
  cartesianProduct =
    lists:
    foldl' (
      sets: n: concatMap (set: map (v: set // { ${n} = v; }) lists.${n}) sets
    ) [ { } ] (attrNames lists);
  mapCartesianProduct = f: lists: map f (cartesianProduct lists);

  # Joining.
  zipAttrsWithNames =
    names: f: sets:
    genAttrs names (n: f n (catAttrs n sets));
  zipAttrs = zipAttrsWith (_: values: values);
  mergeAttrsList = zipAttrsWith (_: lib.lists.last);
  recursiveUpdateUntil =
    stop: lhs: rhs:
    let
      under =
        path: l: r:
        l
        // mapAttrs (
          n: v:
          let
            here = path ++ [ n ];
          in
          if !l ? ${n} || stop here l.${n} v then v else under here l.${n} v
        ) r;
    in
    under [ ] lhs rhs;
  recursiveUpdate = recursiveUpdateUntil (_: l: r: !(isAttrs l && isAttrs r));
  overrideExisting = old: new: old // intersectAttrs old new;
  matchAttrs =
    pattern: set:
    builtins.all (
      n:
      set ? ${n}
      && (
        if isAttrs pattern.${n} then
          isAttrs set.${n} && matchAttrs pattern.${n} set.${n}
        else
          pattern.${n} == set.${n}
      )
    ) (attrNames pattern);
  unionOfDisjoint =
    x: y: x // y // mapAttrs (n: _: throw "unionOfDisjoint: both sets have `${n}'") (intersectAttrs x y);

  # Derivations.
  isDerivation = x: x.type or null == "derivation";
  toDerivation =
    path:
    let
      stored = builtins.storePath path;
      drv = {
        type = "derivation";
        name = lib.strings.sanitizeDerivationName (builtins.substring 33 (-1) (baseNameOf stored));
        outPath = stored;
        outputs = [ "out" ];
        out = drv;
        outputName = "out";
      };
    in
    drv;
  getOutput =
    output: pkg: if pkg.outputSpecified or false then pkg else pkg.${output} or pkg.out or pkg;
  getFirstOutput =
    candidates: pkg:
    let
      found = filter (output: pkg ? ${output}) candidates;
    in
    if pkg.outputSpecified or false || found == [ ] then pkg else pkg.${head found};
  getBin = getOutput "bin";
  getLib = getOutput "lib";
  getDev = getOutput "dev";
  getMan = getOutput "man";
  getStatic = getFirstOutput [
    "static"
    "lib"
    "out"
  ];
  getInclude = getFirstOutput [
    "include"
    "dev"
    "out"
  ];
  chooseDevOutputs = map getDev;
  recurseIntoAttrs = set: set // { recurseForDerivations = true; };
  dontRecurseIntoAttrs = set: set // { recurseForDerivations = false; };
}
