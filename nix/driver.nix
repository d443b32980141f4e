# What the nixos base evaluates: one package of a project, with what it says of itself.
#   nix-instantiate driver.nix -A package --argstr flavour vm-ramdisk \
#     --arg source '{ composition = /abs/composition.nix; nixpkgs = /abs/nixpkgs; }'
{
  # { flake = "<reference>"; }: the packages that it makes by nxc.lib.compose; where it makes none, its composition.nix
  # with its input nixpkgs. Or { composition or compositions, nixpkgs, ... }: arguments of compose.
  source,
  system ? builtins.currentSystem or "x86_64-linux",
  # Which one of several; "" is all in one.
  composition ? null,
  flavour,
  # In place of what the flake, or this library, says of the flavour.
  kind ? null,
  guest ? null,
  # A variant of setup.toml, and parameters on top: { variant, params }.
  setup ? { },
}:
let
  lib = import ./lib;
  inherit (import ./wording.nix { inherit lib; }) inFlakes quoted suggestion;
  nxc = import ./. { };

  flake = builtins.getFlake source.flake;
  file = source.composition or source.compositions or null;
  where = source.flake or (if builtins.isPath file then toString file else "<composition>");
  fail = message: throw "nxc: ${where}: ${message}";

  composedIn = lib.filterAttrs (name: _: lib.hasInfix "::" name);
  made = composedIn (flake.packages.${system} or { });
  elsewhere = lib.filter (other: composedIn flake.packages.${other} != { }) (
    builtins.attrNames (flake.packages or { })
  );

  fileOf = name: flake.outPath + "/${name}";
  hasFile = name: builtins.pathExists (fileOf name);
  # In a store that is not where its paths say, only a string with its context is found.
  foundOr =
    otherwise: name:
    let
      path = /. + builtins.unsafeDiscardStringContext (fileOf name);
    in
    if builtins.pathExists path then path else otherwise (fileOf name);
  fromInputs = {
    nixpkgs =
      flake.inputs.nixpkgs
        or (fail "the flake has no input `nixpkgs': add inputs.nixpkgs.url to flake.nix, and name it in the arguments of outputs");
  }
  // (
    if hasFile "composition.nix" then
      { composition = foundOr import "composition.nix"; }
    else if hasFile "compositions.nix" then
      { compositions = foundOr import "compositions.nix"; }
    else
      fail "the flake makes no packages by nxc.lib.compose, and has no composition.nix ${inFlakes}"
  )
  // lib.optionalAttrs (hasFile "setup.toml") { setup = foundOr (file: file) "setup.toml"; }
  // lib.optionalAttrs (flake.inputs ? NUR) { inherit (flake.inputs) NUR; };

  packages =
    if !(source ? flake) then
      nxc.compose (source // { inherit system; })
    else if made != { } && (lib.head (builtins.attrValues made)) ? nxc then
      made
    else if made != { } then
      fail "the flake's packages are made by another compose than ours: let its input be this library, as by `nix flake lock --override-input nxc path:${toString ./.}'"
    else if elsewhere != [ ] then
      fail "the flake makes packages for ${quoted elsewhere}, none for `${system}'"
    else
      nxc.compose (fromInputs // { inherit system; });

  partsOf = builtins.match "(.*)::([^:]*)";
  compositionOf = name: builtins.head (partsOf name);
  names = lib.unique (map compositionOf (builtins.attrNames packages));
  single = lib.filter (name: name != "") names;
  chosen =
    if composition == null then
      if builtins.length single == 1 then
        builtins.head single
      else
        fail "there are several compositions, say which one: ${quoted single}\nhint: nxc's -C NAME; `-C ::' is all in one"
    else if builtins.elem composition names then
      composition
    else
      fail "there is no composition `${composition}'${suggestion composition single}; there are ${quoted single}";

  # Any flavour's package gives those of all others.
  ofChosen = lib.filterAttrs (name: _: compositionOf name == chosen) packages;
  id = "${chosen}::${flavour}";
  one = ofChosen.${id} or (builtins.head (builtins.attrValues ofChosen));
  changes =
    lib.optionalAttrs (setup.variant or null != null) { setupVariant = setup.variant; }
    // lib.optionalAttrs (setup ? params) { setupParams = setup.params; };
  changed = if changes == { } then one else one.nxc.withArguments changes;

  package =
    if kind == null && guest == null && ofChosen ? ${id} then
      changed
    else
      changed.nxc.withGuest { inherit flavour kind guest; };
in
{
  inherit package;
  inherit (package.nxc)
    read
    templates
    parts
    needs
    assemble
    ;
  # A flake's input may be of before there was any.
  container = package.nxc.container or { };
}
