# Option types made of other types.
{ lib }:
let
  inherit (builtins)
    all
    concatLists
    elemAt
    filter
    foldl'
    head
    isAttrs
    isList
    length
    mapAttrs
    tail
    zipAttrsWith
    ;
  inherit (lib.lists) imap1 last;
  inherit (lib.modules) mergeDefinitions;
  inherit (lib.options)
    getFiles
    mergeEqualOption
    mergeOneOption
    mergeUniqueOption
    showFiles
    showOption
    ;
  inherit (lib.trivial) functionArgs isFunction;
  inherit (lib.types) defaultFunctor mkOptionType optionDescriptionPhrase;

  isNoun = class: class == "noun";
  isPhrase = class: class == "noun" || class == "composite";
  isChoice = class: class == "noun" || class == "conjunction";
  phrase = optionDescriptionPhrase;

  # Two types of one name and one element join if their elements do.
  elemFunctor =
    name: elemType: type:
    defaultFunctor name
    // {
      inherit type;
      payload = { inherit elemType; };
      binOp =
        a: b:
        let
          joined = a.elemType.typeMerge b.elemType.functor;
        in
        if joined == null then null else { elemType = joined; };
    };
  # What a type with one element takes from it.
  around = elemType: rebuild: {
    inherit (elemType) getSubModules;
    substSubModules = ms: rebuild (elemType.substSubModules ms);
    nestedTypes = { inherit elemType; };
  };
