# What the nixos base evaluates: one package of a project, with what it says of itself.
#   nix-instantiate driver.nix -A package --arg source '{ composition = /abs/composition.nix; nixpkgs = /abs/nixpkgs; }' --argstr flavour vm-ramdisk
{
  # { flake = "<reference>"; }: the packages that it makes by nxc.lib.compose, or its composition.nix with its input nixpkgs.
  # { composition or compositions, nixpkgs, ... }: arguments of compose.
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
  where = if source ? flake then source.flake else toString (source.composition or source.compositions);
  fail = message: throw "nxc: ${where}: ${message}";

  made = lib.filterAttrs (name: _: lib.hasInfix "::" name) (flake.packages.${system} or { });
  ownPackages = made != { } && (lib.head (builtins.attrValues made)) ? nxc;
  otherSystems = lib.filter (other: other != system) (builtins.attrNames (flake.packages or { }));

  fileOf = name: flake.outPath + "/${name}";
  hasFile = name: builtins.pathExists (fileOf name);
  fromInputs = {
    nixpkgs =
      flake.inputs.nixpkgs
        or (fail "the flake has no input `nixpkgs': add inputs.nixpkgs.url to flake.nix, and name it in the arguments of outputs");
  }
  // (
    if hasFile "composition.nix" then
      { composition = /. + builtins.unsafeDiscardStringContext (fileOf "composition.nix"); }
    else if hasFile "compositions.nix" then
      { compositions = /. + builtins.unsafeDiscardStringContext (fileOf "compositions.nix"); }
    else
      fail "the flake has no packages made by nxc.lib.compose, and no composition.nix ${inFlakes}"
  )
  // lib.optionalAttrs (hasFile "setup.toml") { setup = fileOf "setup.toml"; }
  // lib.optionalAttrs (flake.inputs ? NUR) { inherit (flake.inputs) NUR; };

  arguments =
    (if source ? flake then fromInputs else source)
    // {
      inherit system;
    };
  composed = nxc.compose arguments;

  packages =
    if !(source ? flake) then
      composed
    else if ownPackages then
      made
    else if made == { } && otherSystems != [ ] && !(hasFile "composition.nix" || hasFile "compositions.nix") then
      fail "the flake has packages for ${quoted otherSystems}, none for `${system}'"
    else
      composed;

  # All flavours of a composition are one package with another guest; any of them gives the others.
  partsOf = name: builtins.match "(.*)::([^:]*)" name;
  names = lib.unique (map (name: builtins.head (partsOf name)) (builtins.attrNames packages));
  single = lib.filter (name: name != "") names;
  chosen =
    if composition != null then
      if builtins.elem composition names then
        composition
      else
        fail "there is no composition `${composition}'${suggestion composition single}; there are ${quoted single}"
    else if builtins.length single == 1 then
      builtins.head single
    else
      fail "there are several compositions, say which one: ${quoted single}";
  ofChosen = lib.filterAttrs (name: _: builtins.head (partsOf name) == chosen) packages;
  any = builtins.head (builtins.attrValues ofChosen);

  changes =
    lib.optionalAttrs (setup ? variant) { setupVariant = setup.variant; }
    // lib.optionalAttrs (setup ? params) { setupParams = setup.params; };
  base = if changes == { } then any else any.nxc.withArguments changes;

  package =
    if changes == { } && kind == null && guest == null && ofChosen ? "${chosen}::${flavour}" then
      ofChosen."${chosen}::${flavour}"
    else
      base.nxc.withGuest { inherit flavour kind guest; };
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
}
