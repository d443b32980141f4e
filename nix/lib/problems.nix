# What the module system says when a composition is wrong. Each is one sentence that names the file and
# the option; it begins with `nxc:`, by which a caller finds it at the end of Nix' trace.
{ lib }:
let
  inherit (builtins)
    concatMap
    concatStringsSep
    filter
    head
    isAttrs
    length
    stringLength
    ;
  inherit (lib.lists) last take unique;
  inherit (lib.options) isOption showFiles showOption;
  inherit (lib.strings) concatMapStringsSep hasPrefix;

  say = text: throw (if hasPrefix "nxc:" text then text else "nxc: ${text}");
  quoted =
    loc:
    let
      entry = builtins.match "\\[definition [0-9]+-entry ([0-9]+)]" (if loc == [ ] then "" else last loc);
    in
    if entry == null then
      "option `${showOption loc}'"
    else
      "entry ${head entry} of ${quoted (lib.lists.init loc)}";
  priorities = "lib.mkForce or lib.mkDefault gives one of them precedence";
  files = defs: unique (map (d: d.file) defs);

  # At most one line of at most so many characters; what cannot be evaluated is not shown.
  showShort =
    value:
    let
      limited = lib.generators.withRecursion {
        depthLimit = 4;
        throwOnDepthLimit = false;
      } value;
      attempt = builtins.tryEval (
        let
          text = lib.generators.toPretty { multiline = false; } limited;
        in
        builtins.seq text text
      );
    in
    if !attempt.success then
      "a value that cannot be evaluated"
    else if stringLength attempt.value > 72 then
      "${builtins.substring 0 68 attempt.value} ..."
    else
      attempt.value;
  withFile = d: "${showShort d.value} in ${d.file}";
in
rec {
  showValue = before: value: before + showShort value;

  wrongType =
    loc: type: defs:
    say "${concatStringsSep " and " (files defs)}: ${quoted loc} expects ${type.description}, found ${
      concatMapStringsSep " and " (d: showShort d.value) defs
    }";

  conflict =
    loc: defs:
    say "${quoted loc} has conflicting definitions: ${concatMapStringsSep ", and " withFile defs}; ${priorities}";

  notUnique =
    message: loc: defs:
    say "${quoted loc} is defined ${toString (length defs)} times but takes one definition: ${concatMapStringsSep ", and " withFile defs}; ${priorities}${
      lib.strings.optionalString (message != "") " (${message})"
    }";

  missing =
    loc: declarations:
    say "${quoted loc} is used but has no value${
      lib.strings.optionalString (declarations != [ ]) "; it is declared in ${concatStringsSep " and " declarations}"
    }";

  readOnly =
    loc: defs:
    say "${quoted loc} is read-only but is set ${toString (length defs)} times: ${concatMapStringsSep ", and " (d: d.file) defs}";

  declaredTwice =
    loc: file: others:
    say "${quoted loc} is declared in ${showFiles ([ file ] ++ others)}, and the declarations do not join";

  parentOfOptions =
    loc: file: type: nested:
    say "${file}: ${quoted loc} is of type ${type.description or "unspecified"}, which cannot hold the options that ${showFiles nested} declares below it";

  notDeclaration =
    loc: file: found:
    say "${file}: ${quoted loc} is declared by ${found} instead of lib.mkOption { ... }";

  notAttrs =
    loc: file: value:
    say "${file}: `${showOption loc}' holds options and expects an attribute set, found ${showShort value}";

  notModule =
    file: found:
    say "${file}: expected a module (an attribute set, a function or a path), found ${found}";

  strayAttribute =
    file: names:
    say "${file}: a module with `config' or `options' must move ${
      concatMapStringsSep ", " (n: "`${n}'") names
    } into `config'";

  noArgument = file: name: say "${file}: no argument `${name}' is given to modules";

  wrongClass =
    module: class:
    say "${module._file}: a module of class ${toString module._class} is imported where class ${class} is expected";

  # Definitions that no option takes: [ { file, loc, value } ], of which the first is named.
  unknown =
    {
      options,
      prefix,
      hook,
    }:
    unmatched:
    let
      first = head unmatched;
      similar = near options first.loc;
      # With nothing similar the whole path says more than its first unknown part.
      loc = if similar == [ ] then first.loc ++ onlyPath first.value else first.loc;
      suggestions = if similar == [ ] then sameEnd options loc else similar;
      report = {
        loc = prefix ++ loc;
        files = unique (map (d: d.file) (filter (d: d.loc == first.loc) unmatched));
        near = map (path: showOption (prefix ++ path)) suggestions;
      };
    in
    say (if hook == null then unknownOption report else hook report);

  unknownOption =
    {
      loc,
      files,
      near,
    }:
    "${concatStringsSep " and " files}: ${quoted loc} does not exist${didYouMean near}";

  didYouMean =
    near:
    lib.strings.optionalString (near != [ ]) "; did you mean ${
      concatMapStringsSep " or " (option: "`${option}'") near
    }?";

  # The attributes that lead to the only value in a definition: { a.b = 1; } gives [ "a" "b" ].
  onlyPath =
    value:
    let
      attempt = builtins.tryEval (
        if value._type or null == "if" || value._type or null == "override" then
          onlyPath value.content
        else if isAttrs value && !value ? _type && !value ? type && length (builtins.attrNames value) == 1 then
          let
            name = head (builtins.attrNames value);
          in
          [ name ] ++ onlyPath value.${name}
        else
          [ ]
      );
    in
    if attempt.success then attempt.value else [ ];

  # The paths of options, or of sets of options, that resemble one: at most three, the most similar first.
  near =
    options: loc:
    let
      name = last loc;
      above = lib.lists.init loc;
      tree = lib.attrsets.attrByPath above { } options;
      most =
        if stringLength name < 4 then
          1
        else if stringLength name < 8 then
          2
        else
          3;
      siblings = if isAttrs tree && !isOption tree then builtins.attrNames (removeAttrs tree [ "_module" ]) else [ ];
      spelled = filter (n: lib.strings.levenshteinAtMost most n name) siblings;
      elsewhere = filter (path: last path == name) (paths options);
    in
    if spelled != [ ] then
      map (n: above ++ [ n ]) (take 3 (lib.lists.sortOn (lib.strings.levenshtein name) spelled))
    else if length elsewhere <= 3 then
      elsewhere
    # A name that stands everywhere, like `enable', says nothing.
    else
      take 3 (filter (endsWith loc) elsewhere);

  # Options whose last two names are those of a path.
  sameEnd =
    options: loc:
    if length loc < 2 then [ ] else take 3 (filter (endsWith (lib.lists.takeEnd 2 loc)) (paths options));

  endsWith = suffix: path: lib.lists.takeEnd (length suffix) path == suffix;

  paths =
    let
      below =
        path: tree:
        concatMap (
          n:
          let
            here = path ++ [ n ];
          in
          [ here ] ++ (if isOption tree.${n} then [ ] else below here tree.${n})
        ) (builtins.attrNames tree);
    in
    options: below [ ] (removeAttrs options [ "_module" ]);
}
