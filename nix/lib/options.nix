# Declaring options, and merging and showing their definitions.
{ lib }:
let
  inherit (builtins)
    all
    concatLists
    concatStringsSep
    filter
    foldl'
    head
    isAttrs
    isBool
    isInt
    isList
    isString
    length
    tail
    ;
  inherit (lib.lists) last toList;
  inherit (lib.strings) concatMapStrings concatMapStringsSep;
  inherit (lib.trivial) isFunction;
  problems = import ./problems.nix { inherit lib; };
in
rec {
  unknownModule = "<unknown-file>";

  isOption = x: x._type or null == "option";

  mkOption =
    {
      default ? null,
      defaultText ? null,
      example ? null,
      description ? null,
      relatedPackages ? null,
      type ? null,
      apply ? null,
      internal ? null,
      visible ? null,
      readOnly ? null,
    }@attrs:
    attrs // { _type = "option"; };

  mkEnableOption =
    what:
    mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether to enable ${what}.";
    };

  mkPackageOption =
    pkgs: name:
    {
      nullable ? false,
      default ? name,
      example ? null,
      extraDescription ? "",
      pkgsText ? "pkgs",
    }:
    let
      text = path: "${pkgsText}.${lib.attrsets.showAttrPath path}";
      path = toList default;
      missing = throw "${lib.attrsets.showAttrPath path} cannot be found in ${pkgsText}";
    in
    mkOption (
      {
        type = if nullable then lib.types.nullOr lib.types.package else lib.types.package;
        description =
          "The ${last (toList name)} package to use."
          + lib.strings.optionalString (extraDescription != "") " ${extraDescription}";
      }
      // lib.attrsets.optionalAttrs (default != null) {
        default = lib.attrsets.attrByPath path missing pkgs;
        defaultText = literalExpression (text path);
      }
      // lib.attrsets.optionalAttrs (default == null && nullable) { default = null; }
      // lib.attrsets.optionalAttrs (example != null) {
        example = literalExpression (if isList example then text example else example);
      }
    );

  # Takes any definition and yields nothing: for modules shared with sets that do not declare an option.
  mkSinkUndeclaredOptions =
    attrs:
    mkOption (
      {
        internal = true;
        visible = false;
        default = false;
        description = "Sink for option definitions.";
        type = lib.types.mkOptionType {
          name = "sink";
          check = _: true;
          merge = _: _: false;
        };
        apply = _: throw "Option value is not readable because the option is not declared.";
      }
      // attrs
    );

  literalExpression = text: literal "literalExpression" text;
  literalMD = text: literal "literalMD" text;
  literalCode = language: text: literalMD "```${language}\n${text}\n```\n";
  literal =
    kind: text:
    if isString text then
      {
        _type = kind;
        inherit text;
      }
    else
      throw "${kind} expects a string.";

  # Merging. A definition is { file, value }; the last module's comes first.
  getValues = map (d: d.value);
  getFiles = map (d: d.file);

  mergeDefaultOption =
    loc: defs:
    let
      values = getValues defs;
    in
    if length values == 1 then
      head values
    else if all isFunction values then
      x: mergeDefaultOption loc (map (d: d // { value = d.value x; }) defs)
    else if all isList values then
      concatLists values
    else if all isAttrs values then
      foldl' (merged: v: merged // v) { } values
    else if all isBool values then
      builtins.any (v: v) values
    else if all isString values then
      concatStringsSep "" values
    else if all isInt values && all (v: v == head values) values then
      head values
    else
      problems.conflict loc defs;

  mergeOneOption = mergeUniqueOption { message = ""; };

  mergeUniqueOption =
    {
      message,
      merge ? _: defs: (head defs).value,
    }:
    loc: defs:
    if length defs == 1 then merge loc defs else problems.notUnique message loc defs;

  mergeEqualOption =
    loc: defs:
    let
      differing = filter (d: d.value != (head defs).value) (tail defs);
    in
    if length defs == 1 || differing == [ ] then
      (head defs).value
    else
      problems.conflict loc [
        (head defs)
        (head differing)
      ];

  # Showing.
  showOption = concatMapStringsSep "." (
    part:
    if part == "*" || builtins.match "<.*>" part != null then
      part
    else
      lib.strings.escapeNixIdentifier part
  );
  showFiles = concatMapStringsSep " and " (file: "`${file}'");
  showDefs = concatMapStrings (def: "\n- In `${def.file}'${problems.showValue ": " def.value}");
  showOptionWithDefLocs =
    option:
    "${showOption option.loc}, with values defined in:\n${
      concatMapStringsSep "\n" (file: "  - ${file}") option.files
    }\n";

  # Documentation: every option, those of submodules included, as a flat list.
  optionAttrSetToDocList = optionAttrSetToDocList' [ ];
  optionAttrSetToDocList' =
    _: options:
    builtins.concatMap (
      option:
      let
        visible = option.visible or true;
        within = option.type.getSubOptions option.loc;
        showsWithin = if isBool visible then visible else visible == "transparent";
      in
      [ (describe option) ]
      ++ lib.lists.optionals (showsWithin && within != { }) (optionAttrSetToDocList' option.loc within)
    ) (lib.attrsets.collect isOption options);
  describe =
    option:
    let
      visible = option.visible or true;
      isEmptyByItself = option.type.emptyValue ? value && option.type.getSubModules == null;
      inherit (lib.attrsets) optionalAttrs;
    in
    {
      inherit (option) loc;
      name = showOption option.loc;
      description = option.description or null;
      declarations = filter (file: file != unknownModule) option.declarations;
      internal = option.internal or false;
      visible = if isBool visible then visible else visible == "shallow";
      readOnly = option.readOnly or false;
      type = option.type.description or "unspecified";
    }
    // optionalAttrs (option ? example) { example = renderOptionValue option.example; }
    // optionalAttrs (option ? defaultText || option ? default || isEmptyByItself) {
      default = renderOptionValue (option.defaultText or option.default or option.type.emptyValue.value);
    };
  renderOptionValue =
    v:
    if v ? _type && v ? text then
      v
    else
      literalExpression (lib.generators.toPretty { allowPrettyValues = true; } v);
  scrubOptionValue =
    v:
    if lib.attrsets.isDerivation v then
      {
        type = "derivation";
        drvPath = v.name;
        outPath = v.name;
        inherit (v) name;
      }
    else if isList v then
      map scrubOptionValue v
    else if isAttrs v then
      builtins.mapAttrs (_: scrubOptionValue) (removeAttrs v [ "_args" ])
    else
      v;
}
