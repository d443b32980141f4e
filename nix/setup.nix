# Parameters and changed packages of a composition, from setup.toml:
#   [project] selected = "dev"      the variant in force; `[dev.params]' and so on then win over `[params]'
#   [params], [override-params]     what the composition's function finds in `setup.params'
#   [build.<package>]               src = "/path" or src.<fetcher> = { ... }, args, deps = { x = "attribute" }, attrs
#   [build.nur.repos.<repository>.<package>]    the same
#   [overrides.<package>], [overrides.nur.<repository>.<package>]    src and other attributes (the older way)
{ lib }:
{
  # A file, the content of one, or null.
  file,
  # In place of project.selected.
  variant ? null,
  # On top of all other parameters.
  params ? { },
}:
let
  inherit (import ./wording.nix { inherit lib; })
    aKind
    inFlakes
    quoted
    suggestion
    ;

  isContent = builtins.isAttrs file;
  where = if isContent || file == null then "setup" else toString file;
  fail = key: message: throw "nxc: ${where}: ${lib.optionalString (key != "") "${key}: "}${message}";
  raw =
    if file == null then
      { }
    else if isContent then
      file
    else if !(builtins.isPath file || (builtins.isString file && lib.hasPrefix "/" file)) then
      fail "" "`setup' must be a file or a set, not ${aKind file}"
    else if !builtins.pathExists file then
      fail "" "there is no such file ${inFlakes}"
    else
      builtins.addErrorContext "nxc: while reading ${where}" (builtins.fromTOML (builtins.readFile file));

  # Tables with a meaning of their own; every other table is a variant.
  reserved = [
    "project"
    "options"
    "params"
    "override-params"
    "build"
    "overrides"
    "overlays"
  ];
  variants = lib.filter (key: !(builtins.elem key reserved) && builtins.isAttrs raw.${key}) (
    builtins.attrNames raw
  );
  stray = lib.filter (key: !(builtins.elem key reserved) && !builtins.isAttrs raw.${key}) (
    builtins.attrNames raw
  );

  selected = if variant != null then variant else raw.project.selected or "";
  chosen =
    if selected == "" then
      { }
    else if builtins.elem selected variants then
      raw.${selected}
    else
      fail (if variant == null then "project.selected" else "") "there is no variant `${selected}'${suggestion selected variants}; ${
        if variants == [ ] then "it has no variants" else "there are ${quoted variants}"
      }";
  merged = lib.recursiveUpdate raw chosen;

  values =
    if stray != [ ] then
      fail (builtins.head stray) "only tables are known at this place; a parameter goes into [params]"
    else
      merged
      // {
        project = (merged.project or { }) // {
          inherit selected;
        };
        params = table "params" // table "override-params" // params;
      };
  table =
    key:
    let
      value = merged.${key} or { };
    in
    if builtins.isAttrs value then value else fail key "must be a table, not ${aKind value}";

  operations = [
    "args"
    "attrs"
    "deps"
    "src"
  ];

  source =
    key: packages: src:
    if builtins.isString src then
      if lib.hasPrefix "/" src then
        /. + src
      else if isContent then
        fail key "the path `${src}' must be absolute"
      else
        dirOf file + "/${src}"
    else if builtins.isAttrs src && builtins.length (builtins.attrNames src) == 1 then
      let
        fetcher = builtins.head (builtins.attrNames src);
      in
      if packages ? ${fetcher} then
        packages.${fetcher} src.${fetcher}
      else
        fail key "there is no fetcher `${fetcher}' in nixpkgs"
    else
      fail key "must be a path, or one fetcher with its arguments, as src.fetchurl = { url = ..., sha256 = ... }";

  dependency =
    key: packages: name: attribute:
    let
      path = lib.splitString "." attribute;
    in
    if !builtins.isString attribute then
      fail "${key}.${name}" "must name an attribute of nixpkgs"
    else if lib.hasAttrByPath path packages then
      lib.getAttrFromPath path packages
    else
      fail "${key}.${name}" "there is no `${attribute}' in nixpkgs";

  # package, changed as `wanted' says; key is where that stands.
  change =
    key: packages: package: wanted:
    let
      unknown = lib.filter (one: !(builtins.elem one operations)) (builtins.attrNames wanted);
      arguments =
        wanted.args or { } // builtins.mapAttrs (dependency "${key}.deps" packages) (wanted.deps or { });
      attributes =
        wanted.attrs or { }
        // lib.optionalAttrs (wanted ? src) { src = source "${key}.src" packages wanted.src; };
      overridden =
        if arguments == { } then
          package
        else
          (package.override or (fail key "it takes no arguments, so `args' and `deps' cannot be given")) arguments;
    in
    if !builtins.isAttrs wanted then
      fail key "must be a table of ${quoted operations}, not ${aKind wanted}"
    else if unknown != [ ] then
      fail "${key}.${builtins.head unknown}" "a package is changed by ${quoted operations}${suggestion (builtins.head unknown) operations}"
    else if attributes == { } then
      overridden
    else
      overridden.overrideAttrs (_: attributes);

  existing =
    key: set: name:
    set.${name} or (fail key "there is no package `${name}' in ${
      if lib.hasInfix ".nur." ".${key}" then "this user repository" else "nixpkgs"
    }");

  overlayOf =
    key: tables: _: previous:
    builtins.mapAttrs (
      name: change "${key}.${name}" previous (existing "${key}.${name}" previous name)
    ) tables;

  nurOverlayOf =
    key: repositories: _: previous:
    let
      nur =
        previous.nur
          or (fail key "compose was not given NUR: add that input to flake.nix and `inherit NUR;' to compose's arguments");
      changed =
        name: tables:
        let
          repository =
            nur.repos.${name} or (fail "${key}.${name}" "there is no user repository `${name}'; give it by repoOverrides");
        in
        repository
        // builtins.mapAttrs (
          package:
          change "${key}.${name}.${package}" previous (existing "${key}.${name}.${package}" repository package)
        ) tables;
    in
    {
      nur = nur // {
        repos = nur.repos // builtins.mapAttrs changed repositories;
      };
    };

  # The older form gives attributes where the newer one has `attrs'.
  modern =
    attributes:
    lib.optionalAttrs (attributes ? src) { inherit (attributes) src; }
    // {
      attrs = removeAttrs attributes [ "src" ];
    };

  build = table "build";
  overrides = table "overrides";
  plain = set: removeAttrs set [ "nur" ];
  overlayWhere = tables: make: lib.optional (tables != { }) (make tables);
in
{
  inherit values;
  overlays =
    overlayWhere (builtins.mapAttrs (_: modern) (plain overrides)) (overlayOf "overrides")
    ++ overlayWhere (builtins.mapAttrs (_: builtins.mapAttrs (_: modern)) (overrides.nur or { })) (
      nurOverlayOf "overrides.nur"
    )
    ++ overlayWhere (plain build) (overlayOf "build")
    ++ overlayWhere (build.nur.repos or { }) (nurOverlayOf "build.nur.repos");
}
