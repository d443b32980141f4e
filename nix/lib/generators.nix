# Nix values to the text of other formats.
{ lib }:
let
  inherit (builtins)
    concatLists
    concatStringsSep
    isAttrs
    isBool
    isFloat
    isInt
    isList
    isPath
    isString
    mapAttrs
    ;
  inherit (lib.attrsets) isDerivation mapAttrsToList;
  inherit (lib.lists) init last toList;
  inherit (lib.strings)
    concatMapStringsSep
    concatStrings
    escape
    escapeNixIdentifier
    escapeXML
    optionalString
    replaceStrings
    splitString
    ;
  inherit (lib.trivial) functionArgs isFunction;
in
rec {
  toJSON = { }: builtins.toJSON;
  # JSON is YAML.
  toYAML = toJSON;

  mkLuaInline = expr: {
    _type = "lua-inline";
    inherit expr;
  };

  mkValueStringDefault =
    { }:
    v:
    if isString v then
      v
    else if isInt v || isFloat v || isDerivation v then
      toString v
    else if isBool v then
      lib.trivial.boolToString v
    else if v == null then
      "null"
    else
      throw "generators.mkValueStringDefault: a ${builtins.typeOf v} is not supported: ${toPretty { } v}";

  mkKeyValueDefault =
    {
      mkValueString ? mkValueStringDefault { },
    }:
    sep: k: v:
    "${escape [ sep ] k}${sep}${mkValueString v}";

  toKeyValue =
    {
      mkKeyValue ? mkKeyValueDefault { } "=",
      listsAsDuplicateKeys ? false,
      indent ? "",
    }:
    attrs:
    let
      values = v: if listsAsDuplicateKeys then toList v else [ v ];
    in
    concatStrings (
      concatLists (mapAttrsToList (k: v: map (v: indent + mkKeyValue k v + "\n") (values v)) attrs)
    );

  toINI =
    {
      mkSectionName ? escape [
        "["
        "]"
      ],
      mkKeyValue ? mkKeyValueDefault { } "=",
      listsAsDuplicateKeys ? false,
    }:
    attrs:
    let
      lines = toKeyValue { inherit mkKeyValue listsAsDuplicateKeys; };
    in
    concatStringsSep "\n" (mapAttrsToList (name: keys: "[${mkSectionName name}]\n${lines keys}") attrs);

  toINIWithGlobalSection =
    {
      mkSectionName ? escape [
        "["
        "]"
      ],
      mkKeyValue ? mkKeyValueDefault { } "=",
      listsAsDuplicateKeys ? false,
    }:
    {
      globalSection,
      sections ? { },
    }:
    optionalString (globalSection != { }) (
      toKeyValue { inherit mkKeyValue listsAsDuplicateKeys; } globalSection + "\n"
    )
    + toINI { inherit mkSectionName mkKeyValue listsAsDuplicateKeys; } sections;

  # git-config: `a.b.c.d = 1` becomes d under [a "b.c"].
  toGitINI =
    attrs:
    let
      isSection = v: isAttrs v && !isDerivation v;
      header =
        path:
        if builtins.length path == 1 then
          builtins.head path
        else
          ''${builtins.head path} "${concatStringsSep "." (builtins.tail path)}"'';
      quoted = replaceStrings [ "\n" "\t" "\"" "\\" ] [ "\\n" "\\t" "\\\"" "\\\\" ];
      value = v: if isString v then ''"${quoted v}"'' else mkValueStringDefault { } v;
      line = k: v: "\t" + mkKeyValueDefault { mkValueString = value; } " = " k v;
      sections =
        path: set:
        let
          keys = lib.attrsets.filterAttrs (_: v: !isSection v) set;
          below = lib.attrsets.filterAttrs (_: isSection) set;
        in
        (if keys == { } || path == [ ] then { } else { ${header path} = keys; })
        // lib.attrsets.concatMapAttrs (n: sections (path ++ [ n ])) below;
    in
    toINI {
      mkSectionName = lib.trivial.id;
      mkKeyValue = k: v: concatMapStringsSep "\n" (line k) (toList v);
    } (sections [ ] attrs);

  # Cuts a value off below a depth, so that showing an endless one ends.
  withRecursion =
    {
      depthLimit,
      throwOnDepthLimit ? true,
    }:
    let
      cut =
        if throwOnDepthLimit then
          throw "generators.withRecursion: deeper than ${toString depthLimit}"
        else
          "<unevaluated>";
      special = n: builtins.match "__(functor|functionArgs|toString|pretty)" n != null;
      down =
        depth: v:
        if depthLimit != null && depth > depthLimit then
          cut
        else if isAttrs v then
          mapAttrs (n: x: if special n then x else down (depth + 1) x) v
        else if isList v then
          map (down (depth + 1)) v
        # As in nixpkgs, what holds nothing counts one deeper.
        else if depth == depthLimit then
          cut
        else
          v;
    in
    down 0;

  # As close to a Nix expression as a value can be.
  toPretty =
    {
      allowPrettyValues ? false,
      multiline ? true,
      indent ? "",
    }:
    let
      string =
        open: close: v:
        let
          lines = splitString "\n" v;
          body = map (replaceStrings [ "\${" "''" ] [ "''\${" "'''" ]) lines;
          quote = escape [
            "\\"
            "\""
            "\${"
          ];
        in
        if multiline && builtins.length lines > 1 then
          "''${open}${concatStringsSep open (init body)}${if last body == "" then close else open + last body}''"
        else
          ''"${concatMapStringsSep "\\n" quote lines}"'';
      function =
        f:
        let
          args = functionArgs f;
          shown = mapAttrsToList (n: optional: n + optionalString optional "?") args;
        in
        if args == { } then "<function>" else "<function, args: {${concatStringsSep ", " shown}}>";
      go =
        indent: v:
        let
          open = if multiline then "\n${indent}  " else " ";
          close = if multiline then "\n${indent}" else " ";
          within = go (indent + "  ");
        in
        if isInt v then
          toString v
        else if isFloat v then
          builtins.toJSON v
        else if isString v then
          string open close v
        else if isBool v then
          lib.trivial.boolToString v
        else if v == null then
          "null"
        else if isPath v then
          toString v
        else if v == [ ] then
          "[ ]"
        else if isList v then
          "[${open}${concatMapStringsSep open within v}${close}]"
        else if isFunction v then
          function v
        else if allowPrettyValues && v ? __pretty && v ? val then
          v.__pretty v.val
        else if v == { } then
          "{ }"
        else if isDerivation v then
          "<derivation ${v.name or "???"}>"
        else
          "{${open}${
            concatStringsSep open (mapAttrsToList (n: x: "${escapeNixIdentifier n} = ${within x};") v)
          }${close}}";
    in
    go indent;

  toPlist =
    {
      escape ? false,
    }:
    v:
    let
      text = if escape then escapeXML else lib.trivial.id;
      element = indent: tag: body: "${indent}<${tag}>${body}</${tag}>";
      block =
        indent: tag: parts:
        "${indent}<${tag}>\n${concatStringsSep "\n" parts}\n${indent}</${tag}>";
      pair = indent: n: x: [
        (element "\t${indent}" "key" (text n))
        (show "\t${indent}" x)
      ];
      shown = lib.attrsets.filterAttrs (n: x: n != "_module" && x != null);
      show =
        indent: x:
        if x == null then
          ""
        else if isBool x then
          "${indent}<${lib.trivial.boolToString x}/>"
        else if isInt x then
          element indent "integer" (toString x)
        else if isFloat x then
          element indent "real" (toString x)
        else if isString x || isPath x then
          element indent "string" (text (toString x))
        else if isList x then
          block indent "array" (map (show "\t${indent}") x)
        else
          block indent "dict" (concatLists (mapAttrsToList (pair indent) (shown x)));
    in
    ''
      <?xml version="1.0" encoding="UTF-8"?>
      <!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
      <plist version="1.0">
      ${show "" v}
      </plist>'';
}
