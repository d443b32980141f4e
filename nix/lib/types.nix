# Option types whose values hold no values of other types, and what all types are made of.
{ lib }:
let
  inherit (builtins)
    all
    concatStringsSep
    elem
    foldl'
    isAttrs
    isBool
    isFloat
    isInt
    isPath
    isString
    match
    substring
    toJSON
    ;
  inherit (lib.options)
    getValues
    mergeDefaultOption
    mergeEqualOption
    mergeOneOption
    ;
  inherit (lib.strings) escapeNixString isStorePath isStringLike;
  inherit (lib.trivial) assertMsg;

  # A type of one kind of value, of which several definitions must be equal.
  simple =
    name: description: check:
    lib.types.mkOptionType {
      inherit name description check;
      descriptionClass = "noun";
      merge = mergeEqualOption;
    };
  # A narrower type under a name of its own.
  narrow =
    type: name: description: check:
    lib.types.addCheck type check
    // {
      inherit name description;
      descriptionClass = "nonRestrictiveClause";
    };
in
rec {
  isType = name: x: x._type or "" == name;
  setType = name: x: x // { _type = name; };
  isOptionType = isType "option-type";

  # A functor says how a type is made (`type payload`) and how two of one name join (`binOp`).
  defaultFunctor = name: {
    inherit name;
    type = lib.types.${name} or null;
    payload = null;
    binOp = _: _: null;
  };
  defaultTypeMerge =
    f: g:
    let
      payload = f.binOp f.payload g.payload;
    in
    if f.name != g.name then
      null
    else if f.payload == null then
      f.type
    else if payload == null then
      null
    else
      f.type payload;
  mergeTypes =
    a: b:
    let
      merged = a.typeMerge b.functor;
    in
    if merged == null then setType "merge-error" { error = "Cannot merge types"; } else merged;

  # `check` looks at the surface of a value only; what is inside is checked by `merge`, when it is used.
  mkOptionType =
    {
      name,
      description ? null,
      descriptionClass ? null,
      check ? _: true,
      merge ? mergeDefaultOption,
      emptyValue ? { },
      getSubOptions ? _: { },
      getSubModules ? null,
      substSubModules ? _: null,
      functor ? defaultFunctor name,
      typeMerge ? defaultTypeMerge functor,
      deprecationMessage ? null,
      nestedTypes ? { },
    }:
    {
      _type = "option-type";
      inherit
        name
        descriptionClass
        check
        merge
        emptyValue
        getSubOptions
        getSubModules
        substSubModules
        functor
        typeMerge
        deprecationMessage
        nestedTypes
        ;
      description = if description == null then name else description;
    };

  # A description as part of another, in parentheses where it could be misread.
  optionDescriptionPhrase =
    fits: type: if fits type.descriptionClass or null then type.description else "(${type.description})";

  raw = simple "raw" "raw value" (_: true) // {
    merge = mergeOneOption;
  };
  unspecified = simple "unspecified" "unspecified value" (_: true) // {
    merge = mergeDefaultOption;
  };
  bool = simple "bool" "boolean" isBool;
  boolByOr = simple "boolByOr" "boolean (merged using or)" isBool // {
    merge = _: builtins.any (d: d.value);
  };

  # Numbers.
  int = simple "int" "signed integer" isInt;
  float = simple "float" "floating point number" isFloat;
  number = lib.types.either int float;
  ints =
    let
      range = lowest: highest: "between ${toString lowest} and ${toString highest} (both inclusive)";
      within =
        lowest: highest: name: description:
        lib.types.addCheck int (x: x >= lowest && x <= highest) // { inherit name description; };
      fixed =
        name: what: lowest: highest:
        within lowest highest name "${what}; ${range lowest highest}";
      unsigned = bits: fixed "unsignedInt${bits}" "${bits} bit unsigned integer" 0;
      signed = bits: half: fixed "signedInt${bits}" "${bits} bit signed integer" (-half) (half - 1);
    in
    {
      between =
        lowest: highest:
        assert assertMsg (lowest <= highest) "ints.between: the lowest is above the highest";
        within lowest highest "intBetween" "integer ${range lowest highest}";
      unsigned = narrow int "unsignedInt" "unsigned integer, meaning >=0" (x: x >= 0);
      positive = narrow int "positiveInt" "positive integer, meaning >0" (x: x > 0);
      u8 = unsigned "8" 255;
      u16 = unsigned "16" 65535;
      u32 = unsigned "32" 4294967295;
      s8 = signed "8" 128;
      s16 = signed "16" 32768;
      s32 = signed "32" 2147483648;
    };
  port = ints.u16;
  numbers = {
    between =
      lowest: highest:
      assert assertMsg (lowest <= highest) "numbers.between: the lowest is above the highest";
      lib.types.addCheck number (x: x >= lowest && x <= highest)
      // {
        name = "numberBetween";
        description = "integer or floating point number between ${toJSON lowest} and ${toJSON highest} (both inclusive)";
      };
    nonnegative =
      narrow number "numberNonnegative" "nonnegative integer or floating point number, meaning >=0"
        (x: x >= 0);
    positive =
      narrow number "numberPositive" "positive integer or floating point number, meaning >0"
        (x: x > 0);
  };

  # Strings.
  str = simple "str" "string" isString;
  nonEmptyStr = simple "nonEmptyStr" "non-empty string" (
    x: isString x && match "[ \t\n]*" x == null
  );
  strMatching =
    pattern:
    simple "strMatching ${escapeNixString pattern}" "string matching the pattern ${pattern}" (
      x: isString x && match pattern x != null
    )
    // rec {
      functor = defaultFunctor "strMatching" // {
        type = payload: strMatching payload.pattern;
        payload = { inherit pattern; };
        binOp = a: b: if a == b then a else null;
      };
      typeMerge = defaultTypeMerge functor;
    };
  # One newline at the end is taken off.
  singleLineStr =
    simple "singleLineStr" "(optionally newline-terminated) single-line string"
      (strMatching "[^\n\r]*\n?").check
    // {
      merge = loc: defs: lib.strings.removeSuffix "\n" (mergeEqualOption loc defs);
    };
  separatedString =
    sep:
    simple "separatedString" "strings concatenated with ${toJSON sep}" isString
    // rec {
      merge = _: defs: concatStringsSep sep (getValues defs);
      functor = defaultFunctor "separatedString" // {
        type = payload: separatedString payload.sep;
        payload = { inherit sep; };
        binOp = a: b: if a == b then a else null;
      };
      typeMerge = defaultTypeMerge functor;
    };
  lines = separatedString "\n";
  commas = separatedString ",";
  envVar = separatedString ":";
  passwdEntry =
    type:
    narrow type "passwdEntry ${type.name}"
      "${optionDescriptionPhrase (class: class == "noun") type}, not containing newlines or colons"
      (s: match ".*[:\n].*" s == null);

  # Paths and packages.
  path = pathWith { absolute = true; };
  pathInStore = pathWith { inStore = true; };
  externalPath = pathWith {
    absolute = true;
    inStore = false;
  };
  pathWith =
    {
      inStore ? null,
      absolute ? null,
    }:
    let
      kind =
        if absolute == null then
          ""
        else if absolute then
          "absolute "
        else
          "relative ";
      place =
        if inStore == null then
          ""
        else if inStore then
          " in the Nix store"
        else
          " not in the Nix store";
      under =
        x:
        match "${builtins.storeDir}/[0-9a-z]{32}-[^/]+(/.*)?" (
          builtins.unsafeDiscardStringContext (toString x)
        ) != null;
      check =
        x:
        # A path value that must stay out of the store could be copied there by its use.
        (if inStore == false then isString x else isStringLike x)
        && (inStore == null || inStore == under x)
        && (absolute == null || absolute == (substring 0 1 (toString x) == "/"));
    in
    simple "path" "${kind}path${place}" check
    // rec {
      functor = defaultFunctor "path" // {
        type = pathWith;
        payload = { inherit inStore absolute; };
        binOp = a: b: if a == b then a else null;
      };
      typeMerge = defaultTypeMerge functor;
    };
  package =
    simple "package" "package" (x: lib.attrsets.isDerivation x || isStorePath x)
    // {
      merge =
        loc: defs:
        let
          x = mergeOneOption loc defs;
        in
        if isPath x || (isString x && !builtins.hasContext x) then lib.attrsets.toDerivation x else x;
    };
  shellPackage = package // {
    check = x: lib.attrsets.isDerivation x && x ? shellPath;
  };

  # Sets and choices.
  attrs = mkOptionType {
    name = "attrs";
    description = "attribute set";
    check = isAttrs;
    merge = _: foldl' (merged: d: merged // d.value) { };
    emptyValue.value = { };
  };
  enum =
    values:
    let
      show =
        v:
        if isString v then
          ''"${v}"''
        else if isInt v then
          toString v
        else if isBool v then
          lib.trivial.boolToString v
        else
          "<${builtins.typeOf v}>";
      shown = map show values;
      count = builtins.length values;
    in
    mkOptionType rec {
      name = "enum";
      description =
        if count == 0 then
          "impossible (empty enum)"
        else if count == 1 then
          "value ${builtins.head shown} (singular enum)"
        else
          "one of ${concatStringsSep ", " shown}";
      descriptionClass = if count < 2 then "noun" else "conjunction";
      check = x: elem x values;
      merge = mergeEqualOption;
      functor = defaultFunctor name // {
        type = payload: enum payload.values;
        payload = { inherit values; };
        # Each declaration may add choices.
        binOp = a: b: { values = lib.lists.unique (a.values ++ b.values); };
      };
    };

  # What a text format can say.
  serializableValueWith =
    {
      typeName,
      nullable ? true,
    }:
    let
      base = lib.types.oneOf [
        bool
        int
        float
        str
        path
        (lib.types.attrsOf value)
        (lib.types.listOf value)
      ];
      value = (if nullable then lib.types.nullOr base else base) // {
        description = "${typeName} value";
      };
    in
    value;
  json = serializableValueWith { typeName = "JSON"; };
  toml = serializableValueWith {
    typeName = "TOML";
    nullable = false;
  };

  # Types as values.
  optionDeclaration = simple "optionDeclaration" "option declaration" (
    x: lib.options.isOption x && !(x ? value)
  );
  optionType = simple "optionType" "optionType" isOptionType // {
    merge =
      loc: defs:
      let
        # Several types join as those of one option declared several times do.
        declared = map (d: {
          inherit (d) file;
          options = lib.options.mkOption { type = d.value; };
        }) defs;
        inherit (lib.modules) fixupOptionType mergeOptionDecls;
      in
      if builtins.length defs == 1 then
        (builtins.head defs).value
      else
        (fixupOptionType loc (mergeOptionDecls loc declared)).type;
  };
  luaInline = simple "luaInline" "inline lua" (isType "lua-inline");

  types = lib.types;
}
