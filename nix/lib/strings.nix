# Functions of strings.
{ lib }:
let
  inherit (builtins)
    concatStringsSep
    elem
    elemAt
    filter
    fromJSON
    genList
    head
    isAttrs
    isList
    isPath
    isString
    match
    replaceStrings
    split
    stringLength
    substring
    tail
    toJSON
    ;
  inherit (lib.attrsets) mapAttrsToList;
  inherit (lib.trivial)
    assertMsg
    max
    min
    throwIfNot
    ;

  blank = " \t\r\n";
  codes = import ./ascii.nix;
  hex = c: lib.strings.fixedWidthString 2 "0" (lib.trivial.toHexString codes.${c});
in
rec {
  inherit (builtins)
    appendContext
    compareVersions
    concatStringsSep
    fromJSON
    hasContext
    isString
    match
    parseDrvName
    replaceStrings
    split
    stringLength
    substring
    toJSON
    typeOf
    unsafeDiscardStringContext
    ;

  # Joining.
  join = concatStringsSep;
  concatStrings = concatStringsSep "";
  concatMapStrings = f: xs: concatStrings (map f xs);
  concatMapStringsSep =
    sep: f: xs:
    concatStringsSep sep (map f xs);
  concatImapStrings = f: xs: concatStrings (lib.lists.imap1 f xs);
  concatImapStringsSep =
    sep: f: xs:
    concatStringsSep sep (lib.lists.imap1 f xs);
  concatMapAttrsStringSep =
    sep: f: set:
    concatStringsSep sep (mapAttrsToList f set);
  concatLines = concatMapStrings (line: line + "\n");
  intersperse =
    sep: xs:
    if xs == [ ] then
      [ ]
    else
      [ (head xs) ]
      ++ builtins.concatMap (x: [
        sep
        x
      ]) (tail xs);
  replicate = n: s: concatStrings (lib.lists.replicate n s);
  optionalString = cond: s: if cond then s else "";

  # Search paths.
  makeSearchPath =
    sub: paths: concatMapStringsSep ":" (path: path + "/" + sub) (filter (path: path != null) paths);
  makeSearchPathOutput =
    output: sub: pkgs:
    makeSearchPath sub (map (lib.attrsets.getOutput output) pkgs);
  makeBinPath = makeSearchPathOutput "bin" "bin";
  makeLibraryPath = makeSearchPathOutput "lib" "lib";
  makeIncludePath = makeSearchPathOutput "dev" "include";
  normalizePath =
    s: concatStrings (map (p: if isList p then "/" else p) (split "/+" s));

  # Parts.
  hasPrefix = prefix: s: substring 0 (stringLength prefix) s == prefix;
  hasSuffix =
    suffix: s:
    let
      start = stringLength s - stringLength suffix;
    in
    start >= 0 && substring start (-1) s == suffix;
  hasInfix = infix: s: replaceStrings [ infix ] [ "" ] "${s}" != "${s}" || infix == "";
  removePrefix =
    prefix: s: if hasPrefix prefix s then substring (stringLength prefix) (-1) s else s;
  removeSuffix =
    suffix: s: if hasSuffix suffix s then substring 0 (stringLength s - stringLength suffix) s else s;
  stringToCharacters = s: genList (n: substring n 1 s) (stringLength s);
  stringAsChars = f: s: concatMapStrings f (stringToCharacters s);
  charToInt = c: codes.${c};
  # The parts keep the context of the whole.
  splitString =
    sep: s:
    map (addContextFrom "${s}") (filter isString (split (escapeRegex (toString sep)) (toString s)));
  splitStringBy =
    cut: keep: s:
    let
      step =
        state: n:
        let
          char = substring n 1 s;
          previous = if n == 0 then "" else substring (n - 1) 1 s;
        in
        if cut previous char then
          {
            parts = state.parts ++ [ state.part ];
            part = if keep then char else "";
          }
        else
          state // { part = state.part + char; };
      done = builtins.foldl' step {
        parts = [ ];
        part = "";
      } (genList (n: n) (stringLength s));
    in
    map (addContextFrom s) (done.parts ++ [ done.part ]);
  addContextFrom = from: s: substring 0 0 from + s;
  trim = trimWith {
    start = true;
    end = true;
  };
  trimWith =
    {
      start ? false,
      end ? false,
    }:
    s:
    let
      left = if start then "[${blank}]*" else "";
      parts = if end then match "${left}(.*[^${blank}])[${blank}]*" s else match "${left}(.*)" s;
    in
    if parts == null then "" else head parts;
  commonPrefixLength =
    a: b:
    let
      same = n: substring n 1 a == substring n 1 b;
      longest = min (stringLength a) (stringLength b);
    in
    lib.lists.findFirstIndex (n: !same n) longest (genList (n: n) longest);

  # Replacing and escaping.
  replaceString = from: to: replaceStrings [ from ] [ to ];
  escape = chars: replaceStrings chars (map (c: "\\${c}") chars);
  escapeC = chars: replaceStrings chars (map (c: "\\x${toLower (hex c)}") chars);
  escapeURL = stringAsChars (
    c: if codes ? ${c} && match "[A-Za-z0-9_.~-]" c == null then "%${hex c}" else c
  );
  escapeShellArg =
    arg:
    let
      s = toString arg;
    in
    if match "[[:alnum:],._+:@%/-]+" s != null then s else "'${replaceString "'" "'\\''" s}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");
  escapeXML = replaceStrings [ "\"" "'" "<" ">" "&" ] [ "&quot;" "&apos;" "&lt;" "&gt;" "&amp;" ];
  escapeNixString = s: escape [ "$" ] (toJSON s);
  escapeNixIdentifier =
    s:
    if
      match "[a-zA-Z_][a-zA-Z0-9_'-]*" s != null
      && match "assert|else|if|in|inherit|let|or|rec|then|with" s == null
    then
      s
    else
      escapeNixString s;
  isValidPosixName = name: match "[a-zA-Z_][a-zA-Z0-9_]*" name != null;
  toShellVar =
    name: value:
    throwIfNot (isValidPosixName name) "toShellVar: `${name}' is not a name for a shell variable" (
      if isAttrs value && !isStringLike value then
        "declare -A ${name}=(${
          concatStringsSep " " (mapAttrsToList (n: v: "[${escapeShellArg n}]=${escapeShellArg v}") value)
        })"
      else if isList value then
        "declare -a ${name}=(${escapeShellArgs value})"
      else
        "${name}=${escapeShellArg value}"
    );
  toShellVars = vars: concatStringsSep "\n" (mapAttrsToList toShellVar vars);

  # Case.
  lowerChars = stringToCharacters "abcdefghijklmnopqrstuvwxyz";
  upperChars = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  toLower = replaceStrings upperChars lowerChars;
  toUpper = replaceStrings lowerChars upperChars;
  toSentenceCase =
    s:
    assert assertMsg (isString s) "toSentenceCase: a ${builtins.typeOf s} is not a string";
    toUpper (substring 0 1 s) + toLower (substring 1 (-1) s);
  toCamelCase =
    s:
    assert assertMsg (isString s) "toCamelCase: a ${builtins.typeOf s} is not a string";
    let
      words = splitStringBy (
        _: c:
        elem c [
          "-"
          "_"
          " "
        ]
      ) false s;
      humps = builtins.concatMap (splitStringBy (
        p: c: match "[a-z]" p != null && match "[A-Z]" c != null
      ) true) words;
    in
    toLower (head humps) + concatMapStrings toSentenceCase (tail humps);

  # Numbers.
  fixedWidthString =
    width: filler: s:
    assert assertMsg (
      stringLength s <= width
    ) "fixedWidthString: `${s}' is longer than ${toString width} characters";
    if stringLength s == width then s else filler + fixedWidthString (width - stringLength filler) filler s;
  fixedWidthNumber = width: n: fixedWidthString width "0" (toString n);
  floatToString = toString;
  toInt =
    s:
    let
      digits = match "[[:space:]]*(-?[[:digit:]]+)[[:space:]]*" s;
    in
    throwIfNot (digits != null) "toInt: ${escapeNixString s} is not an integer" (
      throwIfNot (
        match "0[[:digit:]]+" (head digits) == null
      ) "toInt: ${escapeNixString s} may be octal or padded with zeros" (fromJSON (head digits))
    );
  toIntBase10 =
    s:
    let
      digits = match "[[:space:]]*0*(-?[[:digit:]]+)[[:space:]]*" s;
    in
    throwIfNot (digits != null) "toIntBase10: ${escapeNixString s} is not an integer" (
      fromJSON (head digits)
    );

  # Versions and names.
  versionOlder = v1: v2: builtins.compareVersions v2 v1 == 1;
  versionAtLeast = v1: v2: !versionOlder v1 v2;
  getName = x: if isString x then (builtins.parseDrvName x).name else x.pname or (getName x.name);
  getVersion =
    x: if isString x then (builtins.parseDrvName x).version else x.version or (getVersion x.name);
  nameFromURL =
    url: sep:
    let
      file = lib.lists.last (splitString "/" url);
      name = head (splitString sep file);
    in
    assert name != file;
    name;
  enableFeature = flag: name: "--${if flag then "enable" else "disable"}-${name}";
  enableFeatureAs =
    flag: name: value:
    enableFeature flag name + optionalString flag "=${value}";
  withFeature = flag: name: "--${if flag then "with" else "without"}-${name}";
  withFeatureAs =
    flag: name: value:
    withFeature flag name + optionalString flag "=${value}";

  # Files and the store.
  fileContents = file: removeSuffix "\n" (builtins.readFile file);
  isStringLike = x: isString x || isPath x || x ? outPath || x ? __toString;
  isConvertibleWithToString =
    x:
    isStringLike x
    || elem (builtins.typeOf x) [
      "null"
      "int"
      "float"
      "bool"
    ]
    || (isList x && builtins.all isConvertibleWithToString x);
  isStorePath =
    x:
    isStringLike x
    && (
      let
        s = toString x;
      in
      substring 0 1 s == "/"
      && (dirOf s == builtins.storeDir || match "/[0-9a-z]{52}" (builtins.unsafeDiscardStringContext s) != null)
    );
  sanitizeDerivationName =
    s:
    let
      bare = head (match "\\.*(.*)" (builtins.unsafeDiscardStringContext s));
      safe = concatMapStrings (p: if isList p then "-" else p) (split "[^[:alnum:]+._?=-]+" bare);
      short = substring (max 0 (stringLength safe - 207)) (-1) safe;
    in
    if short == "" then "unknown" else short;

  # The number of single-character edits between two strings. Row by row, since only the last one is needed.
  levenshtein =
    a: b:
    let
      width = stringLength b;
      nextRow =
        row: i:
        builtins.foldl' (
          next: j:
          let
            swap = elemAt row j + (if substring i 1 a == substring j 1 b then 0 else 1);
          in
          next ++ [ (min swap (1 + min (elemAt row (j + 1)) (elemAt next j))) ]
        ) [ (i + 1) ] (genList (j: j) width);
      rows = builtins.foldl' nextRow (genList (j: j) (width + 1)) (genList (i: i) (stringLength a));
    in
    elemAt rows width;
  commonSuffixLength =
    a: b:
    let
      from = s: n: substring (stringLength s - 1 - n) 1 s;
      longest = min (stringLength a) (stringLength b);
    in
    lib.lists.findFirstIndex (n: from a n != from b n) longest (genList (n: n) longest);
  levenshteinAtMost =
    most: a: b:
    stringLength a - stringLength b <= most
    && stringLength b - stringLength a <= most
    && levenshtein a b <= most;
}
