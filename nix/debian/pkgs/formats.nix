# pkgs.formats: a type for a freeform option, and a function that writes its value as a file.
{ lib, writeText }:
let
  anything = lib.types.attrsOf lib.types.anything;
  asJson = _: {
    type = lib.types.anything;
    generate = name: value: writeText name (builtins.toJSON value);
  };

  atom =
    value:
    if builtins.isBool value then
      lib.boolToString value
    else if builtins.isInt value || builtins.isFloat value then
      toString value
    else if builtins.isList value then
      "[${lib.concatMapStringsSep ", " atom value}]"
    else if builtins.isAttrs value && !lib.isDerivation value then
      "{ ${lib.concatStringsSep ", " (lib.mapAttrsToList (key: item: "${tomlKey key} = ${atom item}") value)} }"
    else
      builtins.toJSON "${value}";
  tomlKey = key: if builtins.match "[A-Za-z0-9_-]+" key == null then builtins.toJSON key else key;
  isTable = value: builtins.isAttrs value && !lib.isDerivation value;
  tomlTable =
    path: table:
    let
      some = lib.filterAttrs (_: value: value != null) table;
      plain = lib.filterAttrs (_: value: !isTable value) some;
      tables = lib.filterAttrs (_: isTable) some;
      header = lib.optionalString (
        path != [ ] && (plain != { } || tables == { })
      ) "[${lib.concatMapStringsSep "." tomlKey path}]\n";
    in
    header
    + lib.concatStrings (lib.mapAttrsToList (key: value: "${tomlKey key} = ${atom value}\n") plain)
    + lib.concatStrings (lib.mapAttrsToList (key: value: tomlTable (path ++ [ key ]) value) tables);
in
{
  json = asJson;
  # JSON is YAML.
  yaml = asJson;
  toml = _: {
    type = anything;
    generate = name: value: writeText name (tomlTable [ ] value);
  };
  ini = options: {
    type = lib.types.attrsOf anything;
    generate =
      name: value:
      writeText name (lib.generators.toINI (removeAttrs options [ "atomsCoercedToLists" ]) value);
  };
  keyValue = options: {
    type = anything;
    generate = name: value: writeText name (lib.generators.toKeyValue options value);
  };
}
