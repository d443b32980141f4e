# Functions of functions, numbers, errors and warnings.
{ lib }:
let
  inherit (builtins)
    concatStringsSep
    elem
    filter
    foldl'
    fromJSON
    readFile
    trace
    ;
in
rec {
  inherit (builtins)
    add
    addErrorContext
    bitAnd
    bitOr
    bitXor
    ceil
    deepSeq
    div
    floor
    genericClosure
    isBool
    isFloat
    isInt
    lessThan
    mul
    pathExists
    readDir
    readFile
    seq
    sub
    trace
    unsafeGetAttrPos
    baseNameOf
    dirOf
    isPath
    ;

  id = x: x;
  const = x: _: x;
  flip =
    f: a: b:
    f b a;
  pipe = foldl' (x: f: f x);
  concat = x: y: x ++ y;
  "or" = x: y: x || y;
  and = x: y: x && y;
  xor = x: y: x != y;
  bitNot = x: -1 - x;
  mergeAttrs = x: y: x // y;
  defaultTo = default: x: if x == null then default else x;
  mapNullable = f: x: if x == null then null else f x;

  boolToString = b: if b then "true" else "false";
  boolToYesNo = b: if b then "yes" else "no";

  min = x: y: if x < y then x else y;
  max = x: y: if x > y then x else y;
  mod = base: int: base - int * (base / int);
  compare =
    a: b:
    if a < b then
      -1
    else if a > b then
      1
    else
      0;
  splitByAndCompare =
    p: yes: no: a: b:
    if p a && p b then
      yes a b
    else if p a then
      -1
    else if p b then
      1
    else
      no a b;

  toBaseDigits =
    base: i:
    assert base >= 2 && i >= 0;
    if i < base then [ i ] else toBaseDigits base (i / base) ++ [ (mod i base) ];
  toHexString =
    let
      digit = n: builtins.substring n 1 "0123456789ABCDEF";
    in
    i: concatStringsSep "" (map digit (toBaseDigits 16 i));
  fromHexString =
    text:
    let
      digits = builtins.match "(0x)?([0-9A-Fa-f]{1,16})" text;
    in
    if digits == null then
      throw "fromHexString: ${lib.generators.toPretty { } text} is not a hexadecimal number"
    else
      (builtins.fromTOML "v=0x${builtins.elemAt digits 1}").v;

  importJSON = path: fromJSON (readFile path);
  importTOML = path: builtins.fromTOML (readFile path);

  # builtins.warn came with Nix 2.23.
  warn =
    builtins.warn or (
      message: value:
      assert builtins.isString message;
      trace "evaluation warning: ${message}" value
    );
  info = message: trace "INFO: ${message}";
  warnIf = cond: message: if cond then warn message else id;
  warnIfNot = cond: message: if cond then id else warn message;
  throwIf = cond: message: if cond then throw message else id;
  throwIfNot = cond: message: if cond then id else throw message;
  showWarnings = warnings: value: lib.foldr warn value warnings;
  assertMsg = pred: message: pred || throw message;
  assertOneOf =
    name: value: choices:
    let
      show = lib.generators.toPretty { };
    in
    assertMsg (elem value choices) "${name} must be one of ${show choices}, but is: ${show value}";
  checkListOfEnum =
    message: valid: given:
    let
      show = xs: concatStringsSep ", " (map toString xs);
      unexpected = filter (x: !elem x valid) given;
    in
    throwIfNot (
      unexpected == [ ]
    ) "${message}: ${show unexpected} unexpected; valid ones: ${show valid}";

  # What trace sees; the value itself comes back.
  traceIf = cond: message: if cond then trace message else id;
  traceVal = traceValFn id;
  traceValFn = f: x: trace (f x) x;
  traceSeq = x: y: trace (builtins.deepSeq x x) y;
  traceValSeq = x: traceSeq x x;

  # A set with __functor is a function too.
  isFunction = f: builtins.isFunction f || (f ? __functor && isFunction (f.__functor f));
  functionArgs =
    f:
    if f ? __functor then
      f.__functionArgs or (functionArgs (f.__functor f))
    else
      builtins.functionArgs f;
  setFunctionArgs = f: args: {
    __functor = _: f;
    __functionArgs = args;
  };
  mirrorFunctionArgs = f: g: setFunctionArgs g (functionArgs f);
  toFunction = x: if isFunction x then x else _: x;

  # Fixed points.
  fix =
    f:
    let
      x = f x;
    in
    x;
  extends =
    overlay: f: final:
    let
      prev = f final;
    in
    prev // overlay final prev;
  composeExtensions =
    f: g: final: prev:
    let
      inner = f final prev;
    in
    inner // g final (prev // inner);
  composeManyExtensions = lib.foldr composeExtensions (_: _: { });
  makeExtensible =
    f: fix f // { extend = overlay: makeExtensible (extends overlay f); };

  inPureEvalMode = !builtins ? currentSystem;
  inNixShell = builtins.getEnv "IN_NIX_SHELL" != "";
  release = "26.05";
  version = "26.05.nxc";
  codeName = "nxc";
  oldestSupportedRelease = 2511;
  oldestSupportedReleaseIsAtLeast = release: release <= oldestSupportedRelease;
}
