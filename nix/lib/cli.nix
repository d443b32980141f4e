# Attribute sets to command lines.
{ lib }:
let
  inherit (builtins)
    concatLists
    concatMap
    isBool
    isList
    stringLength
    ;
  inherit (lib.attrsets) mapAttrsToList;
  inherit (lib.strings) escapeShellArgs;
  show = lib.generators.mkValueStringDefault { };
in
rec {
  toGNUCommandLineShell = style: attrs: escapeShellArgs (toGNUCommandLine style attrs);
  toGNUCommandLine =
    {
      mkOptionName ? k: if stringLength k == 1 then "-${k}" else "--${k}",
      mkBool ? k: v: lib.lists.optional v (mkOptionName k),
      mkList ? k: concatMap (mkOption k),
      mkOption ?
        k: v:
        if v == null then
          [ ]
        else if optionValueSeparator == null then
          [
            (mkOptionName k)
            (show v)
          ]
        else
          [ "${mkOptionName k}${optionValueSeparator}${show v}" ],
      optionValueSeparator ? null,
    }:
    attrs:
    concatLists (
      mapAttrsToList (
        k: v:
        if isBool v then
          mkBool k v
        else if isList v then
          mkList k v
        else
          mkOption k v
      ) attrs
    );

  toCommandLineShell = format: attrs: escapeShellArgs (toCommandLine format attrs);
  toCommandLine =
    format: attrs:
    let
      render =
        {
          option,
          sep,
          explicitBool,
          formatArg ? show,
        }:
        v:
        if v == null || (!explicitBool && v == false) then
          [ ]
        else if !explicitBool && v == true then
          [ option ]
        else if sep == null then
          [
            option
            (formatArg v)
          ]
        else
          [ "${option}${sep}${formatArg v}" ];
      pair = k: v: concatMap (render (format k)) (lib.lists.toList v);
    in
    concatLists (mapAttrsToList pair attrs);

  toCommandLineShellGNU = style: attrs: escapeShellArgs (toCommandLineGNU style attrs);
  toCommandLineGNU =
    {
      isLong ? name: stringLength name > 1,
      explicitBool ? false,
      formatArg ? show,
    }:
    toCommandLine (name: {
      option = if isLong name then "--${name}" else "-${name}";
      sep = if isLong name then "=" else "";
      inherit explicitBool formatArg;
    });
}
