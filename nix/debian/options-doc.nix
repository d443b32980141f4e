# The table of options in docs/options.md; tests/unit/test_nix_debian.py compares the two.
let
  lib = import ../lib;
  inherit (import ../default.nix { inherit lib; }) debian;
  evaluated = debian.evalRole {
    name = "role";
    role = { };
    pkgs = debian.makePkgs { system = "x86_64-linux"; };
    nodes = { };
  };
  options = lib.collect lib.isOption (removeAttrs evaluated.options [ "_module" ]);
  shown = lib.filter (option: !(option.readOnly or false)) options;

  within =
    option:
    lib.concatStringsSep ", " (
      lib.filter (name: !lib.hasPrefix "_" name) (builtins.attrNames (option.type.getSubOptions option.loc))
    );
  row =
    option:
    let
      names = within option;
      oneLine = lib.replaceStrings [ "\n" "|" ] [ " " "\\|" ];
    in
    "| `${lib.showOption option.loc}` | ${oneLine option.type.description} | ${oneLine (option.description or "")}${
      lib.optionalString (names != "") " Within: ${names}."
    } |\n";
in
lib.concatMapStrings row (
  lib.sort (a: b: lib.showOption a.loc < lib.showOption b.loc) shown
)
