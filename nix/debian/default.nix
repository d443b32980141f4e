# The Debian base: evaluates the roles of a composition into documents for the builder.
{ lib }:
rec {
  makePkgs =
    {
      system,
      packageNames ? null,
    }:
    import ./pkgs { inherit lib system packageNames; };

  # What a module may ask for beside its own options; `nodes' holds the configurations of all machines.
  evalRole =
    {
      name,
      role,
      pkgs,
      nodes,
    }:
    lib.evalModules (
      {
        modules = import ./modules ++ [
          role
          {
            _file = "nxc";
            config._module.args = { inherit pkgs; };
          }
        ];
        specialArgs = {
          inherit lib name nodes;
          modulesPath = throw "nxc: role `${name}' asks for modulesPath, the modules of NixOS: the debian base has none, use --base nixos";
        };
      }
      # nixpkgs' lib, in whose place ours stands, has no such hook.
      // lib.optionalAttrs ((builtins.functionArgs lib.evalModules) ? unknownOption) {
        inherit unknownOption;
      }
    );

  unknownOption =
    {
      loc,
      files ? [ ],
      near ? [ ],
    }:
    let
      plausible = lib.filter (resembles loc) near;
    in
    "nxc: ${lib.concatStringsSep ", " files}: option `${lib.showOption loc}' does not exist on the debian base"
    + lib.optionalString (plausible != [ ]) " (did you mean ${
      lib.concatMapStringsSep ", " (other: "`${other}'") plausible
    }?)"
    + lib.optionalString (
      builtins.head loc != "nxc"
    ) "; the nixos base has every NixOS option: --base nixos";

  # Every other option ends in `enable': that alone is no likeness.
  resembles =
    loc: shown:
    let
      other = lib.splitString "." shown;
    in
    lib.last other != lib.last loc
    || !(builtins.elem (lib.last loc) [
      "enable"
      "package"
      "extraConfig"
      "settings"
    ])
    || lib.init other == [ ]
    || builtins.elem (lib.last (lib.init other)) loc;

  document = import ./document.nix { inherit lib; };
}
