# compose { nixpkgs, system, composition, ... }: { "<composition>::<flavour>" = package; }
# What a call does not give may come from `defaults', for use without flakes.
{
  defaults ? { },
}:
given:
let
  known = {
    nixpkgs = null;
    system = builtins.currentSystem or "x86_64-linux";
    # One of these: a file, a function or a set; several by name.
    composition = null;
    compositions = null;
    single_composition_name = "composition";
    # Default: every flavour that catalogue.nix knows.
    flavours = null;
    flavour = null;
    # Of the packages that all roles, and the composition itself, use.
    overlays = [ ];
    config = { };
    # NixOS modules for every role.
    extraConfigurations = [ ];
    # A setup.toml, which of its variants, and parameters on top.
    setup = null;
    setupVariant = null;
    setupParams = { };
    # The user repositories: ready made, or as an input with its overrides.
    nur = null;
    NUR = null;
    repoOverrides = { };
    # In place of nixpkgs' own.
    pkgs = null;
    lib = null;
    evalSystem = null;
  };
  wanted = known // defaults // given;

  tree = import ./nixos/tree.nix {
    inherit (wanted)
      nixpkgs
      lib
      pkgs
      evalSystem
      system
      config
      ;
    inherit overlays;
  };
  inherit (tree) lib;
  catalogue = import ./catalogue.nix { inherit lib; };
  inherit (import ./wording.nix { inherit lib; }) quoted suggestion;
  readComposition = import ./composition.nix { inherit lib; };

  unknown = lib.filter (name: !(known ? ${name})) (builtins.attrNames given);
  checked =
    if !builtins.isAttrs given then
      throw "nxc: compose takes a set: compose { inherit nixpkgs system; composition = ./composition.nix; }"
    else if wanted.nixpkgs == null && (wanted.pkgs == null || wanted.evalSystem == null) then
      throw "nxc: compose was given no `nixpkgs': say `inherit nixpkgs;' where that is an input of the flake, or give the path of a nixpkgs tree"
    else if unknown != [ ] then
      throw "nxc: compose knows no argument ${quoted unknown}${suggestion (builtins.head unknown) (builtins.attrNames known)}; it takes ${quoted (builtins.attrNames known)}"
    else if notLists != [ ] then
      throw "nxc: compose's ${quoted notLists} must be a list"
    else
      wanted;
  notLists = lib.filter (name: !builtins.isList wanted.${name}) [
    "overlays"
    "extraConfigurations"
  ];

  nur =
    if checked.nur != null && checked.nur != { } then
      checked.nur
    else if checked.NUR != null && checked.NUR != { } then
      import ./nur.nix {
        inherit (checked) NUR system repoOverrides;
        pkgs = tree.pkgs;
      }
    else
      {
        repos = throw "nxc: the composition asks for NUR, which compose was not given: add the input NUR to flake.nix and `inherit NUR;' to compose's arguments";
      };

  setup = import ./setup.nix { inherit lib; } {
    file = checked.setup;
    variant = checked.setupVariant;
    params = checked.setupParams;
  };

  # Modules that only add overlays are taken up into the shared packages, which each role would extend otherwise.
  isOverlays =
    module:
    builtins.isAttrs module
    && builtins.attrNames module == [ "nixpkgs" ]
    && builtins.isAttrs module.nixpkgs
    && builtins.attrNames module.nixpkgs == [ "overlays" ]
    && builtins.isList module.nixpkgs.overlays;
  split = lib.partition isOverlays checked.extraConfigurations;
  overlays =
    checked.overlays
    ++ lib.optional (nur ? overlay) nur.overlay
    ++ setup.overlays
    ++ lib.concatMap (module: module.nixpkgs.overlays) split.right;

  several = import ./compositions.nix { inherit lib; } {
    inherit (checked) composition compositions;
    name = checked.single_composition_name;
  };

  selected = catalogue.select { inherit (checked) flavours flavour; };

  # One composition under one flavour: what it says, and the systems of its roles.
  unitOf =
    composition: flavour:
    let
      reading = readComposition {
        inherit (several.${composition}) composition file;
        arguments = {
          inherit (tree) pkgs lib modulesPath;
          inherit (checked) system;
          inherit nur flavour;
          setup = setup.values;
          helpers = import ./helpers.nix;
        };
      };
    in
    {
      inherit reading;
    }
    // evaluate {
      inherit (reading) roles templates;
      modules = [
        {
          _file = "nxc, flavour `${flavour.name}'";
          nxc.guest = flavour.guest;
        }
        (catalogue.kind flavour).module
        flavour.module
        ./nixos
      ]
      ++ split.wrong;
    };
  evaluate = import ./nixos/evaluate.nix {
    inherit tree overlays;
    inherit (checked) system;
  };
  names = builtins.attrNames several;
  units = lib.genAttrs names (composition: builtins.mapAttrs (_: unitOf composition) selected);

  # id says of which composition, or all in one.
  package =
    id: flavour: units:
    let
      make = import ./package.nix {
        inherit lib tree catalogue;
        inherit (checked) system;
      };
      withGuest =
        {
          flavour,
          kind ? null,
          guest ? null,
        }:
        let
          described =
            if kind == null && guest == null then
              selected.${flavour} or (catalogue.pick flavour)
            else
              catalogue.describe flavour (
                selected.${flavour} or { }
                // lib.optionalAttrs (kind != null) { inherit kind; }
                // lib.optionalAttrs (guest != null) { inherit guest; }
              );
        in
        package id described (lib.genAttrs id.compositions (name: unitOf name described));
      # The same of a call with other arguments, as another variant of setup.toml.
      withArguments =
        changes: (import ./compose.nix { inherit defaults; } (given // changes))."${id.name}::${flavour.name}";
    in
    make (
      id
      // {
        inherit flavour units;
        others = { inherit withGuest withArguments; };
      }
    );

  packagesOf =
    id:
    lib.mapAttrs' (flavour: value: {
      name = "${id.name}::${flavour}";
      value = package id value (lib.genAttrs id.compositions (name: units.${name}.${flavour}));
    }) selected;
in
builtins.seq checked (
  builtins.foldl' (
    all: name:
    all
    // packagesOf {
      inherit name;
      joined = false;
      compositions = [ name ];
    }
  ) { } names
  // lib.optionalAttrs (builtins.length names > 1) (packagesOf {
    name = "";
    joined = true;
    compositions = names;
  })
)
