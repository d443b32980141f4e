# A small stand-in for nixpkgs' `lib`: the part that compositions use, in the same shape, so that a
# composition evaluates alike on a machine that has no nixpkgs. Works from Nix 2.8 on.
let
  parts = {
    trivial = import ./trivial.nix { inherit lib; };
    lists = import ./lists.nix { inherit lib; };
    attrsets = import ./attrsets.nix { inherit lib; };
    strings = import ./strings.nix { inherit lib; };
    versions = import ./versions.nix { inherit lib; };
    meta = import ./meta.nix { inherit lib; };
    generators = import ./generators.nix { inherit lib; };
    cli = import ./cli.nix { inherit lib; };
    options = import ./options.nix { inherit lib; };
    modules =
      import ./properties.nix { inherit lib; }
      // import ./modules.nix { inherit lib; }
      // import ./definitions.nix { inherit lib; }
      // import ./renames.nix { inherit lib; };
    types = import ./types.nix { inherit lib; } // import ./composite-types.nix { inherit lib; };
  };

  # These reach the top level too, as in nixpkgs; what would clash stays inside.
  lib =
    parts.trivial
    // parts.lists
    // parts.attrsets
    // removeAttrs parts.strings [
      "charToInt"
      "commonPrefixLength"
      "commonSuffixLength"
      "floatToString"
      "replicate"
    ]
    // {
      inherit (parts.versions) compareVersions splitVersion;
      inherit (parts.generators) mkLuaInline;
      inherit (parts.types)
        isType
        setType
        defaultTypeMerge
        defaultFunctor
        isOptionType
        mkOptionType
        ;
    }
    // parts.meta.topLevel
    // removeAttrs parts.options [
      "describe"
      "literal"
      "showDefs"
    ]
    // removeAttrs parts.modules [
      "importJSON"
      "importTOML"
      "mergeNamed"
      "mergeTree"
    ]
    // parts
    // {
      inherit (parts.meta)
        licenses
        maintainers
        teams
        platforms
        sourceTypes
        ;
    };
in
lib