in
rec {
  listOf =
    elemType:
    mkOptionType (
      around elemType listOf
      // {
        name = "listOf";
        description = "list of ${phrase isPhrase elemType}";
        descriptionClass = "composite";
        check = isList;
        merge =
          loc: defs:
          let
            entry =
              n: def: m: value:
              mergeDefinitions (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) elemType [
                (def // { inherit value; })
              ];
            entries = concatLists (imap1 (n: def: imap1 (entry n def) def.value) defs);
          in
          map (e: e.mergedValue) (filter (e: e.isDefined) entries);
        emptyValue.value = [ ];
        getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "*" ]);
        functor = elemFunctor "listOf" elemType (payload: listOf payload.elemType);
      }
    );
  nonEmptyListOf =
    elemType:
    addCheck (listOf elemType) (xs: xs != [ ])
    // {
      description = "non-empty ${phrase isNoun (listOf elemType)}";
      emptyValue = { };
      substSubModules = ms: nonEmptyListOf (elemType.substSubModules ms);
    };

  attrsOf = elemType: attrsWith { inherit elemType; };
  # Does not look at values to know names: an attribute under `mkIf false` is there, and has no value.
  lazyAttrsOf =
    elemType:
    attrsWith {
      inherit elemType;
      lazy = true;
    };
  attrsWith =
    {
      elemType,
      lazy ? false,
      placeholder ? "name",
    }:
    mkOptionType (
      around elemType (elemType: attrsWith { inherit elemType lazy placeholder; })
      // {
        name = if lazy then "lazyAttrsOf" else "attrsOf";
        description = "${if lazy then "lazy " else ""}attribute set of ${phrase isPhrase elemType}";
        descriptionClass = "composite";
        check = isAttrs;
        merge =
          loc: defs:
          let
            pushed = map (def: mapAttrs (_: value: def // { inherit value; }) def.value) defs;
            merged = zipAttrsWith (n: mergeDefinitions (loc ++ [ n ]) elemType) pushed;
          in
          mapAttrs (_: m: m.mergedValue) (
            if lazy then merged else lib.attrsets.filterAttrs (_: m: m.isDefined) merged
          );
        emptyValue.value = { };
        getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "<${placeholder}>" ]);
        functor = defaultFunctor "attrsWith" // {
          type = attrsWith;
          payload = { inherit elemType lazy placeholder; };
          binOp =
            a: b:
            let
              joined = a.elemType.typeMerge b.elemType.functor;
              isNamed = x: x.placeholder != "name";
            in
            if joined == null || a.lazy != b.lazy || (isNamed a && isNamed b && a.placeholder != b.placeholder) then
              null
            else
              {
                elemType = joined;
                inherit (a) lazy;
                placeholder = if isNamed a then a.placeholder else b.placeholder;
              };
        };
      }
    );

  nullOr =
    elemType:
    mkOptionType (
      around elemType nullOr
      // {
        name = "nullOr";
        description = "null or ${phrase isChoice elemType}";
        descriptionClass = "conjunction";
        check = x: x == null || elemType.check x;
        merge =
          loc: defs:
          let
            nulls = filter (d: d.value == null) defs;
          in
          if nulls == [ ] then
            elemType.merge loc defs
          else if length nulls == length defs then
            null
          else
            throw "nxc: option `${showOption loc}' is defined both null and not null, in ${showFiles (getFiles defs)}";
        emptyValue.value = null;
        inherit (elemType) getSubOptions;
        functor = elemFunctor "nullOr" elemType (payload: nullOr payload.elemType);
      }
    );

  uniq = unique { message = ""; };
  unique =
    { message }:
    type:
    mkOptionType (
      around type (unique {
        inherit message;
      })
      // {
        name = "unique";
        inherit (type)
          description
          descriptionClass
          check
          emptyValue
          getSubOptions
          ;
        merge = mergeUniqueOption {
          inherit message;
          inherit (type) merge;
        };
        functor = elemFunctor "unique" type (payload: unique { inherit message; } payload.elemType);
      }
    );

  addCheck = type: check: type // { check = x: type.check x && check x; };

  # The first type that takes all definitions merges them.
  either =
    left: right:
    mkOptionType rec {
      name = "either";
      description =
        if left.descriptionClass or null == "nonRestrictiveClause" then
          "${left.description}, or ${phrase isChoice right}"
        else
          "${phrase isChoice left} or ${phrase (class: isChoice class || class == "composite") right}";
      descriptionClass = "conjunction";
      check = x: left.check x || right.check x;
      merge =
        loc: defs:
        if all (d: left.check d.value) defs then
          left.merge loc defs
        else if all (d: right.check d.value) defs then
          right.merge loc defs
        else
          mergeOneOption loc defs;
      nestedTypes = { inherit left right; };
      functor = defaultFunctor name // {
        type = payload: either (head payload.elemType) (last payload.elemType);
        payload.elemType = [
          left
          right
        ];
      };
      typeMerge =
        f:
        let
          l = left.typeMerge (elemAt f.payload.elemType 0).functor;
          r = right.typeMerge (elemAt f.payload.elemType 1).functor;
        in
        if f.name != name || l == null || r == null then null else either l r;
    };
  oneOf =
    types:
    if types == [ ] then throw "types.oneOf takes at least one type" else foldl' either (head types) (tail types);

  coercedTo =
    from: coerce: to:
    assert lib.trivial.assertMsg (
      from.getSubModules == null
    ) "coercedTo: ${from.description} holds modules and cannot be converted";
    mkOptionType rec {
      name = "coercedTo";
      description = "${phrase isNoun to} or ${phrase isNoun from} convertible to it";
      check = x: (from.check x && to.check (coerce x)) || to.check x;
      merge =
        loc: defs:
        to.merge loc (
          map (d: if from.check d.value then d // { value = coerce d.value; } else d) defs
        );
      inherit (to) emptyValue getSubOptions getSubModules;
      substSubModules = ms: coercedTo from coerce (to.substSubModules ms);
      typeMerge = _: null;
      functor = defaultFunctor name;
      nestedTypes = {
        coercedType = from;
        finalType = to;
      };
    };

  # One of several options, chosen by the only attribute of a set.
  attrTag =
    tags:
    let
      checkedTags = mapAttrs (
        n: option:
        lib.trivial.throwIfNot (lib.options.isOption option) "attrTag: the tag `${n}' must be an option" (
          declaredAt (builtins.unsafeGetAttrPos n tags) // option
        )
      ) tags;
      choices = lib.strings.concatMapStringsSep ", " lib.strings.escapeNixIdentifier (builtins.attrNames tags);
      declaredAt = pos: {
        declarations = if pos == null then [ ] else [ pos.file ];
        declarationPositions = if pos == null then [ ] else [ pos ];
      };
      tagOf = v: head (builtins.attrNames v);
    in
    mkOptionType rec {
      name = "attrTag";
      description = "attribute-tagged union with choices: ${choices}";
      descriptionClass = "noun";
      check = v: isAttrs v && length (builtins.attrNames v) == 1 && checkedTags ? ${tagOf v};
      merge =
        loc: defs:
        let
          tag = tagOf (head defs).value;
          tagLoc = loc ++ [ tag ];
          inner = map (d: d // { value = d.value.${tag}; }) defs;
        in
        if all (d: tagOf d.value == tag) defs then
          { ${tag} = (lib.modules.evalOptionValue tagLoc checkedTags.${tag} inner).value; }
        else
          throw "nxc: option `${showOption loc}' is defined with several tags, in ${showFiles (getFiles defs)}";
      getSubOptions = prefix: mapAttrs (n: option: option // { loc = prefix ++ [ n ]; }) checkedTags;
      nestedTypes = checkedTags;
      functor = defaultFunctor name // {
        type = payload: attrTag payload.tags;
        payload.tags = checkedTags;
        binOp =
          a: b:
          let
            declare = file: options: { inherit file options; };
            join =
              n: option:
              lib.modules.mergeOptionDecls [ n ] [
                (declare "<attrTag>" a.tags.${n})
                (declare "<attrTag>" option)
              ]
              // {
                declarations = a.tags.${n}.declarations ++ option.declarations;
                declarationPositions = a.tags.${n}.declarationPositions ++ option.declarationPositions;
              };
          in
          {
            tags = a.tags // b.tags // mapAttrs join (builtins.intersectAttrs a.tags b.tags);
          };
      };
    };

  # Several functions become one that merges their results.
  functionTo =
    elemType:
    mkOptionType (
      around elemType functionTo
      // {
        name = "functionTo";
        description = "function that evaluates to a(n) ${phrase isPhrase elemType}";
        descriptionClass = "composite";
        check = isFunction;
        merge = loc: defs: {
          __functionArgs = zipAttrsWith (_: all (optional: optional)) (map (d: functionArgs d.value) defs);
          __functor =
            _: argument:
            (mergeDefinitions (loc ++ [ "<function body>" ]) elemType (
              map (d: d // { value = d.value argument; }) defs
            )).mergedValue;
        };
        getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "<function body>" ]);
        functor = elemFunctor "functionTo" elemType (payload: functionTo payload.elemType);
      }
    );

  # Sets merge attribute by attribute and functions result by result; anything else must be equal.
  anything = mkOptionType {
    name = "anything";
    description = "anything";
    descriptionClass = "noun";
    merge =
      loc: defs:
      let
        kind =
          v: if isAttrs v && lib.strings.isStringLike v then "package" else builtins.typeOf v;
        kinds = lib.lists.unique (map (d: kind d.value) defs);
      in
      if length kinds > 1 then
        throw "nxc: option `${showOption loc}' has definitions of several types (${builtins.concatStringsSep ", " kinds}), in ${showFiles (getFiles defs)}"
      else if kinds == [ "set" ] then
        (attrsOf anything).merge loc defs
      else if kinds == [ "package" ] then
        mergeOneOption loc defs
      else if kinds == [ "lambda" ] then
        argument:
        anything.merge (loc ++ [ "<function body>" ]) (map (d: d // { value = d.value argument; }) defs)
      else
        mergeEqualOption loc defs;
  };
}
// import ./submodules.nix { inherit lib; }
